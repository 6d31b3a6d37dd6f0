"""What follows an attempt to deliver a callback: a pure function of the attempt and of chance.

The schedule and its bounds are this project's own (`docs/architecture.md`, Delivery).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_SECOND: Final = 1_000
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE

# Delay after the nth failed attempt, in milliseconds: quick while a receiver restarts, then patient for three days.
SCHEDULE_MS: Final = (
    5 * _SECOND,
    30 * _SECOND,
    2 * _MINUTE,
    10 * _MINUTE,
    30 * _MINUTE,
    1 * _HOUR,
    3 * _HOUR,
    6 * _HOUR,
    12 * _HOUR,
    24 * _HOUR,
    24 * _HOUR,
)
MAX_ATTEMPTS: Final = len(SCHEDULE_MS) + 1
LIFETIME_MS: Final = 72 * _HOUR
MAX_RETRY_AFTER_MS: Final = 24 * _HOUR
# Jitter only adds, so that no receiver is asked earlier than the schedule says.
_JITTER_SHARE: Final = 0.25
_MAX_JITTER_MS: Final = 15 * _MINUTE
# An address that policy refuses may be a name server's passing mistake, but is rarely one.
_MAX_ADDRESS_REFUSALS: Final = 3
# Claims that end without an attempt mean that the message itself kills its dispatcher.
MAX_CLAIMS_WITHOUT_ATTEMPT: Final = 5

_GONE = 410


class ErrorClass(StrEnum):
    """Why an attempt got no answer."""

    DNS = "dns"
    CONNECT = "connect"
    RESET = "reset"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    ADDRESS = "address"


class DeadReason(StrEnum):
    """Why a message will not be tried again."""

    GONE = "gone"
    ABORTED = "aborted"
    ADDRESS = "address"
    EXHAUSTED = "exhausted"
    EXPIRED = "expired"
    POISON = "poison"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP request and how it ended: with a `status`, or with an `error`.

    `started_at` is epoch milliseconds, `duration_ms` milliseconds. `retry_after_ms` is what the receiver asked
    for, counted from the end of the attempt. `excerpt` is the first bytes of the answer, for operators.
    """

    started_at: int
    duration_ms: int
    status: int | None = None
    error: ErrorClass | None = None
    detail: str | None = None
    retry_after_ms: int | None = None
    is_abort: bool = False
    remote_address: str | None = None
    excerpt: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the receiver said 2xx."""
        return self.status is not None and 200 <= self.status <= 299  # noqa: PLR2004 (the class of success)


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has the message."""


@dataclass(frozen=True, slots=True)
class Again:
    """Try again at `due_at`, epoch milliseconds."""

    due_at: int


@dataclass(frozen=True, slots=True)
class Dead:
    """No more attempts."""

    reason: DeadReason


Verdict = Delivered | Again | Dead


def judge(attempt: Attempt, *, number: int, expires_at: int, chance: float) -> Verdict:
    """The verdict on the `number`th attempt (from 1). `chance` is uniform in [0, 1)."""
    if attempt.succeeded:
        return Delivered()
    reason = _final_reason(attempt, number)
    if reason is not None:
        return Dead(reason)
    ended_at = attempt.started_at + attempt.duration_ms
    delay = SCHEDULE_MS[number - 1]
    delay += int(min(delay * _JITTER_SHARE, _MAX_JITTER_MS) * chance)
    due_at = ended_at + max(delay, min(attempt.retry_after_ms or 0, MAX_RETRY_AFTER_MS))
    return Again(due_at) if due_at < expires_at else Dead(DeadReason.EXPIRED)


def _final_reason(attempt: Attempt, number: int) -> DeadReason | None:
    if attempt.status == _GONE:
        return DeadReason.GONE
    if attempt.is_abort:
        return DeadReason.ABORTED
    if attempt.error is ErrorClass.ADDRESS and number >= _MAX_ADDRESS_REFUSALS:
        return DeadReason.ADDRESS
    if number >= MAX_ATTEMPTS:
        return DeadReason.EXHAUSTED
    return None
