"""How much the outbox holds, for those who watch it."""

from typing import Final

from sqlalchemy import Engine, text

from handoff.service.meter import OutboxDepth
from handoff.store.errors import translated

# Each reads a partial index from end to end: as many entries as callbacks wait, whatever else the table holds.
# PostgreSQL and newer SQLite look at nothing else; SQLite before 3.44 also looks each key up, at 2.5 µs a callback.
_PENDING: Final = text("SELECT count(*), min(due_at) FROM callbacks WHERE state = 'pending'")
_SENDING: Final = text("SELECT count(*) FROM callbacks WHERE state = 'sending'")


class SqlOutboxDepth:
    """See `handoff.service.meter.DepthStore`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> OutboxDepth:
        """The depth now, of all accounts. Raises StoreError."""
        with translated(), self._engine.connect() as connection:
            pending, oldest_due_at = connection.execute(_PENDING).one()
            sending = connection.execute(_SENDING).scalar_one()
        return OutboxDepth(pending=pending, sending=sending, oldest_due_at=oldest_due_at)

    def close(self) -> None:
        """Let go of the connection."""
        self._engine.dispose()
