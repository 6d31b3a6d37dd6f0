"""The machine's clock, ids and chance: the only module that asks for them. And the ports that it gives out."""

import base64
import errno
import random
import secrets
import socket
import sys
import time
from typing import Final

import uuid_utils

if sys.platform != "win32":
    import resource

from handoff.domain.credentials import FRESH_SECRET_BYTES

_BACKLOG: Final = 2_048


class SystemClock:
    """The machine's wall clock."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return time.time_ns() // 1_000_000


class SystemIds:
    """Fresh ids (UUIDv7, RFC 9562)."""

    def fresh(self) -> str:
        """A UUIDv7 as text: unique, and growing with time."""
        return str(uuid_utils.uuid7())


class SystemChance:
    """Chance for jitter; nothing secret hangs on it."""

    def share(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # nosec B311 # noqa: S311 (jitter)


def fresh_secret_bytes(size: int) -> bytes:
    """`size` bytes from the system's cryptographic source."""
    return secrets.token_bytes(size)


def fresh_secret() -> str:
    """A secret for an app, long enough for every HMAC: 64 characters of base64."""
    return base64.b64encode(fresh_secret_bytes(FRESH_SECRET_BYTES)).decode()


class CannotListen(Exception):  # noqa: N818 (a state of the world)
    """A port that cannot be had. The message is a sentence that names the setting to change."""


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A socket that listens; a port that cannot be had is told with the setting to change. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sentence = f"port {port} on {host} is taken: set {setting} to another, or end what listens there"
        else:
            sentence = f"cannot listen on {host} port {port}: {error.strerror or error}"
        raise CannotListen(sentence) from None


def allow_files(wanted: int) -> int:
    """Let this process have so many files open, sockets among them, if the machine lets it; how many it may have."""
    if sys.platform == "win32":
        return wanted  # there is no such limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
