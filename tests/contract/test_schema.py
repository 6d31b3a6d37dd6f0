"""The migrations make exactly the tables that the statements are written for, on both databases."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from handoff import Settings
from handoff.migrating import migrate_store, prepare_store
from handoff.store import schema
from handoff.store.engine import open_reader, open_writer
from handoff.store.tables import metadata
from rigs.postgres import PostgresServer


def test_a_migrated_store_has_the_tables_as_they_are_declared(stored: Settings) -> None:
    engine = open_reader(stored.database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()

    assert differences == []


def test_the_revision_that_is_asked_for_is_the_newest_there_is() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))

    assert ScriptDirectory.from_config(config).get_heads() == [schema.REVISION]


def test_a_store_of_another_revision_is_refused_with_the_command_that_helps(stored: Settings) -> None:
    engine = open_writer(stored.database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))

    with engine.connect() as connection, pytest.raises(schema.WrongRevision) as caught:
        schema.require_revision(connection)
    engine.dispose()
    assert (caught.value.found, caught.value.needed) == ("0000", schema.REVISION)
    assert "handoff migrate" in str(caught.value)


def test_migrating_twice_changes_nothing_and_postgres_is_never_migrated_in_passing(postgres: PostgresServer) -> None:
    settings = Settings(database_url=postgres.create_database())

    with pytest.raises(schema.WrongRevision):
        prepare_store(settings)
    first = migrate_store(settings)
    second = migrate_store(settings)

    assert (first, second) == ((None, schema.REVISION), (schema.REVISION, schema.REVISION))
