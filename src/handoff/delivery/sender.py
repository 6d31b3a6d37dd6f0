"""One attempt: a POST over a connection that the address rules allowed, with every wait and every read bounded."""

import asyncio
import functools
import ipaddress
import math
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from yarl import URL

from handoff.delivery.addresses import gated_connector, refusal_in
from handoff.delivery.answers import BoundedAnswer
from handoff.delivery.signature import Signer
from handoff.domain.address_policy import AddressRules, refuse_url
from handoff.domain.retry import Attempt, ErrorClass
from handoff.service.ports import ClaimedCallback, Clock

_CONNECT_S: Final = 5.0
# Of an answer only this much is read, and only this much is kept for operators.
_READ_BYTES: Final = 2_048
_EXCERPT_BYTES: Final = 512
# Sooner than the five seconds after which common servers close an idle connection.
_KEEP_ALIVE_S: Final = 4.0
# URLs whose judgement is remembered, 2 KiB each at most: a receiver is posted to again and again.
_KEPT_URLS: Final = 1_024

# The connection that this task's last request went over, if that had carried another request before.
_kept_alive: Final[ContextVar[BoundedAnswer | None]] = ContextVar("kept_alive", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOptions:
    """`timeout_s` bounds an attempt in all; `in_flight` its connections; `ca_file` adds certificates to trust."""

    user_agent: str
    timeout_s: float
    in_flight: int
    ca_file: Path | None = None


class HttpSender:
    """Posts callbacks with aiohttp. Make it and close it in the event loop that it is used in.

    A `resolver` that is given is closed with it.
    """

    def __init__(
        self,
        rules: AddressRules,
        signer: Signer,
        clock: Clock,
        options: SenderOptions,
        *,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._rules = rules
        self._signer = signer
        self._clock = clock
        self._timeout_s = options.timeout_s
        self._target_of = functools.lru_cache(_KEPT_URLS)(self._judge)
        # Asks name servers without threads, which slow ones would fill.
        self._resolver = resolver or aiohttp.AsyncResolver()
        self._session = aiohttp.ClientSession(
            connector=gated_connector(
                rules,
                resolver=self._resolver,
                ssl_context=None if options.ca_file is None else _trusting(options.ca_file),
                limit=options.in_flight,
                keepalive_timeout=_KEEP_ALIVE_S,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"content-type": "application/json", "user-agent": options.user_agent},
            skip_auto_headers=("accept-encoding",),
            auto_decompress=False,  # an excerpt of what was sent will do, and a bomb stays packed
            trust_env=False,
            request_class=_Request,
            response_class=_Response,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._resolver.close()

    async def send(self, claimed: ClaimedCallback) -> Attempt:
        """Post the message once, and once more where a kept-alive connection had died before any answer.

        The URL is held to the rules of now, which may be stricter than those it was taken in under.
        """
        started_at = self._clock.now_ms()
        target = self._target_of(claimed.url)
        if isinstance(target, str):
            return Attempt(started_at=started_at, duration_ms=0, error=ErrorClass.ADDRESS, detail=target)
        timing = asyncio.get_running_loop().time
        began = timing()
        try:
            heard = await self._post_with_resend(claimed, target, started_at)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Attempt(
                started_at=started_at,
                duration_ms=_ms(timing() - began),
                error=_class_of(error),
                detail=_sentence(error),
            )
        return Attempt(
            started_at=started_at,
            duration_ms=_ms(timing() - began),
            status=heard.status,
            retry_after_ms=_retry_after_ms(heard.headers, self._clock.now_ms()),
            is_abort=heard.headers.get("webhook-delivery", "").strip().lower() == "abort-message",
            remote_address=heard.remote_address,
            excerpt=heard.excerpt,
        )

    def _judge(self, url: str) -> URL | str:
        """The URL to post to, or why the rules refuse it."""
        return refuse_url(url, self._rules) or URL(url, encoded=True)

    async def _post_with_resend(self, claimed: ClaimedCallback, target: URL, started_at: int) -> "_Heard":
        timing = asyncio.get_running_loop().time
        give_up_at = timing() + self._timeout_s
        _kept_alive.set(None)
        try:
            return await self._post(claimed, target, started_at, self._timeout_s)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            left_s = give_up_at - timing()
            connection = _kept_alive.get()
            if connection is None or connection.has_begun or left_s <= 0:
                raise
        return await self._post(claimed, target, started_at, left_s)

    async def _post(self, claimed: ClaimedCallback, target: URL, started_at: int, within_s: float) -> "_Heard":
        headers = self._signer.headers(
            app_id=claimed.app_id,
            webhook_id=claimed.callback_id,
            timestamp_s=started_at // 1_000,
            body=claimed.body,
        )
        async with self._session.post(
            target,
            data=claimed.body,
            headers=headers,
            allow_redirects=False,
            # Without the threshold, aiohttp rounds up what is longer than 5 s to a whole second of its clock.
            timeout=aiohttp.ClientTimeout(total=within_s, sock_connect=_CONNECT_S, ceil_threshold=math.inf),
        ) as response:
            assert isinstance(response, _Response)  # noqa: S101 (the session makes no other)
            beginning = await _read_what_comes(response)
            excerpt = _excerpt(beginning, response.remote_address)
            return _Heard(response.status, response.headers, response.remote_address, excerpt)


class _Request(aiohttp.ClientRequest):
    """A request that tells its task of a connection that has carried another before; a trace would cost more."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        protocol = conn.protocol
        assert isinstance(protocol, BoundedAnswer)  # noqa: S101 (the connector makes no other)
        _kept_alive.set(protocol if protocol.has_carried else None)
        protocol.has_carried = True
        return await super().send(conn)


class _Response(aiohttp.ClientResponse):
    """An answer that remembers where it came from: its connection is gone as soon as the answer is complete."""

    remote_address: str | None = None

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        peer = connection.transport.get_extra_info("peername") if connection.transport is not None else None
        self.remote_address = str(peer[0]).partition("%")[0] if peer else None
        return await super().start(connection)


@dataclass(frozen=True, slots=True)
class _Heard:
    status: int
    headers: Mapping[str, str]
    remote_address: str | None
    excerpt: str | None


async def _read_what_comes(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of the answer, as far as it comes: the status line has decided already."""
    try:
        return await _read(response)
    except (aiohttp.ClientError, TimeoutError, OSError):
        response.close()
        return b""


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The beginning of the answer. A connection whose answer is not at its end is closed, not kept."""
    beginning = b""
    while len(beginning) < _READ_BYTES:
        piece = await response.content.read(_READ_BYTES - len(beginning))
        if not piece:
            return beginning
        beginning += piece
    if not response.content.at_eof():
        response.close()
    return beginning


def _excerpt(beginning: bytes, remote_address: str | None) -> str | None:
    """What operators may see: nothing of an answer from a private network, which the caller could not read either."""
    if not beginning or remote_address is None or not ipaddress.ip_address(remote_address).is_global:
        return None
    return beginning[:_EXCERPT_BYTES].decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """Retry-After (RFC 9110, 10.2.3), seconds or a date, as milliseconds from now; None where it says nothing."""
    said = headers.get("retry-after", "").strip()
    if not said:
        return None
    if said.isascii() and said.isdigit():
        return int(said[:9]) * 1_000
    try:
        return max(0, int(parsedate_to_datetime(said).timestamp() * 1_000) - now_ms)
    except (ValueError, OverflowError):
        return None


def _class_of(error: Exception) -> ErrorClass:
    if refusal_in(error) is not None:
        return ErrorClass.ADDRESS
    for kind, error_class in _CLASSES:
        if isinstance(error, kind):
            return error_class
    return ErrorClass.RESET if isinstance(error, OSError) else ErrorClass.PROTOCOL


# The first that fits: subclasses stand before what they derive from.
_CLASSES: Final[tuple[tuple[type[Exception], ErrorClass], ...]] = (
    (TimeoutError, ErrorClass.TIMEOUT),
    (aiohttp.ClientConnectorDNSError, ErrorClass.DNS),
    (aiohttp.ClientSSLError, ErrorClass.TLS),
    (aiohttp.ClientConnectorError, ErrorClass.CONNECT),
    (aiohttp.ServerDisconnectedError, ErrorClass.RESET),
)


def _sentence(error: Exception) -> str:
    """The error in plain characters, without what it quotes: an excerpt is kept of public answers only."""
    match error:
        case aiohttp.ClientResponseError():
            said = error.message.partition(":")[0]
        case aiohttp.ServerDisconnectedError():
            said = "Server disconnected"
        case _:
            said = str(refusal_in(error) or error)
    said = said.encode("ascii", "backslashreplace").decode().replace("\x00", "")
    return said[:_EXCERPT_BYTES] or type(error).__name__


def _trusting(ca_file: Path) -> ssl.SSLContext:
    """What trusts the file's certificates besides the system's. Without such a file aiohttp's own context will do."""
    context = ssl.create_default_context()
    context.load_verify_locations(ca_file)
    return context


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
