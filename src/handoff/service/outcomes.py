"""What is asked of the committer, and what comes of it.

IdempotencyKeyReused    the key belongs to another request
SessionRefused          a session was not opened, released or closed
"""

from dataclasses import dataclass, field

from handoff.domain.ids import transfer_id
from handoff.domain.lifecycle import Opened
from handoff.domain.model import AssignRequest, MoveRequest, OpenRequest, Session
from handoff.domain.refusals import Refusal
from handoff.service.ports import TransferKey

Request = AssignRequest | OpenRequest | MoveRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """What an outcome answers: HTTP status, exact body, session version (if it names one), transfer, code.

    Of a dry run nothing is recorded, so there is no transfer. `is_repeat` tells that it was recorded for an earlier
    call, of which it is the very same answer.
    """

    status: int
    body: bytes
    version: int | None
    transfer_id: str | None
    code: str | None = None
    is_repeat: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Moved:
    """A session that was given back or closed, as it is now; `transfer_id` is None where it was so already."""

    session: Session
    transfer_id: str | None


class IdempotencyKeyReused(Exception):  # noqa: N818 (a refusal)
    """The Idempotency-Key was used for another request before."""


class SessionRefused(Exception):  # noqa: N818 (a refusal)
    """A session was not opened, released or closed: {detail}.

    Nothing is recorded of it. `session` is the one that it was refused for, if that is known.
    """

    def __init__(self, refusal: Refusal, detail: str, session: Session | None) -> None:
        super().__init__(detail)
        self.refusal = refusal
        self.detail = detail
        self.session = session


# What becomes of one request, or the exception to raise for it.
Settled = Answer | Opened | Moved | IdempotencyKeyReused | SessionRefused


@dataclass(frozen=True, slots=True)
class Item:
    """A request and the id (UUIDv7) of what it may make."""

    request: Request
    fresh_id: str

    @property
    def transfer_key(self) -> TransferKey:
        """Where its own transfer is found once that is committed."""
        return (self.request.account_id, transfer_id(self.fresh_id))
