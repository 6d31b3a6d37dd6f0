"""A name whose answer changes after intake, over a real name server: the connection is what counts."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from aiohttp import AsyncResolver

from handoff import Settings, load_directory
from handoff.delivery.sender import HttpSender, SenderOptions
from handoff.delivery.signature import Signer
from handoff.dispatching import address_rules
from handoff.domain.address_policy import refuse_url
from handoff.outboxes import open_outbox
from handoff.service.dispatcher import Dispatcher, DispatchLimits
from handoff.system import SystemChance, SystemClock, SystemIds
from rigs import names, sample
from rigs.backlog import queue_up
from rigs.messages import Seen, after_first_attempt
from rigs.receiver import Receiver

pytestmark = [pytest.mark.anyio, pytest.mark.alone]

HERE = ["127.0.0.1"]
METADATA = ["169.254.169.254"]
OPTIONS = SenderOptions(user_agent="Handoff/test", timeout_s=10, in_flight=32)
LIMITS = DispatchLimits(in_flight=32, lease_ms=60_000, grace_s=0)

# What a name answers from its second question on, after a first answer that is allowed.
TURNS: Mapping[str, tuple[names.Answer, str]] = {
    "metadata": (METADATA, "address"),
    "mixed-last": ([*HERE, *METADATA], "address"),
    "mixed-first": ([*METADATA, *HERE], "address"),
    "private": (["10.0.0.1"], "address"),
    "nowhere": (["0.0.0.0"], "address"),
    "gone": (names.NO_SUCH_NAME, "dns"),
    "failing": (names.SERVER_FAILED, "dns"),
    "empty": ([], "dns"),
    "silent": (None, "dns"),
}


@asynccontextmanager
async def dispatching(settings: Settings, name_port: int) -> AsyncIterator[None]:
    """The real dispatcher, asking the test's own name server."""
    resolver = AsyncResolver(nameservers=["127.0.0.1"], udp_port=name_port, tcp_port=name_port)
    outbox, clock = open_outbox(settings), SystemClock()
    with ThreadPoolExecutor(1) as thread:
        async with HttpSender(address_rules(settings), Signer([]), clock, OPTIONS, resolver=resolver) as sender:
            dispatcher = Dispatcher(
                outbox, sender, executor=thread, clock=clock, ids=SystemIds(), chance=SystemChance(), limits=LIMITS
            )
            dispatcher.start()
            yield
            await dispatcher.stop()
        thread.submit(outbox.close).result()


async def deliver(settings: Settings, urls: Sequence[str], *, first_number: int) -> list[Seen]:
    await asyncio.to_thread(queue_up, settings, urls, first_number=first_number)
    seen = await asyncio.to_thread(after_first_attempt, settings, first_number + len(urls), timeout_s=30)
    return [seen[f"msg_{first_number + place}"] for place in range(len(urls))]


async def test_a_name_that_turns_after_its_first_callback_is_called_no_more(sqlite_url: str) -> None:
    settings = Settings(database_url=sqlite_url)
    load_directory(settings, sample.directory())
    answers = {f"{name}.example": [HERE, turned] for name, (turned, _) in TURNS.items()}

    # The connection is closed after each answer, so that the next callback asks for the name again.
    with Receiver(answer=lambda _: (200, {"connection": "close"})) as receiver:
        urls = [f"http://{name}:{receiver.port}/" for name in answers]
        async with names.name_server(answers) as (port, _), dispatching(settings, port):
            before = await deliver(settings, urls, first_number=0)
            after = await deliver(settings, urls, first_number=len(urls))

    assert [refuse_url(url, address_rules(settings)) for url in urls] == [None] * len(urls)
    assert [one.state for one in before] == ["delivered"] * len(urls)
    assert {name: one.error for name, one in zip(TURNS, after, strict=True)} == {
        name: error for name, (_, error) in TURNS.items()
    }
    assert {one.state for one in after} == {"pending"}
    assert max(one.duration_ms for one in after) < OPTIONS.timeout_s * 1_000
    assert len(receiver.received) == len(urls)


async def test_the_address_that_was_judged_is_the_one_that_is_called(sqlite_url: str) -> None:
    settings = Settings(database_url=sqlite_url)
    load_directory(settings, sample.directory())

    with Receiver() as receiver:
        url = f"http://turning.example:{receiver.port}/"
        answers = {"turning.example": [HERE, METADATA]}
        async with names.name_server(answers) as (port, server), dispatching(settings, port):
            (seen,) = await deliver(settings, [url], first_number=0)

    assert seen.state == "delivered"
    assert server.asked["turning.example", 1] == 1
