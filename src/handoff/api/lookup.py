"""Looking rows up for a request, in a reader's thread."""

from collections.abc import Callable
from typing import Final, TypeVar

from handoff.api.problems import Refuse
from handoff.api.resource import Caller
from handoff.domain.refusals import Refusal
from handoff.service.conversations import ConversationNotFound, NotFound, SessionNotFound
from handoff.service.history import TransferNotFound

Found = TypeVar("Found")

_REFUSALS: Final[dict[type[NotFound], Refusal]] = {
    ConversationNotFound: Refusal.CONVERSATION_NOT_FOUND,
    SessionNotFound: Refusal.SESSION_NOT_FOUND,
    TransferNotFound: Refusal.TRANSFER_NOT_FOUND,
}


async def looked_up(caller: Caller, work: Callable[[], Found]) -> Found:
    """What the work finds. Raises Refuse for what is not there, and StoreError."""
    try:
        return await caller.services.reader.run(work)
    except NotFound as missing:
        raise Refuse(_REFUSALS[type(missing)], missing.sentence) from None
