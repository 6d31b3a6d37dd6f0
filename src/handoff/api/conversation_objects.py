"""A stored conversation as the object that goes over the wire."""

from typing import Any

from handoff.api.conversation_schemas import (
    STATUS_OF,
    Conversation,
    Holder,
    Participant,
    TransferDetail,
    TransferTarget,
    WaitingQueue,
)
from handoff.api.times import iso_time
from handoff.domain import conversation as facts
from handoff.domain.model import Session, SessionState, TargetKind
from handoff.service.conversations import StoredConversation


def conversation_of(stored: StoredConversation) -> Conversation:
    """The object with all its members."""
    session, life = stored.session, facts.life_of(stored.steps)
    opened_at = stored.opened_at or None
    return Conversation(
        id=session.conversation_id,
        conversation_id=session.conversation_id,
        session_id=session.session_id,
        org_id=session.org_id,
        account_id=session.account_id,
        stream_id=session.stream_id,
        status=STATUS_OF[session.state],
        state=session.state,
        version=session.version,
        holder=_holder(session),
        participants=[_participant(one) for one in life.participants],
        transfer_details=[_detail(one) for one in life.details],
        queues=[_queue(life.queue)] if life.queue else [],
        wait_ms=life.waited_ms,
        source=stored.source,
        language=stored.language,
        **_said(stored),
        start_time=_time(opened_at),
        start_session_time=_time(opened_at),
        created_at=_time(opened_at),
        timestamp_value=opened_at,
        accepted_at=_time(life.accepted_at),
        updated_at=_time(life.moved_at or opened_at),
        end_time=_time(life.ended_at),
    )


def _said(stored: StoredConversation) -> dict[str, Any]:
    """What the opening said that has no meaning here."""
    user_info = stored.profile.get("userInfo") or {}
    phone_number = user_info.get("phoneNumber")
    return {
        "conversation_type": stored.profile.get("conversationType"),
        "user_id": stored.profile.get("userId"),
        "user_info": user_info,
        "phone_number": phone_number if isinstance(phone_number, str) else None,
    }


def _holder(session: Session) -> Holder | None:
    match session.state:
        case SessionState.AGENT:
            return Holder(agent_id=session.holder_id)
        case SessionState.QUEUE:
            return Holder(queue_id=session.holder_id)
        case SessionState.BOT | SessionState.CLOSED:
            return None


def _participant(one: facts.Participant) -> Participant:
    queue = one.queue
    return Participant(
        queue_id=queue.queue_id if queue else None,
        queue_start_time=iso_time(queue.since) if queue else None,
        queue_name=queue.name if queue else None,
        agent_id=one.agent_id,
        name=one.name,
        status="ACTIVE" if one.ended_at is None else "INACTIVE",
        assigned_at=iso_time(one.assigned_at),
        start_time_stamp=iso_time(one.assigned_at),
        end_time_stamp=_time(one.ended_at),
        is_transferred=one.is_from_agent,
        conversation_transferred=one.was_transferred,
        ended_chat=one.ended_chat,
    )


def _detail(one: facts.TransferDetail) -> TransferDetail:
    is_to_agent = one.kind is TargetKind.AGENT
    target = TransferTarget(
        id=one.to_id, name=one.to_name, type="AGENT" if is_to_agent else "QUEUE", email_id=one.to_email_id
    )
    return TransferDetail(
        from_agent=one.from_agent,
        from_queue=one.from_queue,
        transferred_type="OTHERS" if is_to_agent else "QUEUE",
        transferred_to=[target],
        transferred_at=iso_time(one.at),
        transfer_id=one.transfer_id,
    )


def _queue(stay: facts.QueueStay) -> WaitingQueue:
    return WaitingQueue(id=stay.queue_id, name=stay.name, start_time=iso_time(stay.since))


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso_time(at_ms)
