"""What became of messages after their first attempt."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from handoff import Settings
from handoff.store.engine import open_reader
from handoff.store.tables import callback_attempts, callbacks

_POLL_S = 0.05

_first_attempts = select(
    callbacks.c.url,
    callbacks.c.callback_id,
    callbacks.c.state,
    callbacks.c.attempts,
    callbacks.c.due_at,
    callbacks.c.dead_reason,
    callbacks.c.last_status,
    callbacks.c.last_error,
    callback_attempts.c.status,
    callback_attempts.c.error,
    callback_attempts.c.detail,
    callback_attempts.c.started_at,
    callback_attempts.c.duration_ms,
).join(
    callback_attempts,
    (callback_attempts.c.account_id == callbacks.c.account_id)
    & (callback_attempts.c.callback_id == callbacks.c.callback_id)
    & (callback_attempts.c.claim == 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A message after its first attempt: its row, and the attempt's; times are epoch milliseconds."""

    url: str
    callback_id: str
    state: str
    attempts: int
    due_at: int
    dead_reason: str | None
    last_status: int | None
    last_error: str | None
    status: int | None
    error: str | None
    detail: str | None
    started_at: int
    duration_ms: int

    @property
    def ended_at(self) -> int:
        return self.started_at + self.duration_ms


def after_first_attempt(settings: Settings, count: int, *, timeout_s: float) -> Mapping[str, Seen]:
    """Every message as it was seen first after its first attempt, once there are so many; by id."""
    seen: dict[str, Seen] = {}
    engine = open_reader(settings.database_url)
    give_up_at = time.monotonic() + timeout_s
    while len(seen) < count and time.monotonic() < give_up_at:
        with engine.connect() as connection:
            rows = connection.execute(_first_attempts).mappings().all()
        seen = {row["callback_id"]: Seen(**row) for row in rows} | seen
        time.sleep(_POLL_S)
    engine.dispose()
    return seen
