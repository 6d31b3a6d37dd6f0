"""What counts as a statement that names the account; the contract suite holds every statement of the store to it."""

import ast
from pathlib import Path

import pytest

import handoff.store
from rigs.statements import OF_ALL_ACCOUNTS, Statement, open_tables, strays

STORE = Path(handoff.store.__path__[0])


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM agents WHERE account_id = ? AND agent_id = ?",
        "SELECT a.name FROM agents AS a WHERE a.account_id = %(account)s::VARCHAR",
        'SELECT * FROM "sessions" WHERE "sessions"."account_id" = :account',
        "SELECT * FROM sessions s JOIN agents a ON a.account_id = s.account_id WHERE s.account_id = ?",
        "SELECT * FROM agents JOIN json_each(?) AS k ON agents.account_id = json_extract(k.value, '$[0]')",
        "SELECT t.body FROM (SELECT * FROM transfers INDEXED BY transfers_session) AS t WHERE t.account_id = ?",
        "UPDATE agents SET status = ? WHERE agents.account_id IN (?, ?)",
        "DELETE FROM queue_agents WHERE queue_agents.account_id = given.account_id",
        "INSERT INTO apps (account_id, app_id) VALUES (?, ?) ON CONFLICT (account_id, app_id) DO UPDATE SET name = ?",
        "PRAGMA journal_mode=WAL",
    ],
)
def test_a_statement_that_names_the_account_of_every_table_leaves_none_open(text: str) -> None:
    assert open_tables(text) == set()


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("SELECT * FROM agents WHERE agent_id = ?", {"agents"}),
        ("SELECT account_id FROM agents ORDER BY account_id", {"agents"}),
        ("SELECT * FROM agents WHERE account_id > ?", {"agents"}),
        ("SELECT * FROM sessions s JOIN agents a ON a.account_id = s.account_id", {"sessions", "agents"}),
        ("SELECT * FROM sessions s JOIN agents a ON a.agent_id = s.holder_id WHERE s.account_id = ?", {"agents"}),
        ("UPDATE agents SET status = ? WHERE agent_id = ?", {"agents"}),
        ("DELETE FROM events", {"events"}),
        ("INSERT INTO apps (app_id, name) VALUES (?, ?)", {"apps"}),
        ("INSERT INTO events (account_id, body) SELECT account_id, body FROM transfers", {"transfers"}),
    ],
)
def test_one_that_does_not_leaves_those_tables_open(text: str, tables: set[str]) -> None:
    assert open_tables(text) == tables


def test_what_is_of_all_accounts_by_its_nature_is_so_for_its_own_tables_only() -> None:
    counted = Statement("depth.py:read", "SELECT count(*) FROM callbacks")
    other = Statement("depth.py:read", "SELECT count(*) FROM agents")
    elsewhere = Statement("agents.py:get", "SELECT count(*) FROM callbacks")

    assert strays([counted, other, elsewhere, other]) == {other, elsewhere}


@pytest.mark.parametrize("place", OF_ALL_ACCOUNTS)
def test_every_place_that_may_speak_of_all_accounts_is_there(place: str) -> None:
    file, _, function = place.partition(":")
    named = {node.name for node in ast.walk(ast.parse((STORE / file).read_text())) if isinstance(node, ast.FunctionDef)}

    assert function in named
