"""One attempt against real sockets: what is sent, and what each way to fail is called."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks import Webhook

from handoff.delivery.sender import HttpSender, SenderOptions
from handoff.delivery.signature import Signer, app_secret, show_secret
from handoff.domain.address_policy import AddressRules
from handoff.domain.retry import Attempt, ErrorClass
from handoff.service.ports import ClaimedCallback
from handoff.system import SystemClock
from rigs import sample
from rigs.ports import free_port
from rigs.receiver import Received, Receiver

RULES = AddressRules(allow_loopback=True, allow_plain_http=True)
MASTER = bytes(range(32))
CLAIMED = ClaimedCallback(
    account_id=sample.ACCOUNT,
    callback_id="msg_1",
    transfer_id="tr_1",
    app_id=sample.APP,
    url="",
    lane="",
    body='{"name":"Zoë"}'.encode(),
    number=1,
    is_retry=False,
    claim=1,
    expires_at=1 << 60,
    lease_token="one",
)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def sender(rules: AddressRules = RULES, timeout_s: float = 10) -> AsyncIterator[HttpSender]:
    options = SenderOptions(user_agent="Handoff/test", timeout_s=timeout_s, in_flight=4)
    async with HttpSender(rules, Signer([MASTER]), SystemClock(), options) as made:
        yield made


async def attempt(url: str, *, rules: AddressRules = RULES, timeout_s: float = 10) -> Attempt:
    async with sender(rules, timeout_s) as made:
        return await made.send(replace(CLAIMED, url=url))


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[str]:
    """A server that does with each connection what `talk` does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()


def saying(answer: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return talk


async def test_the_body_arrives_as_it_was_written_with_headers_that_verify() -> None:
    with Receiver() as receiver:
        made = await attempt(receiver.url("/hook?x=%2F&y=a+b"))
        (received,) = receiver.wait_for(1)

    assert (made.status, made.error, made.succeeded) == (200, None, True)
    assert received.body == CLAIMED.body
    assert received.path == "/hook?x=%2F&y=a+b"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"] == "Handoff/test"
    assert received.headers["webhook-id"] == "msg_1"
    secret = show_secret(app_secret(MASTER, sample.APP))
    assert Webhook(secret).verify(received.body, dict(received.headers)) == {"name": "Zoë"}


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    with Receiver() as elsewhere:

        def redirect(_: Received) -> tuple[int, dict[str, str]]:
            return 307, {"location": elsewhere.url()}

        with Receiver(answer=redirect) as receiver:
            made = await attempt(receiver.url())

        assert (made.status, made.succeeded) == (307, False)
        assert elsewhere.received == []


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        made = await attempt(receiver.url())

    assert made.status == 200
    assert (len(receiver.received), proxy.received) == (1, [])


async def test_no_cookie_is_sent_back() -> None:
    with Receiver(answer=lambda _: (200, {"set-cookie": "a=b; path=/"})) as receiver:
        async with sender() as made:
            for _ in range(2):
                await made.send(replace(CLAIMED, url=receiver.url()))
        first, second = receiver.wait_for(2)

    assert "cookie" not in {name.lower() for one in (first, second) for name in one.headers}


@pytest.mark.parametrize(
    ("said", "milliseconds"), [("7", 7_000), ("0", 0), ("soon", None), ("-1", None), ("99999999999", 999_999_999_000)]
)
async def test_retry_after_is_read_in_seconds(said: str, milliseconds: int | None) -> None:
    with Receiver(answer=lambda _: (503, {"retry-after": said})) as receiver:
        made = await attempt(receiver.url())

    assert made.retry_after_ms == milliseconds


async def test_retry_after_is_read_as_a_date() -> None:
    with Receiver(answer=lambda _: (429, {"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"})) as receiver:
        future = await attempt(receiver.url())
        receiver.answer = lambda _: (429, {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"})
        past = await attempt(receiver.url())

    assert future.retry_after_ms is not None
    assert future.retry_after_ms > 0
    assert past.retry_after_ms == 0


async def test_an_abort_is_seen() -> None:
    with Receiver(answer=lambda _: (500, {"Webhook-Delivery": "abort-message"})) as receiver:
        made = await attempt(receiver.url())

    assert made.is_abort


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ErrorClass.RESET),
        (b"nonsense\r\n\r\n", ErrorClass.PROTOCOL),
    ],
    ids=["no answer", "no HTTP"],
)
async def test_a_broken_answer_has_its_class(answer: bytes, error: ErrorClass) -> None:
    async with talking(saying(answer)) as url:
        made = await attempt(url)

    assert (made.status, made.error) == (None, error)
    assert made.detail


async def test_an_answer_is_judged_by_its_status_even_if_its_body_is_cut_short() -> None:
    async with talking(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort")) as url:
        made = await attempt(url)

    assert (made.status, made.error) == (200, None)


async def test_a_body_that_goes_wrong_is_waited_for_no_longer() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.1)  # so that they come as two
        writer.write(b"no size\r\n")

    async with talking(talk) as url:
        made = await attempt(url, timeout_s=30)

    assert made.status == 200
    assert made.duration_ms < 15_000


async def test_a_receiver_that_says_nothing_is_a_timeout() -> None:
    silent = asyncio.Event()

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await silent.wait()

    async with talking(talk) as url:
        made = await attempt(url, timeout_s=0.2)
        silent.set()

    assert made.error is ErrorClass.TIMEOUT


async def test_an_endless_answer_is_read_no_further_than_needed() -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while sent < 1 << 30:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
            sent += 0x10000

    async with talking(talk) as url:
        made = await attempt(url)

    assert made.status == 200
    assert sent < 1 << 30


async def test_a_port_where_nobody_listens_is_a_failed_connect() -> None:
    made = await attempt(f"http://127.0.0.1:{free_port()}/")

    assert made.error is ErrorClass.CONNECT


async def test_a_handshake_that_stalls_is_given_up_after_five_seconds() -> None:
    async with talking(lambda reader, _: reader.readuntil(b"never")) as url:
        made = await attempt(url.replace("http:", "https:"), timeout_s=60)

    assert made.error is ErrorClass.TIMEOUT
    assert 4_900 <= made.duration_ms < 20_000


async def test_a_name_server_that_says_nothing_is_given_up_after_three_seconds() -> None:
    class Silent(AbstractResolver):
        async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
            await asyncio.Event().wait()
            raise AssertionError

        async def close(self) -> None:
            pass

    options = SenderOptions(user_agent="Handoff/test", timeout_s=60, in_flight=4)
    async with HttpSender(RULES, Signer([]), SystemClock(), options, resolver=Silent()) as made:
        attempted = await made.send(replace(CLAIMED, url="http://bots.example.com/"))

    assert attempted.error is ErrorClass.DNS
    assert 2_900 <= attempted.duration_ms < 15_000


async def test_a_name_that_does_not_exist_is_a_dns_failure() -> None:
    made = await attempt("http://nobody.invalid/")

    assert made.error is ErrorClass.DNS


async def test_a_forbidden_address_is_refused_before_any_byte() -> None:
    with Receiver() as receiver:
        made = await attempt(receiver.url(), rules=AddressRules(allow_loopback=False, allow_plain_http=True))

    assert made.error is ErrorClass.ADDRESS
    assert receiver.received == []


async def test_a_kept_connection_that_died_is_replaced_at_once() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(CLAIMED.body))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")  # the next request on this connection gets no answer

    async with talking(talk) as url, sender() as made:
        first = await made.send(replace(CLAIMED, url=url))
        second = await made.send(replace(CLAIMED, url=url))

    assert (first.status, second.status) == (200, 200)
    assert connections == 2


async def test_a_kept_connection_that_dies_in_its_answer_is_no_reason_to_post_again() -> None:
    requests = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        for answer in (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 2"):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(CLAIMED.body))
            requests += 1
            writer.write(answer)
            await writer.drain()

    async with talking(talk) as url, sender() as made:
        await made.send(replace(CLAIMED, url=url))
        attempted = await made.send(replace(CLAIMED, url=url))

    assert attempted.error is ErrorClass.RESET
    assert requests == 2


async def test_a_resend_gets_only_the_time_that_is_left() -> None:
    requests = 0
    silent = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(CLAIMED.body))
            requests += 1
            if requests > 1:
                await (asyncio.sleep(2) if requests == 2 else silent.wait())
                return
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()

    async with talking(talk) as url, sender(timeout_s=4) as made:
        await made.send(replace(CLAIMED, url=url))
        attempted = await made.send(replace(CLAIMED, url=url))
        silent.set()

    assert requests == 3
    assert attempted.error is ErrorClass.TIMEOUT
    assert attempted.duration_ms < 5_500  # a time of its own would make it 6 s


@pytest.mark.parametrize(
    "answer",
    [
        b"secret\r\n\r\n",
        b"HTTP/1.1 500 secret\r\nx: secret\r\n",
        b"HTTP/1.1 500 No\r\nx: secret\x00\r\n\r\n",
        b"HTTP/1.1 500 No\r\nsecret\r\n\r\n",
        b"HTTP/1.1 500 No\r\nx: " + b"secret" * 9_999,
    ],
    ids=["no HTTP", "half a head", "a zero byte", "no header", "a long header"],
)
async def test_what_an_error_says_quotes_nothing_of_the_answer(answer: bytes) -> None:
    async with talking(saying(answer)) as url:
        made = await attempt(url)

    assert made.error in {ErrorClass.PROTOCOL, ErrorClass.RESET}
    assert made.detail
    assert "secret" not in made.detail


async def test_nothing_of_a_private_answer_is_kept() -> None:
    async with talking(saying(b"HTTP/1.1 500 No\r\ncontent-length: 6\r\n\r\nsecret")) as url:
        made = await attempt(url)

    assert (made.status, made.excerpt) == (500, None)
    assert made.remote_address == "127.0.0.1"
