"""What a recorder writes down of a call that is not answered."""

import asyncio

import httpx
import pytest

from rigs.calls import Call, Told
from rigs.ports import free_port
from rigs.receiver import Receiver
from rigs.recorder import Recorder

CALL = Call(caller="c", session="s-1", agent="a-1", callback_url="http://localhost:8009/", request_id="r-1", key="k")

pytestmark = pytest.mark.anyio


async def asked(url: str) -> list[Told]:
    recorder = Recorder()
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        await recorder.call(client, CALL)
    return recorder.told


async def test_a_connection_that_was_refused_was_no_call() -> None:
    assert await asked(f"http://127.0.0.1:{free_port()}") == []


async def test_a_call_whose_connection_died_is_one_of_unknown_outcome() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        (told,) = await asked(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert (told.call, told.answer, told.ended) == (CALL, None, float("inf"))


async def test_a_call_that_was_answered_503_is_one_of_unknown_outcome_and_was_sent_as_it_is_written_down() -> None:
    with Receiver(answer=503) as service:
        (told,) = await asked(service.url(""))
        (sent,) = service.received

    assert (told.call, told.answer) == (CALL, None)
    assert (sent.headers["idempotency-key"], sent.headers["x-request-id"]) == ("k", "r-1")
