"""The revision of the tables: which one this code needs, and which one a store has."""

from typing import Final

from sqlalchemy import Connection, inspect, text

from handoff.service.ports import StoreError

# The newest file of `migrations/versions`; a test holds the two together.
REVISION: Final = "0003"


class WrongRevision(StoreError):  # noqa: N818
    """The store has revision {found}, this version of Handoff needs {needed}."""

    def __init__(self, found: str | None) -> None:
        had = f"is at revision {found}" if found else "has no Handoff tables"
        super().__init__(f"the store {had}, this version needs {REVISION}: run `handoff migrate`")
        self.found = found
        self.needed = REVISION


def require_revision(connection: Connection) -> None:
    """Raise WrongRevision unless the store has the tables that this code was written for."""
    found = found_revision(connection)
    if found != REVISION:
        raise WrongRevision(found)


def found_revision(connection: Connection) -> str | None:
    """The store's revision; None where it has no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision
