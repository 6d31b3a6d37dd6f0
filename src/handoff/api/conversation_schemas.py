"""Conversations on the wire, in the vendor's documented shapes.

Every documented member is there. Those of which nothing can be known here have the value that says so.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from handoff.api.kept_json import require_tellable
from handoff.api.schemas import Id
from handoff.domain.model import SessionState

_SESSION = "6538f8a3c9cf425ee5cfxxxx"
_AGENT = "a-8cd2673-0cb7-462d-9453-0ee60e52xxxx"
_NOT_KEPT = "Documented; nothing is known of it here."
# Enough for a contact's data many times over, little enough for pages of conversations.
_MOST_USER_INFO_BYTES: Final = 8_192


def _require_small(user_info: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if user_info is not None:
        require_tellable(user_info)
        if len(json.dumps(user_info, ensure_ascii=False).encode()) > _MOST_USER_INFO_BYTES:
            raise ValueError(f"at most {_MOST_USER_INFO_BYTES} bytes of JSON")
    return user_info


UserInfo = Annotated[dict[str, Any] | None, AfterValidator(_require_small)]


class ConversationStatus(StrEnum):
    """The documented words. Here a conversation is OPEN (bot or queue), ACTIVE (agent) or CLOSED, and never another."""

    ACTIVE = "ACTIVE"
    CLOSED = "CLOSED"
    IDLE = "IDLE"
    OPEN = "OPEN"
    OVERDUE = "OVERDUE"
    TERMINATED = "TERMINATED"


STATUS_OF: Final[Mapping[SessionState, ConversationStatus]] = {
    SessionState.BOT: ConversationStatus.OPEN,
    SessionState.QUEUE: ConversationStatus.OPEN,
    SessionState.AGENT: ConversationStatus.ACTIVE,
    SessionState.CLOSED: ConversationStatus.CLOSED,
}


class OpenSession(BaseModel):
    """A bot session to be known from now on."""

    session_id: Id = Field(alias="botSessionId", examples=[_SESSION])
    org_id: Id | None = Field(None, alias="orgId", description="If sent, the org of the stream.")
    source: Id | None = Field(None, description="The channel.", examples=["rtm"])
    language: Id | None = Field(None, examples=["en"])
    user_id: Id | None = Field(None, alias="userId", description="Who talks to the bot.")
    conversation_type: Id | None = Field(None, alias="conversationType", examples=["livechat"])
    user_info: UserInfo = Field(
        None, alias="userInfo", description=f"Kept as it is; at most {_MOST_USER_INFO_BYTES} bytes of JSON."
    )

    def profile(self) -> dict[str, Any] | None:
        """What is kept as it is, if anything."""
        kept = self.model_dump(by_alias=True, exclude_none=True, include={"user_id", "conversation_type", "user_info"})
        return kept or None


class MoveSession(BaseModel):
    """A condition, if there is one."""

    expected_agent_id: Id | None = Field(
        None, alias="expectedAgentId", description="Only if this agent has the session now.", examples=[_AGENT]
    )


class _Wire(BaseModel):
    model_config = ConfigDict(populate_by_name=True)


class Participant(_Wire):
    """An agent's time with the conversation. Whoever gets it twice is there twice."""

    queue_id: str | None = Field(alias="queueId", description="Where it waited for this agent.")
    queue_start_time: str | None = Field(alias="queueStartTime")
    queue_name: str | None = Field(alias="queueName")
    agent_id: str = Field(alias="agentId", description="The agent's userId; of one that is deleted, the id (a-…).")
    name: str
    status: Literal["ACTIVE", "INACTIVE"] = Field(description="ACTIVE: the agent has it now.")
    assigned_at: str = Field(alias="assignedAt")
    start_time_stamp: str = Field(
        alias="startTimeStamp", description="That of assignedAt: an assignment needs no acceptance here."
    )
    end_time_stamp: str | None = Field(alias="endTimeStamp")
    is_transferred: bool = Field(alias="isTransferred", description="Whether it came from another agent.")
    conversation_transferred: bool = Field(
        alias="conversationTransferred", description="Whether it went on, to an agent, a queue or the bot."
    )
    ended_chat: bool = Field(alias="endedChat", description="Whether it was closed while this agent had it.")
    reason: str | None = Field(None, description=_NOT_KEPT)
    on_interrupt: bool = Field(default=False, alias="onInterrupt", description=_NOT_KEPT)


class TransferTarget(_Wire):
    """The agent, by the userId, or the queue."""

    id: str
    name: str
    type: Literal["AGENT", "QUEUE"]
    email_id: str = Field(alias="emailId")


class TransferDetail(_Wire):
    """A transfer that was won. Without fromAgent and fromQueue it came from the bot."""

    from_agent: str | None = Field(alias="fromAgent")
    from_queue: str | None = Field(alias="fromQueue")
    transferred_type: Literal["QUEUE", "OTHERS"] = Field(alias="transferredType", description="OTHERS: to an agent.")
    transferred_to: list[TransferTarget] = Field(alias="transferredTo")
    transferred_at: str = Field(alias="transferredAt")
    transferred_by: str | None = Field(None, alias="transferredBy", description=_NOT_KEPT)
    transferred_by_name: str | None = Field(None, alias="transferredByAgentName", description=_NOT_KEPT)
    priority: str | None = Field(None, description=_NOT_KEPT)
    is_manager: bool = Field(default=False, alias="isManager", description=_NOT_KEPT)
    system_transfer: bool = Field(default=False, alias="systemTransfer", description=_NOT_KEPT)
    system_transfer_reason: str | None = Field(None, alias="systemTransferReason", description=_NOT_KEPT)
    transfer_id: Id = Field(alias="transferId", description="Extension: its id, under which GET /transfers has it.")


class WaitingQueue(_Wire):
    """The queue where the conversation waits now."""

    id: str
    name: str
    type: Literal["ASSIGNED"] = "ASSIGNED"
    status: Literal["ACTIVE"] = "ACTIVE"
    start_time: str = Field(alias="startTime")
    is_timeout_expired: bool = Field(default=False, alias="isPreferredAgentTimeoutExpired", description=_NOT_KEPT)


class Dispositions(_Wire):
    """Documented; nothing is known of them here."""

    meta_status: str | None = Field(None, alias="metaStatus")
    status: str | None = None
    remarks: str | None = None
    disposition_sets: list[Any] | None = Field(None, alias="dispositionSets")


class Holder(_Wire):
    """Who has the session: one of the two."""

    agent_id: Id | None = Field(None, alias="agentId", description="The agent's id (a-…).")
    queue_id: Id | None = Field(None, alias="queueId")


class Conversation(_Wire):
    """A session as the vendor's documents show it. `state`, `version` and `holder` are extensions."""

    id: str = Field(alias="_id")
    conversation_id: str = Field(alias="conversationId", description="The same.")
    session_id: Id = Field(alias="botSessionId")
    org_id: Id = Field(alias="orgId")
    account_id: Id = Field(alias="accountId")
    stream_id: Id = Field(alias="botId", description="The stream.")
    status: ConversationStatus
    state: SessionState = Field(description="Extension: who has it.")
    version: int = Field(description="Extension: how often it changed hands or state.")
    holder: Holder | None = Field(description="Extension: the agent or queue that has it.")
    participants: list[Participant]
    transfer_details: list[TransferDetail] = Field(alias="transferDetails")
    queues: list[WaitingQueue]
    wait_ms: int = Field(alias="waitTime", description="Milliseconds in queues, of stays that are over.")
    source: str | None
    language: str | None
    conversation_type: str | None = Field(alias="conversationType")
    user_id: str | None = Field(alias="userId")
    user_info: dict[str, Any] = Field(alias="userInfo")
    phone_number: str | None = Field(alias="phoneNumber", description="That of userInfo.")
    start_time: str | None = Field(alias="startTime", description="When the session was opened, if that is known.")
    start_session_time: str | None = Field(alias="startSessionTime", description="The same.")
    created_at: str | None = Field(alias="createdAt", description="The same.")
    timestamp_value: int | None = Field(alias="timestampValue", description="The same, epoch ms.")
    accepted_at: str | None = Field(alias="acceptedAt", description="When an agent first had it.")
    updated_at: str | None = Field(alias="updatedAt", description="When it last changed hands or state.")
    end_time: str | None = Field(alias="endTime", description="When it was closed.")
    document_version: int = Field(default=0, alias="__v", description=_NOT_KEPT)
    is_assist_enabled: bool = Field(default=False, alias="isProactiveAgentAssistEnabled", description=_NOT_KEPT)
    callback_opted: bool = Field(default=False, alias="callbackOpted", description=_NOT_KEPT)
    contact_flow: list[Any] = Field([], alias="contactFlow", description=_NOT_KEPT)
    survey_required: str = Field("NO", alias="surveyRequired", description=_NOT_KEPT)
    is_developer: bool = Field(default=False, alias="isDeveloper", description=_NOT_KEPT)
    key_intent_name: str | None = Field(None, alias="keyIntentName", description=_NOT_KEPT)
    key_intent_input: str | None = Field(None, alias="keyIntentUserInput", description=_NOT_KEPT)
    priority: int | None = Field(None, description=_NOT_KEPT)
    skills: list[Any] = Field([], description=_NOT_KEPT)
    notes: list[Any] = Field([], description=_NOT_KEPT)
    summary: list[Any] = Field([], description=_NOT_KEPT)
    dispositions: Dispositions = Field(default_factory=Dispositions)
    form_data: list[Any] = Field([], alias="formData", description=_NOT_KEPT)
    sentiment_tone: dict[str, Any] | None = Field(None, alias="sentimentTone", description=_NOT_KEPT)
    desktop_meta: dict[str, Any] | None = Field(None, alias="agentDesktopMeta", description=_NOT_KEPT)
    bot_sip_uri: str | None = Field(None, alias="botSIPURI", description=_NOT_KEPT)
    call_id_data: str | None = Field(None, alias="CallIDData", description=_NOT_KEPT)


class _InPart:
    """For a schema: an object of which members may be missing."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        whole = handler.resolve_ref_schema(handler(core))
        return {name: value for name, value in whole.items() if name != "required"}


class ConversationResults(BaseModel):
    """A page of conversations, the newest first."""

    results: list[Annotated[Conversation, _InPart()]]
    next_cursor: str | None = Field(
        serialization_alias="nextCursor",
        description="Extension: send it as `cursor` for the next page, which may be there even after a short or empty "
        "one; null: this was the last.",
    )
