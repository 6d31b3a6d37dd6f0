"""The rules of who may get a session, each a question with the answer None or No."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from handoff.domain.model import Agent, AgentStatus, AssignRequest, Queue, Session, SessionState, Target, TargetKind
from handoff.domain.presence import has_free_slot, status_at
from handoff.domain.refusals import Refusal

# Of these the session is not known to the caller, whatever the store has under its id.
OUT_OF_PLACE: Final = frozenset({Refusal.ORG_NOT_FOUND, Refusal.SESSION_NOT_FOUND})
# What another target may help against.
FALLS_BACK: Final = frozenset({Refusal.AGENT_UNAVAILABLE, Refusal.AGENT_AT_CAPACITY})


class Reassign(StrEnum):
    """When a session may be taken from the agent who has it."""

    EXPECTED = "expected"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class No:
    """A refusal, the sentence that tells it, and whether it names who has the session."""

    refusal: Refusal
    detail: str
    names_holder: bool = False


def place_refusal(request: AssignRequest, session: Session | None) -> No | None:
    """Whether org and session are there and open."""
    if request.org_id != request.stream_org_id:
        return No(
            refusal=Refusal.ORG_NOT_FOUND,
            detail=f"Stream {request.stream_id} does not belong to org {request.org_id}.",
        )
    if session is None or session.stream_id != request.stream_id:
        return No(
            refusal=Refusal.SESSION_NOT_FOUND,
            detail=f"Session {request.session_id} is not known in stream {request.stream_id}.",
        )
    if session.state is SessionState.CLOSED:
        return No(refusal=Refusal.SESSION_CLOSED, detail=f"Session {request.session_id} is closed.")
    return None


def target_refusal(request: AssignRequest, target: Target, found: Agent | Queue | None) -> No | None:
    """Whether the agent or queue is one of the org."""
    if found is not None and found.org_id == request.org_id:
        return None
    is_agent = target.kind is TargetKind.AGENT
    return No(
        refusal=Refusal.AGENT_NOT_FOUND if is_agent else Refusal.QUEUE_NOT_FOUND,
        detail=f"{target.kind.capitalize()} {target.id} is not known in org {request.org_id}.",
    )


def holder_refusal(request: AssignRequest, session: Session | None, reassign: Reassign) -> No | None:
    """Whether the session may leave whoever has it now."""
    if session is None:
        return None
    holder = session.holder_id if session.state is SessionState.AGENT else None
    changed = expectation_refusal(request.expected_agent_id, session)
    if changed is not None:
        return changed
    if holder is None or request.expected_agent_id == holder or reassign is Reassign.ALWAYS:
        return None
    return No(
        refusal=Refusal.SESSION_ALREADY_ASSIGNED,
        detail=f"Session {session.session_id} is with {_holder_phrase(session)}; "
        f"to move it, send expectedAgentId {holder}.",
        names_holder=True,
    )


def expectation_refusal(expected_agent_id: str | None, session: Session) -> No | None:
    """Whether the agent who is expected to have the session, if one is, has it."""
    holder = session.holder_id if session.state is SessionState.AGENT else None
    if expected_agent_id is None or expected_agent_id == holder:
        return None
    return No(
        refusal=Refusal.HOLDER_CHANGED,
        detail=f"Session {session.session_id} is not with agent {expected_agent_id} but with "
        f"{_holder_phrase(session)}.",
        names_holder=True,
    )


def _holder_phrase(session: Session) -> str:
    who = "the bot" if session.holder_id is None else f"{session.state} {session.holder_id}"
    return f"{who} at version {session.version}"


def load_refusal(target: Agent | Queue | None, now_ms: int) -> No | None:
    """Whether the agent is available and has a free slot."""
    if not isinstance(target, Agent):
        return None
    status = status_at(target, now_ms)
    if status is not AgentStatus.AVAILABLE:
        return No(refusal=Refusal.AGENT_UNAVAILABLE, detail=f"Agent {target.agent_id} is {status}.")
    if not has_free_slot(target):
        return No(
            refusal=Refusal.AGENT_AT_CAPACITY,
            detail=f"Agent {target.agent_id} has {target.active_sessions} of {target.max_sessions} slots in use.",
        )
    return None
