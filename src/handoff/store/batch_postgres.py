"""The seam for PostgreSQL, a round trip away: each read is one statement, and all that is written together is one.

Keys and rows go as JSON texts. As arrays, one per column, rows would cost the driver four times as much.
Such a text is read as jsonb, which keeps neither the order of members nor how a number was written: so a column that is
JSON itself goes in it as text.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    CTE,
    JSON,
    Column,
    ColumnElement,
    Connection,
    Insert,
    Table,
    TableValuedAlias,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import psycopg

from handoff.domain.encoding import as_json
from handoff.store.batch import Append, Change, Columns, Count, Key, Row, Write

_DIALECT: Final = psycopg.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy has no annotation there
_KEYS: Final = "keys"


class PostgresBatch:
    """See Batch."""

    def read(
        self, connection: Connection, columns: Columns, keys: Collection[Key], *, lock: bool
    ) -> Sequence[Sequence[Any]]:
        """See Batch."""
        return connection.exec_driver_sql(_read(columns, lock=lock), {_KEYS: as_json(sorted(keys)).decode()}).all()

    def write(self, connection: Connection, writes: Sequence[Write]) -> None:
        """See Batch."""
        wanted = [write for write in writes if write.rows]
        if wanted:
            forms = tuple(map(_form_of, wanted))
            texts = {
                _rows(place): as_json(_values(form, write.rows)).decode()
                for place, (form, write) in enumerate(zip(forms, wanted, strict=True))
            }
            connection.exec_driver_sql(_statement(forms), texts)


@dataclass(frozen=True, slots=True)
class _Form:
    """A write without its rows: all that its statement depends on."""

    kind: type[Write]
    table: Table
    names: tuple[str, ...]
    is_once: bool = False
    heads: Table | None = None


def _form_of(write: Write) -> _Form:
    names = tuple(write.rows[0])
    match write:
        case Append(table, _, once):
            return _Form(Append, table, names, is_once=once)
        case Change(table):
            return _Form(Change, table, names)
        case Count(table, heads):
            return _Form(Count, table, names, heads=heads)


def _values(form: _Form, rows: Sequence[Row]) -> list[list[Any]]:
    """The rows' values, each as it goes into a JSON text."""
    kept = _kept_names(form.table, form.names)
    if not kept:
        return [[row[name] for name in form.names] for row in rows]
    return [[as_json(row[name]).decode() if name in kept else row[name] for name in form.names] for row in rows]


@cache
def _kept_names(table: Table, names: tuple[str, ...]) -> frozenset[str]:
    """The columns that are JSON themselves."""
    return frozenset(name for name in names if isinstance(table.c[name].type, JSON))


def _rows(place: int) -> str:
    """The name of the parameter with the rows of the write at this place."""
    return f"rows{place}"


@cache
def _read(columns: Columns, *, lock: bool) -> str:
    table = columns[0].table
    keys = _key_columns(table)
    source = _source(_KEYS)
    wanted = [key == _value(source, place, key) for place, key in enumerate(keys)]
    statement = select(*columns).join_from(source, table, and_(*wanted)).order_by(*keys)
    return str((statement.with_for_update(of=table, key_share=True) if lock else statement).compile(dialect=_DIALECT))


@cache
def _statement(forms: tuple[_Form, ...]) -> str:
    """One statement that does all of it. PostgreSQL begins with its last part."""
    parts = [part for place, form in enumerate(forms) for part in _parts(form, place)]
    if len(parts) == 1:
        return str(parts[0].compile(dialect=_DIALECT))
    named = [part if isinstance(part, CTE) else part.cte(f"part{place}") for place, part in enumerate(parts)]
    return str(select(literal_column("1")).add_cte(*reversed(named)).compile(dialect=_DIALECT))


def _parts(form: _Form, place: int) -> Sequence[Insert | Update | CTE]:
    if form.heads is not None:
        return _count(form, form.heads, _rows(place))
    source = _source(_rows(place))
    given = {name: _value(source, number, form.table.c[name]) for number, name in enumerate(form.names)}
    if form.kind is Change:
        keys = _key_columns(form.table)
        values = {name: value for name, value in given.items() if form.table.c[name] not in keys}
        return (update(form.table).where(*(key == given[key.name] for key in keys)).values(values),)
    insert = postgresql.insert(form.table).from_select(form.names, select(*given.values()).select_from(source))
    return (insert.on_conflict_do_nothing() if form.is_once else insert,)


def _count(form: _Form, heads: Table, rows: str) -> Sequence[Insert | CTE]:
    """The rows, and before them the heads that their positions are taken from, locked in the order of accounts."""
    source = _source(rows, is_numbered=True)
    given = {name: _value(source, number, form.table.c[name]) for number, name in enumerate(form.names)}
    account = given["account_id"]
    advance = postgresql.insert(heads).from_select(
        ["account_id", "position"],
        select(account, func.count()).select_from(source).group_by(account).order_by(account),
    )
    head = (
        advance.on_conflict_do_update(
            index_elements=[heads.c.account_id], set_={"position": heads.c.position + advance.excluded.position}
        )
        .returning(heads.c.account_id, heads.c.position)
        .cte(f"heads_of_{rows}")
    )
    behind = func.count().over(partition_by=account) - func.row_number().over(
        partition_by=account, order_by=source.c.number
    )
    counted = select(*given.values(), head.c.position - behind).select_from(
        source.join(head, head.c.account_id == account)
    )
    return (postgresql.insert(form.table).from_select([*form.names, "position"], counted), head)


def _source(parameter: str, *, is_numbered: bool = False) -> TableValuedAlias:
    """The rows of a parameter, one JSON array each."""
    arrays = func.jsonb_array_elements(cast(bindparam(parameter, type_=Text), postgresql.JSONB))
    name = f"given_{parameter}"
    if is_numbered:
        return arrays.table_valued("value", with_ordinality="number").render_derived(name=name)
    return arrays.table_valued("value", name=name)


def _value(source: TableValuedAlias, place: int, column: Column[Any]) -> ColumnElement[Any]:
    """What stands at a place of a row, of the column's type."""
    index: ColumnElement[int] = literal_column(str(place))
    text: ColumnElement[Any] = source.c.value.op("->>", return_type=Text())(index)
    return text if isinstance(column.type, Text) else cast(text, column.type)


def _key_columns(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)
