"""The migrations make exactly the tables that the statements are written for, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, select, text

from handoff import Settings
from handoff.migrating import migrate_store, prepare_store
from handoff.service.ports import StoreError
from handoff.store import schema, tables
from handoff.store.engine import open_reader, open_writer
from handoff.store.tables import metadata
from handoff.store.upgrade import migrate
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


AGENT = "INSERT INTO agents VALUES ('acc', 'a-{n}', 'o-1', 'u-{user}', '', '', '', NULL, 'AVAILABLE', NULL, 5, 0)"
SESSION = "INSERT INTO sessions VALUES ('acc', 's-1', 'st-1', 'o-1', 'bot', NULL, 0, NULL)"


@pytest.fixture(params=["sqlite", "postgres"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A store at the revision of the first version's successor."""
    url = f"sqlite:///{tmp_path}/older.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").create_database()
    engine = open_writer(url)
    migrate(engine, to="0002")
    yield engine
    engine.dispose()


def test_the_rows_of_an_older_store_come_along(older: Engine) -> None:
    with older.begin() as connection:
        connection.execute(text(AGENT.format(n=1, user=1)))
        connection.execute(text(SESSION))
    migrate(older)
    with older.begin() as connection:
        session = connection.execute(text("SELECT session_id, conversation_id, opened_at FROM sessions")).one()
        agent = connection.execute(select(tables.agents)).mappings().one()

    assert tuple(session) == ("s-1", "c-s-1", 0)
    assert (agent["profile"], agent["max_sessions"], agent["created_at"]) == ({}, 5, 0)


def test_agents_who_share_what_must_be_ones_own_are_named_and_nothing_is_changed(older: Engine) -> None:
    with older.begin() as connection:
        for n in (1, 2):
            connection.execute(text(AGENT.format(n=n, user="same")))

    with pytest.raises(StoreError, match=r"org o-1 of account acc .* userId u-same"):
        migrate(older)
    with older.connect() as connection:
        assert schema.found_revision(connection) == "0002"
