"""The world's clock, ids and chance: the only module that asks for them."""

import random
import secrets
import time

import uuid_utils


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
        return random.random()  # noqa: S311 (jitter)


def fresh_secret_bytes(size: int) -> bytes:
    """`size` bytes from the system's cryptographic source."""
    return secrets.token_bytes(size)
