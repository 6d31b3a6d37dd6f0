"""The catalogue of hostile receivers, each with what an attempt on it is documented to come to."""

import gzip
import ssl
from dataclasses import dataclass
from pathlib import Path

from rigs.certificates import Authority, self_signed
from rigs.evil import (
    Talk,
    answer_unasked,
    close_at_once,
    drip,
    flood,
    ignore,
    say,
    say_and_half_close,
    say_and_hold,
    say_and_reset,
    say_to_anything,
)

DAY_S = 86_400.0
# The first delay and the same with all its jitter.
FIRST_DELAY_S = (5.0, 6.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What stands in the store after one attempt; `waits_s` is the least and the most until the next."""

    state: str
    status: int | None = None
    error: str | None = None
    reason: str | None = None
    waits_s: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Evil:
    """What a receiver does with each connection, and what that comes to."""

    talk: Talk
    outcome: Outcome
    tls: ssl.SSLContext | None = None
    speaks: str = "http"


def told(status: int, *, waits_s: tuple[float, float] = FIRST_DELAY_S) -> Outcome:
    """It was heard, and was no success."""
    return Outcome(state="pending", status=status, waits_s=waits_s)


def failed(error: str) -> Outcome:
    """Nothing that counts as an answer was heard."""
    return Outcome(state="pending", error=error, waits_s=FIRST_DELAY_S)


def delivered(status: int = 200) -> Outcome:
    return Outcome(state="delivered", status=status)


def dead(reason: str, status: int) -> Outcome:
    return Outcome(state="dead", status=status, reason=reason)


def head(status: int, *headers: str) -> bytes:
    """A status line and headers, without the end of the connection's framing unless they give one."""
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status} Said", *headers, "")).encode("latin-1")


def empty(status: int, *headers: str) -> bytes:
    """A whole answer without a body."""
    return head(status, "content-length: 0", *headers)


def asked_to_wait(said: str, least_s: float, most_s: float | None = None) -> Evil:
    answer = say(empty(503, f"retry-after: {said}"))
    return Evil(answer, told(503, waits_s=(least_s, least_s if most_s is None else most_s)))


STATUSES = {
    "500": Evil(say(empty(500)), told(500)),
    "429": Evil(say(empty(429)), told(429)),
    "503": Evil(say(empty(503)), told(503)),
    "304": Evil(say(head(304)), told(304)),
    "101, and then noise": Evil(flood(head(101, "upgrade: noise", "connection: upgrade"), b"\x00" * 65_536), told(101)),
    "status 999": Evil(say(empty(999)), told(999)),
    "410": Evil(say(empty(410)), dead("gone", 410)),
    "abort": Evil(say(empty(503, "webhook-delivery: abort-message", "retry-after: 7")), dead("aborted", 503)),
    "a success that says abort": Evil(say(empty(202, "webhook-delivery: abort-message")), delivered(202)),
    "204 with a body": Evil(say(head(204) + b"a body"), delivered(204)),
    "Retry-After in seconds": asked_to_wait("7", 7),
    "Retry-After beyond a day": asked_to_wait("99999999999999999999", DAY_S),
    "Retry-After in a far year": asked_to_wait("Fri, 31 Dec 9999 23:59:59 GMT", DAY_S),
    "Retry-After in a year that no clock shows": asked_to_wait("Fri, 31 Dec 99999 23:59:59 GMT", *FIRST_DELAY_S),
    "Retry-After in no zone of this world": asked_to_wait("Fri, 31 Dec 9999 23:59:59 +99999999", *FIRST_DELAY_S),
    "Retry-After in the year one": asked_to_wait("Mon, 1 Jan 0001 00:00:00 -0000", *FIRST_DELAY_S),
    "Retry-After in the past": asked_to_wait("Fri, 31 Dec 1999 23:59:59 GMT", *FIRST_DELAY_S),
    "Retry-After below zero": asked_to_wait("-86400", *FIRST_DELAY_S),
    "Retry-After with a fraction": asked_to_wait("1e5", *FIRST_DELAY_S),
    "Retry-After of nothing": asked_to_wait(" ,", *FIRST_DELAY_S),
    "Retry-After in other digits": asked_to_wait("\xb9\xb2\xb3", *FIRST_DELAY_S),
}

CHUNKED = "transfer-encoding: chunked"
SLOWNESS = {
    "silence": Evil(say_and_hold(), failed("timeout")),
    "silence, not even reading": Evil(ignore, failed("timeout")),
    "a status line that drips": Evil(drip(b"", b"HTTP/1.1 200 Said\r\n\r\n" * 2, every_s=0.5), failed("timeout")),
    "headers that drip": Evil(drip(b"HTTP/1.1 200 Said\r\n", b"x: y\r\n"), failed("timeout")),
    "continue, now and then": Evil(drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n", every_s=0.01), failed("timeout")),
    "a success whose body drips": Evil(drip(head(200, "content-length: 9999"), b"x"), delivered()),
    "a failure whose body drips": Evil(drip(head(500, "content-length: 9999"), b"x"), told(500)),
    "chunks that drip": Evil(drip(head(200, CHUNKED), b"1\r\nx\r\n"), delivered()),
    "a body shorter than announced": Evil(say_and_hold(head(200, "content-length: 10"), b"short"), delivered()),
}

BREAKAGES = {
    "closed at once": Evil(close_at_once, failed("reset")),
    "closed without an answer": Evil(say(), failed("reset")),
    "reset without an answer": Evil(say_and_reset(), failed("reset")),
    "reset in the status line": Evil(say_and_reset(b"HTTP/1.1 20"), failed("reset")),
    "reset in the headers": Evil(say_and_reset(b"HTTP/1.1 200 Said\r\nx: y\r\n"), failed("reset")),
    "closed in the headers": Evil(say(b"HTTP/1.1 200 Said\r\nx: y\r\n"), failed("reset")),
    "a success, then a reset": Evil(say_and_reset(head(200, "content-length: 10"), b"short"), delivered()),
    "a failure, then a reset": Evil(say_and_reset(head(500, CHUNKED), b"5\r\nsho"), told(500)),
    "half-closed without an answer": Evil(say_and_half_close(), failed("reset")),
    "half-closed in the headers": Evil(say_and_half_close(b"HTTP/1.1 200 Said\r\nx:"), failed("reset")),
    "half-closed in the body": Evil(say_and_half_close(head(200, "content-length: 10"), b"short"), delivered()),
    "a success before the request": Evil(answer_unasked(empty(200)), delivered()),
    "a failure before the request": Evil(answer_unasked(empty(500)), told(500)),
}

NONSENSE = {
    "HTTP/0.9": Evil(say(b"<html>hello</html>"), failed("protocol")),
    "HTTP/2": Evil(say(bytes.fromhex("000012040000000000") + b"\x00\x03\x00\x00\x00\x64" * 3), failed("protocol")),
    "SSH": Evil(say(b"SSH-2.0-OpenSSH_9.6\r\n"), failed("protocol")),
    "TLS where plain HTTP is spoken": Evil(say(bytes.fromhex("15030100020250")), failed("protocol")),
    "a negative length": Evil(say(head(200, "content-length: -1")), failed("protocol")),
    "two lengths": Evil(say(head(200, "content-length: 1", "content-length: 2") + b"xx"), failed("protocol")),
    "a length and chunks": Evil(say(head(200, "content-length: 5", CHUNKED) + b"0\r\n\r\n"), failed("protocol")),
    "a length that is no number": Evil(say(head(200, "content-length: ten")), failed("protocol")),
    "a length beyond all numbers": Evil(say(head(200, "content-length: " + "9" * 40)), failed("protocol")),
    "a body longer than announced": Evil(say(head(200, "content-length: 1") + b"x" * 9_999), delivered()),
    "a second answer nobody asked for": Evil(say(empty(500) + empty(200)), told(500)),
    "a chunk of no size": Evil(say(head(200, CHUNKED), b"zz\r\n"), delivered()),
    "a chunk of no size in one packet": Evil(say(head(200, CHUNKED) + b"zz\r\n"), delivered()),
    "a failure with a chunk of no size in one packet": Evil(say(head(500, CHUNKED) + b"zz\r\n"), told(500)),
    "a chunk beyond all numbers": Evil(say(head(200, CHUNKED), b"f" * 40 + b"\r\n"), delivered()),
    "a header without a colon": Evil(say(b"HTTP/1.1 200 Said\r\nnonsense\r\n\r\n"), failed("protocol")),
    "a zero byte in a header": Evil(say(head(200, "x: a\x00b")), failed("protocol")),
    "bytes of no alphabet": Evil(say(empty(500, "x: \xff\xfe", "location: \xff")), told(500)),
    "a body that is not what it is said to be": Evil(
        say(head(500, "content-encoding: gzip", "content-length: 7") + b"no gzip"), told(500)
    ),
    "cookies of any shape": Evil(say(empty(500, "set-cookie: =;;;=\xff", "set-cookie: a=b; expires=x")), told(500)),
}

_LINE = b"x" * 65_536
# Sixteen members of 16 MiB each: 256 MiB for whoever unpacks it, 256 KiB on the wire.
_BOMB = gzip.compress(bytes(16 << 20)) * 16
FLOODS = {
    "a status line without end": Evil(flood(b"HTTP/1.1 200 ", _LINE), failed("protocol")),
    "a header without end": Evil(flood(b"HTTP/1.1 200 Said\r\nx: ", _LINE), failed("protocol")),
    "a header name without end": Evil(flood(b"HTTP/1.1 200 Said\r\n", _LINE), failed("protocol")),
    "200,000 headers": Evil(
        say(head(200, *(f"x-{n}: {'y' * 100}" for n in range(200_000)), "content-length: 0")), failed("protocol")
    ),
    "headers without end": Evil(flood(b"HTTP/1.1 200 Said\r\n", b"x: y\r\n" * 10_000), failed("protocol")),
    "continue without end": Evil(flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000), failed("protocol")),
    "early hints without end": Evil(
        flood(b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 1_000), failed("protocol")
    ),
    "a body without end": Evil(flood(head(200), _LINE), delivered()),
    "a long announced body": Evil(flood(head(500, f"content-length: {1 << 40}"), _LINE), told(500)),
    "chunks without end": Evil(flood(head(200, CHUNKED), b"10000\r\n" + _LINE + b"\r\n"), delivered()),
    "tiny chunks without end": Evil(flood(head(200, CHUNKED), b"1\r\nx\r\n" * 10_000), delivered()),
    "a chunk extension without end": Evil(flood(head(200, CHUNKED) + b"1;", _LINE), delivered()),
    "trailers without end": Evil(flood(head(500, CHUNKED) + b"0\r\n", b"x: y\r\n" * 10_000), told(500)),
    "a trailer line without end": Evil(flood(head(500, CHUNKED) + b"0\r\nx: ", _LINE), told(500)),
    "answers without end": Evil(flood(b"", empty(500) * 1_000), told(500)),
    "a gzip bomb": Evil(say(head(200, "content-encoding: gzip", f"content-length: {len(_BOMB)}") + _BOMB), delivered()),
    "a gzip bomb in chunks": Evil(
        say(head(200, "content-encoding: gzip", CHUNKED) + b"%x\r\n" % len(_BOMB) + _BOMB + b"\r\n0\r\n\r\n"),
        delivered(),
    ),
}


def redirects(sink: str) -> dict[str, Evil]:
    """Answers that point to a cloud's metadata, to the sink and to themselves; nobody may go there."""
    return {
        f"{status} to {target}": Evil(say(empty(status, f"location: {target}")), told(status))
        for status in (301, 302, 303, 307, 308)
        for target in ("http://169.254.169.254/latest/meta-data/", sink, "/")
    } | {
        "a refresh to the sink": Evil(say(empty(500, f"refresh: 0; url={sink}")), told(500)),
        "a success elsewhere": Evil(say(empty(201, f"location: {sink}", f"content-location: {sink}")), delivered(201)),
        "an alternative service": Evil(say(empty(500, f'alt-svc: h2="{sink}"')), told(500)),
    }


_OLD_SERVER_HELLO = bytes.fromhex("160301002a020000260301") + bytes(32) + bytes.fromhex("00002f00")


def tls(folder: Path) -> tuple[Path, dict[str, Evil]]:
    """Receivers on https, and the file of the authority that is trusted."""
    authority, answer = Authority(folder), say(empty(200))

    def shows(context: ssl.SSLContext, outcome: Outcome, talk: Talk = answer) -> Evil:
        return Evil(talk, outcome, context, "https")

    def speaks(talk: Talk, error: str) -> Evil:
        return Evil(talk, failed(error), None, "https")

    refused = failed("tls")
    return authority.file, {
        "a certificate in order": shows(authority.serves(), delivered()),
        "a certificate for another name": shows(authority.serves("elsewhere.example"), refused),
        "a certificate for another address": shows(authority.serves("127.0.0.2"), refused),
        "a certificate of its own making": shows(self_signed(folder), refused),
        "a certificate of an unknown authority": shows(Authority.unknown(folder).serves(), refused),
        "a certificate that has expired": shows(authority.serves(days=(-9, -1)), refused),
        "a certificate of tomorrow": shows(authority.serves(days=(1, 9)), refused),
        "a body without end over TLS": shows(authority.serves(), told(500), flood(head(500), _LINE)),
        "a success over TLS, then a reset": shows(authority.serves(), delivered(), say_and_reset(head(200), b"x")),
        "a reset over TLS": shows(authority.serves(), failed("reset"), say_and_reset()),
        "silence over TLS": shows(authority.serves(), failed("timeout"), say_and_hold()),
        "plain HTTP on the https port": speaks(say_to_anything(empty(400)), "tls"),
        "TLS 1.0": speaks(say_to_anything(_OLD_SERVER_HELLO), "tls"),
        "a handshake that stalls": speaks(ignore, "timeout"),
        "a handshake that stalls in a record": speaks(say_to_anything(_OLD_SERVER_HELLO[:9]), "timeout"),
        "a handshake that is closed": speaks(close_at_once, "connect"),
    }
