"""The part of the composition root that delivers callbacks.

`handoff dispatch` loads this and not the API, so that a process that only delivers stays small.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from handoff import __version__
from handoff.delivery.signature import Signer
from handoff.domain.address_policy import AddressRules
from handoff.outboxes import open_outbox, retaining
from handoff.service.dispatcher import Dispatcher, DispatchLimits
from handoff.service.meter import UNMEASURED, Meter
from handoff.service.ports import Outbox, Sender
from handoff.service.retention import purge_for_ever
from handoff.settings import Settings
from handoff.signing import signing_secrets
from handoff.store.engine import is_sqlite
from handoff.store.wakeups import Channel, listening
from handoff.system import SystemChance, SystemClock, SystemIds
from handoff.telemetry.logs import Teller

if TYPE_CHECKING:
    from handoff.delivery.sender import HttpSender, SenderOptions

OpenOutbox = Callable[[Settings], Outbox]
OpenSender = Callable[[Settings], AbstractAsyncContextManager[Sender]]


def open_sender(settings: Settings) -> "HttpSender":
    """What posts callbacks, in the running event loop. Its client is imported here, since who posts none needs none."""
    delivery = import_module("handoff.delivery.sender")
    options: SenderOptions = delivery.SenderOptions(
        user_agent=f"Handoff/{__version__}",
        timeout_s=settings.callback_timeout_seconds,
        in_flight=settings.callback_in_flight,
        ca_file=settings.callback_ca_file,
    )
    sender: HttpSender = delivery.HttpSender(
        address_rules(settings), Signer(signing_secrets(settings)), SystemClock(), options
    )
    return sender


@asynccontextmanager
async def dispatching(
    settings: Settings,
    *,
    executor: ThreadPoolExecutor | None = None,
    meter: Meter = UNMEASURED,
    open_outbox: OpenOutbox = open_outbox,
    open_sender: OpenSender = open_sender,
) -> AsyncIterator[Dispatcher]:
    """A running dispatcher; its store work goes to `executor`, or to a thread of its own.

    `open_outbox` and `open_sender` are where another outbox and another sender can be put in.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        thread = executor or stack.enter_context(threads(1, "outbox"))
        outbox = open_outbox(settings)
        stack.callback(lambda: thread.submit(outbox.close).result())
        sender = await stack.enter_async_context(open_sender(settings))
        dispatcher = Dispatcher(
            outbox,
            sender,
            executor=thread,
            clock=clock,
            ids=SystemIds(),
            chance=SystemChance(),
            limits=DispatchLimits(
                in_flight=settings.callback_in_flight,
                lease_ms=int(settings.callback_lease_seconds * 1_000),
                grace_s=settings.grace_seconds / 2,  # the other half is the server's, for requests under way
            ),
            meter=meter,
            tell=Teller(clock),
        )
        dispatcher.start()
        stack.push_async_callback(dispatcher.stop)
        stack.enter_context(_purging(settings, thread))
        if not is_sqlite(settings.database_url):
            await stack.enter_async_context(listening(settings.database_url, {Channel.CALLBACKS: dispatcher.wake}))
        yield dispatcher


@contextmanager
def _purging(settings: Settings, executor: ThreadPoolExecutor) -> Iterator[None]:
    with retaining(settings) as retention:
        purger = asyncio.get_running_loop().create_task(purge_for_ever(retention, executor), name="purger")
        yield
        purger.cancel()


def address_rules(settings: Settings) -> AddressRules:
    """The rules for callback URLs and for the addresses behind them."""
    return AddressRules(
        allow_loopback=settings.callback_policy == "development",
        allow_plain_http=settings.allows_plain_http,
        allow_nets=settings.callback_allow_nets,
        allow_hosts=tuple(host.lower() for host in settings.callback_allow_hosts),
        own_port=settings.port,
    )


@contextmanager
def threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """So many threads, which end with the block."""
    with ThreadPoolExecutor(count, thread_name_prefix=name) as executor:
        yield executor
