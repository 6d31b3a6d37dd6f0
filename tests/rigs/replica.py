"""A synchronous replica of a real PostgreSQL, which can be promoted when its primary is gone."""

import os
import signal
import time
from typing import Final, Self

import psycopg
from psycopg import sql

from rigs.postgres import PostgresServer, ServerStartError

# A copy of a test's database takes a second; this only ends a hang.
_FOLLOW_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02
# Of a walreceiver that names itself no other way.
_NAME: Final = "walreceiver"
# How soon a replica calls its primary again: PostgreSQL's five seconds would make every round five seconds longer.
_RETRY: Final = {"wal_retrieve_retry_interval": "100ms"}


class Replica(PostgresServer):
    """A server that begins as a copy of `primary`, which runs, and follows it; as durable as that one.

    With `port` it stands where a server that is gone stood.
    """

    def __init__(self, primary: PostgresServer, *, port: int | None = None) -> None:
        super().__init__(durable=primary.durable, port=port, settings=_RETRY)
        self._primary = primary
        self._held_back = 0

    def __enter__(self) -> Self:
        self.follow()
        return self

    def follow(self) -> None:
        """Start, and have the primary answer no commit from now on that is not on this disk too."""
        self.start()
        require_replica(self._primary, _NAME)
        give_up_at = time.monotonic() + _FOLLOW_TIMEOUT_S
        while not _is_synchronous(self._primary):
            if time.monotonic() > give_up_at:
                raise ServerStartError(f"the replica does not follow; its log ends with:\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def hold_back(self) -> None:
        """Take nothing of what the primary writes: its commits wait."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute("SELECT pid FROM pg_stat_wal_receiver").fetchone()
        assert row is not None
        self._held_back = int(row[0])
        os.kill(self._held_back, signal.SIGSTOP)

    def go_on(self, *, with_what_waited: bool) -> None:
        """Take, or never take, what the primary has sent meanwhile."""
        if not with_what_waited:
            os.kill(self._held_back, signal.SIGTERM)
        os.kill(self._held_back, signal.SIGCONT)

    def promote(self) -> None:
        """Become the primary; returns when it takes writes."""
        self._run("pg_ctl", "promote", f"--pgdata={self.data_directory}", "--wait")

    def _make_data(self) -> None:
        source = f"host=127.0.0.1 port={self._primary.port} user=postgres"
        slot = f"--slot=of_{self.port}"
        self._run(
            "pg_basebackup",
            f"--pgdata={self.data_directory}",
            f"--dbname={source}",
            "--write-recovery-conf",
            "--create-slot",
            slot,
            "--checkpoint=fast",
            *([] if self.durable else ["--no-sync"]),
        )


def require_replica(primary: PostgresServer, name: str) -> None:
    """Have commits wait for the replica of this name; an empty one: for nobody."""
    with psycopg.connect(primary.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(name))
        connection.execute("SELECT pg_reload_conf()")


def _is_synchronous(primary: PostgresServer) -> bool:
    with psycopg.connect(primary.url(), autocommit=True) as connection:
        return connection.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone() is not None
