"""The directory as the front door sees it: apps and streams, read once in a few seconds."""

import logging

from handoff.domain.model import App, Stream
from handoff.service.finder import Finder
from handoff.service.ports import DirectoryStore, StoreError, StoreUnavailable, StreamKey
from handoff.service.worker import Worker

log = logging.getLogger(__name__)


class Directory:
    """Finds apps and streams; what was found, or not, is trusted for `trust_s` seconds."""

    def __init__(self, store: DirectoryStore, *, worker: Worker, trust_s: float) -> None:
        self._store = store
        self._worker = worker
        self._apps = Finder[str, App](store.find_apps, worker=worker, trust_s=trust_s)
        self._streams = Finder[StreamKey, Stream](store.find_streams, worker=worker, trust_s=trust_s)

    async def find_app(self, app_id: str) -> App | None:
        """The app with this id, of whatever account. Raises StoreError."""
        return await self._apps.find(app_id)

    async def find_stream(self, account_id: str, stream_id: str) -> Stream | None:
        """The stream, if the account has it. Raises StoreError."""
        return await self._streams.find((account_id, stream_id))

    async def problem(self) -> str | None:
        """What keeps the store from serving: None when it answers, at the revision that this code needs."""
        try:
            await self._worker.run(self._store.check_ready)
        except StoreUnavailable as error:
            log.warning("store unavailable", extra={"reason": error.reason})
            return "unavailable"
        except StoreError as error:
            return str(error)
        return None
