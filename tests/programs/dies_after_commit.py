"""The service, but its process dies right after its first batch was committed: before anybody is answered."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from handoff import Settings, create_app
from handoff.cli.serve import run_server
from handoff.service.ports import TransferStore, TransferTransaction
from handoff.stores import open_transfer_store
from handoff.system import listen


class DyingStore:
    """Commits once."""

    def __init__(self, store: TransferStore) -> None:
        self._store = store

    @contextmanager
    def begin(self) -> Iterator[TransferTransaction]:
        with self._store.begin() as transaction:
            yield transaction
        os.kill(os.getpid(), signal.SIGKILL)

    def abort(self) -> None:
        self._store.abort()

    def close(self) -> None:
        self._store.close()


if __name__ == "__main__":
    chosen = Settings.load()
    app = create_app(chosen, open_transfers=lambda settings: DyingStore(open_transfer_store(settings)))
    with listen(chosen.host, chosen.port, "HANDOFF_PORT") as listener:
        run_server(app, chosen, listener)
