"""Opening a session, giving it back to the bot, ending it: pure functions of the call and of what the store holds."""

from dataclasses import dataclass, replace

from handoff.domain import ids, message, rules
from handoff.domain.model import (
    Agent,
    MoveRequest,
    OpenRequest,
    Session,
    SessionState,
    Target,
    TargetKind,
    Transfer,
)
from handoff.domain.refusals import Refusal
from handoff.domain.rules import No


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The session that the call asks for. `is_new` tells whether it is to be written, or was there before."""

    session: Session
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The session changed state. `transfer` is the row to append, `agents` those whose load changed."""

    session: Session
    transfer: Transfer
    agents: tuple[Agent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmoved:
    """The session is so already; nothing changes."""

    session: Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The call is refused, which is not recorded. `session` is what it was refused for, if it is known."""

    no: No
    session: Session | None


def open_session(request: OpenRequest, found: Session | None, *, fresh_id: str) -> Opened | Denied:
    """Have the session be known; `fresh_id` (UUIDv7) becomes its conversation's id where it is new."""
    if found is None:
        new = Session(
            account_id=request.account_id,
            session_id=request.session_id,
            conversation_id=ids.conversation_id(fresh_id),
            stream_id=request.stream_id,
            org_id=request.org_id,
            state=SessionState.BOT,
            holder_id=None,
            version=0,
            transfer_id=None,
        )
        return Opened(session=new, is_new=True)
    if found.stream_id != request.stream_id:
        detail = f"Session {request.session_id} is known in another stream of the account: use another botSessionId."
        return Denied(no=No(refusal=Refusal.SESSION_ID_TAKEN, detail=detail), session=None)
    # A commit whose confirmation was lost is found again by its own id.
    return Opened(session=found, is_new=found.conversation_id == ids.conversation_id(fresh_id))


def move_session(
    request: MoveRequest, session: Session | None, holder: Agent | None, *, now_ms: int, fresh_id: str
) -> Move | Unmoved | Denied:
    """Give the session back to the bot, or end it, at `now_ms` (epoch ms); `holder` is the agent who has it."""
    if session is None or session.stream_id != request.stream_id:
        detail = f"Session {request.session_id} is not known in stream {request.stream_id}."
        return Denied(no=No(refusal=Refusal.SESSION_NOT_FOUND, detail=detail), session=None)
    if session.state.value == request.kind.value:
        return Unmoved(session=session)
    if session.state is SessionState.CLOSED:
        detail = f"Session {request.session_id} is closed."
        return Denied(no=No(refusal=Refusal.SESSION_CLOSED, detail=detail), session=session)
    no = rules.expectation_refusal(request.expected_agent_id, session)
    if no is not None:
        return Denied(no=no, session=session)
    return _move(request, session, holder, now_ms, ids.transfer_id(fresh_id))


def _move(request: MoveRequest, before: Session, holder: Agent | None, now_ms: int, transfer_id: str) -> Move:
    after = replace(
        before,
        state=SessionState(request.kind.value),
        holder_id=None,
        version=before.version + 1,
        transfer_id=transfer_id if request.kind is TargetKind.CLOSED else None,
    )
    transfer = Transfer(
        account_id=request.account_id,
        transfer_id=transfer_id,
        app_id=request.app_id,
        stream_id=request.stream_id,
        org_id=before.org_id,
        session_id=request.session_id,
        target=Target(request.kind, ""),
        expected_agent_id=request.expected_agent_id,
        previous_state=before.state,
        previous_holder_id=before.holder_id,
        status=200,
        code=None,
        version=after.version,
        completed_at=now_ms,
        callback_url="",
        request_id=request.request_id,
        body=message.moved(request.session_id, request.kind, now_ms),
    )
    freed = () if holder is None else (replace(holder, active_sessions=holder.active_sessions - 1),)
    return Move(session=after, transfer=transfer, agents=freed)
