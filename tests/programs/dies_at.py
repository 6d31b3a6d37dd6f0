"""A part of the service whose process kills itself at a point: `dies_at POINT PASSAGE serve|dispatch`.

PASSAGE counts how often the point has been passed by then, from 1. The points are those of `rigs.deaths`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import uvloop
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handoff import Settings, create_app
from handoff.cli.common import load_settings
from handoff.cli.serve import run_server
from handoff.dispatching import dispatching, open_sender
from handoff.domain.model import Agent, AgentKey, KeyUse, Queue, QueueKey, Session, SessionKey, Transfer
from handoff.domain.retry import Attempt
from handoff.outboxes import open_outbox
from handoff.service.ports import (
    AttemptResult,
    Changes,
    Claim,
    ClaimedCallback,
    ClaimPlan,
    KeyName,
    Outbox,
    Reclaimed,
    Sender,
    TransferKey,
    TransferStore,
    TransferTransaction,
)
from handoff.stores import open_transfer_store
from handoff.system import listen

_CALL: Final = "/assign-conversation"


class Fate:
    """Ends the process with no farewell when it passes its point for the last time."""

    def __init__(self, point: str, passages: int) -> None:
        self._point = point
        self._left = passages

    def passes(self, point: str) -> None:
        if point != self._point:
            return
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingTransaction:
    """Dies before or after what the batch decided is written."""

    def __init__(self, transaction: TransferTransaction, fate: Fate) -> None:
        self._transaction = transaction
        self._fate = fate

    def wait_briefly(self) -> None:
        self._transaction.wait_briefly()

    def sessions(self, wanted: Collection[SessionKey]) -> Mapping[SessionKey, Session]:
        return self._transaction.sessions(wanted)

    def agents(self, wanted: Collection[AgentKey]) -> Mapping[AgentKey, Agent]:
        return self._transaction.agents(wanted)

    def queues(self, wanted: Collection[QueueKey]) -> Mapping[QueueKey, Queue]:
        return self._transaction.queues(wanted)

    def keys(self, wanted: Collection[KeyName]) -> Mapping[KeyName, KeyUse]:
        return self._transaction.keys(wanted)

    def transfers(self, wanted: Collection[TransferKey]) -> Mapping[TransferKey, Transfer]:
        return self._transaction.transfers(wanted)

    def write(self, changes: Changes) -> None:
        self._fate.passes("before_write")
        self._transaction.write(changes)
        self._fate.passes("after_write")


class DyingStore:
    """Dies before or after a transaction begins or commits."""

    def __init__(self, store: TransferStore, fate: Fate) -> None:
        self._store = store
        self._fate = fate

    @contextmanager
    def begin(self) -> Iterator[TransferTransaction]:
        self._fate.passes("before_begin")
        with self._store.begin() as transaction:
            self._fate.passes("after_begin")
            yield DyingTransaction(transaction, self._fate)
            self._fate.passes("before_commit")
        self._fate.passes("after_commit")

    def abort(self) -> None:
        self._store.abort()

    def close(self) -> None:
        self._store.close()


class DyingDoor:
    """ASGI middleware that dies before or after the answer to a call is sent."""

    def __init__(self, app: ASGIApp, *, fate: Fate) -> None:
        self._app = app
        self._fate = fate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_die(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._fate.passes("before_answer")
            await send(message)
            if message["type"] == "http.response.body":
                self._fate.passes("after_answer")

        is_call = scope["type"] == "http" and scope["path"].endswith(_CALL)
        await self._app(scope, receive, send_and_die if is_call else send)


class DyingOutbox:
    """Dies before or after messages are claimed, or their attempts recorded."""

    def __init__(self, outbox: Outbox, fate: Fate) -> None:
        self._outbox = outbox
        self._fate = fate

    def claim(self, plan: ClaimPlan, *, now_ms: int, lease_ms: int, lease_token: str) -> Claim:
        self._fate.passes("before_claim")
        claim = self._outbox.claim(plan, now_ms=now_ms, lease_ms=lease_ms, lease_token=lease_token)
        if claim.callbacks:
            self._fate.passes("after_claim")
        return claim

    def record(self, results: Sequence[AttemptResult], *, now_ms: int) -> None:
        self._fate.passes("before_record")
        self._outbox.record(results, now_ms=now_ms)
        self._fate.passes("after_record")

    def release(self, claimed: Sequence[ClaimedCallback]) -> None:
        self._outbox.release(claimed)

    def reclaim(self, *, now_ms: int) -> Reclaimed:
        return self._outbox.reclaim(now_ms=now_ms)

    def close(self) -> None:
        self._outbox.close()


class DyingSender:
    """Dies before or after a message is posted."""

    def __init__(self, sender: Sender, fate: Fate) -> None:
        self._sender = sender
        self._fate = fate

    async def send(self, claimed: ClaimedCallback) -> Attempt:
        self._fate.passes("before_post")
        attempt = await self._sender.send(claimed)
        self._fate.passes("after_post")
        return attempt


def serve(settings: Settings, fate: Fate) -> None:
    app = create_app(settings, open_transfers=lambda chosen: DyingStore(open_transfer_store(chosen), fate))
    app.add_middleware(DyingDoor, fate=fate)
    with listen(settings.host, settings.port, "HANDOFF_PORT") as listener:
        run_server(app, settings, listener)


async def dispatch(settings: Settings, fate: Fate) -> None:
    @asynccontextmanager
    async def dying_sender(chosen: Settings) -> AsyncIterator[Sender]:
        async with open_sender(chosen) as sender:
            yield DyingSender(sender, fate)

    async with dispatching(
        settings, open_outbox=lambda chosen: DyingOutbox(open_outbox(chosen), fate), open_sender=dying_sender
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    named, passage, part = sys.argv[1:]
    if part == "serve":
        serve(load_settings(), Fate(named, int(passage)))
    else:
        uvloop.run(dispatch(load_settings(), Fate(named, int(passage))))
