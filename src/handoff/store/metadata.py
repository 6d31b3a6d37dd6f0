"""What every table belongs to, and how its rows are kept."""

from typing import Any, Final

from sqlalchemy import MetaData

metadata = MetaData(naming_convention={"pk": "%(table_name)s_pkey", "ck": "%(table_name)s_%(constraint_name)s_check"})

# Rows that change often get room on their page, so that PostgreSQL can update them in place.
ROOMY: Final[dict[str, Any]] = {"sqlite_with_rowid": False, "postgresql_with": {"fillfactor": 80}}
DENSE: Final[dict[str, Any]] = {"sqlite_with_rowid": False}
