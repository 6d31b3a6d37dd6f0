"""What the store says to its database, statement by statement, and which tables it opens to every account."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any, Final

from sqlalchemy import Engine, event

import handoff.store
from handoff.store.tables import metadata

_STORE: Final = Path(handoff.store.__path__[0])
_TABLE: Final = "|".join(metadata.tables)
# A table that only stands in brackets, to say by which index it is to be read.
_BRACKETED: Final = re.compile(rf"\(SELECT \* FROM ({_TABLE}) INDEXED BY \w+\)", re.IGNORECASE)
_NAMED: Final = re.compile(
    rf"\b(FROM|JOIN|UPDATE|INTO)\s+({_TABLE})\b"
    r"(?:\s+(?:AS\s+)?(?!(?:WHERE|SET|ON|LEFT|CROSS|JOIN|ORDER|GROUP|USING|INDEXED|LIMIT|FOR|VALUES|SELECT)\b)(\w+))?",
    re.IGNORECASE,
)
_ACCOUNT: Final = r"((?:\b\w+\.)?\baccount_id)"
_COMPARED: Final = re.compile(rf"(?<![.\w]){_ACCOUNT}\s*(?:=|\bIN\b)\s*(?:{_ACCOUNT}\b)?", re.IGNORECASE)

# Those that are of all accounts by their nature, the tables of which they are, and why.
OF_ALL_ACCOUNTS: Final[Mapping[str, tuple[set[str], str]]] = {
    "directory.py:find_apps": ({"apps"}, "a token names its app and no account: the account is what is looked up"),
    "apps.py:get": ({"apps"}, "an operator names an app as tokens do"),
    "accounts.py:accounts_in": ({"apps"}, "an operator's list may be of all accounts"),
    "agents.py:accounts": ({"agents"}, "an operator who names no account is asked which of these"),
    "agents.py:orgs": ({"streams"}, "an operator who names no org is asked which of these"),
    "callbacks.py:accounts": ({"callbacks"}, "an operator who names no account is asked which of these"),
    "conversations.py:accounts": ({"sessions"}, "an operator who names no account is asked which of these"),
    "history.py:accounts": ({"transfers"}, "an operator who names no account is asked which of these"),
    "due.py:scan": ({"callbacks"}, "a dispatcher delivers for everyone, by lane"),
    "due.py:claim_rows": ({"callbacks"}, "a dispatcher delivers for everyone, by lane"),
    "outbox.py:reclaim": ({"callbacks"}, "leases run out in the order of time"),
    "depth.py:read": ({"callbacks"}, "a metric is of the whole outbox"),
    "retention.py:_purge_callbacks": ({"callbacks"}, "finds the next account, which is named from there on"),
    "retention.py:_purge_events": ({"event_heads"}, "finds the next account, which is named from there on"),
    "retention.py:forget_tokens": ({"used_tokens"}, "finds the next account, which is named from there on"),
    "audit.py:_secrets": ({"apps"}, "`doctor` looks at everything"),
    "audit.py:violations": (set(metadata.tables), "`doctor` looks at everything"),
    "audit.py:repair_counters": ({"agents", "sessions"}, "`doctor` looks at everything"),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, and the function of the store that made it: `outbox.py:claim`."""

    place: str
    text: str


@dataclass(slots=True)
class Heard:
    """The statements that the store has made."""

    statements: list[Statement] = field(default_factory=list)

    def note(self, _connection: object, _cursor: object, text: str, *_rest: Any) -> None:
        place = _place()
        if place is not None:
            self.statements.append(Statement(place, text))


@contextmanager
def heard() -> Iterator[Heard]:
    """Listen to every engine of this process."""
    found = Heard()
    note = found.note
    event.listen(Engine, "before_cursor_execute", note)
    yield found
    event.remove(Engine, "before_cursor_execute", note)


def strays(statements: Iterable[Statement]) -> set[Statement]:
    """Those that leave the account of some table open and are not known to."""
    return {
        one
        for one in set(statements)
        if open_tables(one.text) - (OF_ALL_ACCOUNTS[one.place][0] if one.place in OF_ALL_ACCOUNTS else set())
    }


def _place() -> str | None:
    """Who of the store speaks; None where it is somebody else, such as a test that prepares its rows."""
    frame = inspect.currentframe()
    while frame is not None and _is_on_the_way(frame.f_code):
        frame = frame.f_back
    if frame is None:
        return None
    path = Path(frame.f_code.co_filename)
    return f"{path.name}:{frame.f_code.co_name}" if path.parent == _STORE else None


def _is_on_the_way(code: CodeType) -> bool:
    return "sqlalchemy" in code.co_filename or code.co_filename == __file__ or code.co_name.startswith("<")


def open_tables(text: str) -> set[str]:
    """The tables of which a statement reads or writes the rows of whatever account there is.

    A table is closed where its account is compared with a value that is given, with that of a table which is closed
    itself, or with that of rows which are none of the store's; and where the account stands in the new row.
    """
    text = _BRACKETED.sub(r"\1", text.replace('"', ""))
    named = [(how.upper(), table, alias or table) for how, table, alias in _NAMED.findall(text)]
    closed = {name for how, table, name in named if how == "INTO" and _is_in_new_rows(text, table)}
    ours = {name for _, _, name in named}
    pairs = [(_whose(left, ours), _whose(right, ours)) for left, right in _COMPARED.findall(text)]
    while found := {one for pair in pairs for one in _closed_by(pair, closed, ours)} - closed:
        closed |= found
    return {table for _, table, name in named if name not in closed}


def _whose(account: str, ours: set[str]) -> str | None:
    """The table of a comparison's side, by its name there; None: a value, or a row of none of ours."""
    if not account:
        return None
    if "." not in account:
        return min(ours, default=None)
    return account.partition(".")[0]


def _closed_by(pair: tuple[str | None, str | None], closed: set[str], ours: set[str]) -> Iterator[str]:
    for one, other in (pair, pair[::-1]):
        if one in ours and (other not in ours or other in closed):
            yield str(one)


def _is_in_new_rows(text: str, table: str) -> bool:
    return re.search(rf"INTO\s+{table}\s*\([^)]*\baccount_id\b", text, re.IGNORECASE) is not None
