"""Messages that wait to be delivered, written as transfers write them, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select

from handoff import Settings
from handoff.domain.address_policy import lane_of
from handoff.domain.retry import LIFETIME_MS
from handoff.service.ports import Changes
from handoff.store.engine import open_reader
from handoff.store.tables import callbacks
from handoff.stores import open_transfer_store
from handoff.system import SystemClock
from rigs import facts, sample

# Rows of one transaction: far from the time that a statement may take.
_BATCH = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One message as the store has it; `claims` counts the leases, `attempts` those that ended with an answer."""

    lane: str
    state: str
    attempts: int
    claims: int


def queue_up(settings: Settings, urls: Sequence[str], *, first_number: int, due_at: int | None = None) -> None:
    """Record a refused transfer with its message for each URL, numbered on from the first.

    They are due at `due_at` (epoch milliseconds); without it long ago, in their order.
    """
    store = open_transfer_store(settings)
    for start in range(0, len(urls), _BATCH):
        with store.begin() as transaction:
            transaction.write(_changes(urls[start : start + _BATCH], first_number + start, due_at))
    store.close()


def _changes(urls: Sequence[str], first_number: int, due_at: int | None) -> Changes:
    expires_at = SystemClock().now_ms() + LIFETIME_MS
    numbered = list(enumerate(urls, first_number))
    return Changes(
        transfers=[replace(facts.transfer(number), status=409, code="agent_unavailable") for number, _ in numbered],
        callbacks=[
            facts.callback(
                number,
                url=url,
                lane=lane_of(url),
                body=body_of(number),
                due_at=number if due_at is None else due_at,
                expires_at=expires_at,
            )
            for number, url in numbered
        ],
    )


def body_of(number: int) -> bytes:
    """The body of the message with this number, like no other's, in the documented shape."""
    return (
        f'{{"sessionId":"s-{number}","agentId":"{sample.AGENT}","status":"failed","code":"agent_unavailable",'
        f'"reason":"Agent Zoë is not available.","requestCompletedAt":1698825180041,"transferId":"tr_{number}"}}'
    ).encode()


def stored(settings: Settings) -> dict[str, Stored]:
    """Every message by its id."""
    columns = (callbacks.c.lane, callbacks.c.state, callbacks.c.attempts, callbacks.c.claims)
    engine = open_reader(settings.database_url)
    with engine.connect() as connection:
        rows = connection.execute(select(callbacks.c.callback_id, *columns)).mappings().all()
    engine.dispose()
    return {row["callback_id"]: Stored(**{column.name: row[column.name] for column in columns}) for row in rows}
