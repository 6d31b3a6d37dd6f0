"""The events of the feed: what changed, told once, in the order of commits within each account.

A body is a JSON object in the API's spelling. It is serialised in the transaction that makes the change and never
changes. Refused calls change nothing and are no events.
"""

from collections.abc import Mapping
from enum import StrEnum

from handoff.domain.encoding import as_json
from handoff.domain.fact import fact
from handoff.domain.model import Session, SessionState, Transfer


class EventKind(StrEnum):
    """What happened."""

    SESSION_OPENED = "session.opened"
    SESSION_TRANSFERRED = "session.transferred"
    SESSION_RELEASED = "session.released"
    SESSION_CLOSED = "session.closed"
    AGENT_CREATED = "agent.created"
    AGENT_UPDATED = "agent.updated"
    AGENT_STATUS = "agent.status"
    AGENT_DELETED = "agent.deleted"


@fact
class Event:
    """One change at `at` (epoch milliseconds). Its position in the feed is given by the store.

    `stream_id` is that of a session's event; an agent's has none. `agent_id` is the agent concerned: who has the
    session now, or the agent who changed. `previous_agent_id` is who had the session before.
    """

    account_id: str
    kind: EventKind
    at: int
    org_id: str
    stream_id: str | None
    agent_id: str | None
    previous_agent_id: str | None
    body: bytes


_KIND_OF_STATE = {
    SessionState.AGENT: EventKind.SESSION_TRANSFERRED,
    SessionState.QUEUE: EventKind.SESSION_TRANSFERRED,
    SessionState.BOT: EventKind.SESSION_RELEASED,
    SessionState.CLOSED: EventKind.SESSION_CLOSED,
}
_HOLDER_FIELD = {SessionState.AGENT: "agentId", SessionState.QUEUE: "queueId"}
_PREVIOUS_FIELD = {SessionState.AGENT: "previousAgentId", SessionState.QUEUE: "previousQueueId"}


def session_opened(session: Session, *, app_id: str, at: int) -> Event:
    """The session is known from now on."""
    return _session_event(EventKind.SESSION_OPENED, session, None, {}, app_id=app_id, at=at)


def session_moved(before: Session, after: Session, transfer: Transfer) -> Event:
    """The session changed hands, went back to the bot or was closed, by this recorded transfer."""
    members = {"transferId": transfer.transfer_id}
    field = _PREVIOUS_FIELD.get(before.state)
    if field is not None and before.holder_id is not None:
        members[field] = before.holder_id
    kind = _KIND_OF_STATE[after.state]
    return _session_event(
        kind, after, transfer.previous_agent_id, members, app_id=transfer.app_id, at=transfer.completed_at
    )


def agent_changed(
    kind: EventKind, *, account_id: str, org_id: str, agent_id: str, at: int, members: Mapping[str, object]
) -> Event:
    """The agent came, changed or went; `members` are told besides its id."""
    return Event(
        account_id=account_id,
        kind=kind,
        at=at,
        org_id=org_id,
        stream_id=None,
        agent_id=agent_id,
        previous_agent_id=None,
        body=as_json({"agentId": agent_id, "orgId": org_id, **members}),
    )


def _session_event(
    kind: EventKind,
    session: Session,
    previous_agent_id: str | None,
    members: Mapping[str, object],
    *,
    app_id: str,
    at: int,
) -> Event:
    field = _HOLDER_FIELD.get(session.state)
    holder = {field: session.holder_id} if field else {}
    body = {
        "sessionId": session.session_id,
        "conversationId": session.conversation_id,
        "streamId": session.stream_id,
        "orgId": session.org_id,
        "state": session.state.value,
        **holder,
        "version": session.version,
        **members,
        "appId": app_id,
    }
    return Event(
        account_id=session.account_id,
        kind=kind,
        at=at,
        org_id=session.org_id,
        stream_id=session.stream_id,
        agent_id=session.holder_id if session.state is SessionState.AGENT else None,
        previous_agent_id=previous_agent_id,
        body=as_json(body),
    )
