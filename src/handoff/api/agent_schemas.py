"""What callers say of agents, in the vendor's spelling. What means nothing here is kept as it was sent."""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from handoff.api.kept_json import KeptBody
from handoff.api.schemas import Id, IsNumber, any_of
from handoff.domain.model import AgentStatus
from handoff.service.agents import CREATED_BY, MAX_QUEUES, MAX_SKILLS, MAX_SLOTS, MAX_STATUS_S, AgentFields

_MOST_NAMED: Final = 200
# Members of an agent's object that are never taken from a caller: they follow from what is stored.
_OURS: Final = frozenset(
    {
        "fullName",
        "lFullName",
        "name",
        "maxMessagingChatSupport",
        "maxDigitalConvoLimit",
        "onlineStatus",
        "onlineStatusType",
        "lastOnlineAt",
        "createdAt",
        "updatedAt",
        CREATED_BY,
        "activeSessions",
        "statusExpiresAt",
    }
)


def _require_email(text: str) -> str:
    name, at, host = text.partition("@")
    if text and (not (name and at and host) or "@" in host or any(char.isspace() for char in text)):
        raise ValueError("must be an address like jane@example.com")
    return text


def _require_no_space(text: str) -> str:
    if any(char.isspace() for char in text):
        raise ValueError("any characters but white space")
    return text


# The two checks above for the OpenAPI document, in the one spelling of white space that is the same everywhere.
_NO_SPACE: Final = r"[^@\s\x1c-\x1f\x85]"
Name = Annotated[str, StringConstraints(max_length=255)]
EmailId = Annotated[
    str,
    StringConstraints(max_length=320),
    AfterValidator(_require_email),
    Field(json_schema_extra={"pattern": f"^({_NO_SPACE}+@{_NO_SPACE}+)?$"}),
]
CustomId = Annotated[
    str,
    StringConstraints(max_length=255),
    AfterValidator(_require_no_space),
    Field(json_schema_extra={"pattern": r"^[^\s\x1c-\x1f\x85]*$"}),
]
Slots = Annotated[int, Field(ge=0, le=MAX_SLOTS), IsNumber]
NamedIds = Annotated[list[Id], Field(max_length=_MOST_NAMED)]


class QueueOfAgent(BaseModel):
    """A queue that the agent belongs to. Further members are ignored."""

    id: Id
    is_preferred: StrictBool = Field(False, alias="isPreferredAgent")


class SkillOfAgent(BaseModel):
    """A skill that the agent has, named by one of the ids; kept as it was sent."""

    model_config = ConfigDict(extra="allow", json_schema_extra=any_of("skillId", "id"))

    skill_id: Id | None = Field(None, alias="skillId")
    id: Id | None = None

    @model_validator(mode="after")
    def _has_an_id(self) -> Self:
        if self.skill_id is None and self.id is None:
            raise ValueError("skillId: required")
        return self

    def as_sent(self) -> dict[str, Any]:
        """The entry, with its skillId."""
        return {**self.model_dump(by_alias=True, exclude_unset=True), "skillId": self.skill_id or self.id}


class _AgentBody(KeptBody):
    model_config = ConfigDict(extra="allow")

    agent_id: Id | None = Field(None, alias="id", description="Extension: an id of the caller's own.")
    user_id: Id | None = Field(None, alias="userId", description="Extension: an id of the caller's own.")
    account_id: Id | None = Field(None, alias="accountId", description="Must be the token's.")
    org_id: Id | None = Field(None, alias="orgId", description="Must be the stream's.")
    custom_id: CustomId | None = Field(None, alias="customId", description="Any characters but white space.")
    max_chats: Slots | None = Field(
        None, alias="maxChatSupport", description="Slots: how many sessions the agent can hold; 0: none.", examples=[5]
    )
    max_digital_chats: Slots | None = Field(
        None, alias="maxDigitalChatSupport", description="The same slots under their newer name."
    )
    skills: Annotated[list[Id | SkillOfAgent], Field(max_length=MAX_SKILLS)] | None = None
    queues: Annotated[list[Id | QueueOfAgent], Field(max_length=MAX_QUEUES)] | None = None

    def _fields(self, first_name: str | None, last_name: str | None, email_id: str | None) -> AgentFields:
        return AgentFields(
            account_id=self.account_id,
            org_id=self.org_id,
            agent_id=self.agent_id,
            user_id=self.user_id,
            first_name=first_name,
            last_name=last_name,
            email_id=email_id,
            custom_id=self.custom_id,
            slots=frozenset(said for said in (self.max_chats, self.max_digital_chats) if said is not None),
            skills=None if self.skills is None else _skills(self.skills),
            queues=None if self.queues is None else _queues(self.queues),
            profile={name: value for name, value in (self.model_extra or {}).items() if name not in _OURS},
        )


class NewAgent(_AgentBody):
    """The documented request. `roleId` and everything else that is documented is kept and given back."""

    email_id: Annotated[EmailId, StringConstraints(min_length=1)] = Field(
        alias="emailId", description="Nobody else of the org may have it.", examples=["john.doe@example.com"]
    )
    first_name: Annotated[Name, StringConstraints(min_length=1)] = Field(alias="firstName", examples=["John"])
    last_name: Name = Field(alias="lastName", examples=["Doe"])

    def fields(self) -> AgentFields:
        """The request as the use case takes it."""
        return self._fields(self.first_name, self.last_name, self.email_id)


class ReplacedAgent(_AgentBody):
    """The documented object, whole or in part.

    What has a meaning here stays as it is where it is left out: the names, emailId, customId, the slots, skills and
    queues. The rest is replaced by what is sent. Ids must be the stored ones. The status is not set here.
    """

    email_id: EmailId | None = Field(None, alias="emailId")
    first_name: Name | None = Field(None, alias="firstName")
    last_name: Name | None = Field(None, alias="lastName")

    def fields(self) -> AgentFields:
        """The request as the use case takes it."""
        return self._fields(self.first_name, self.last_name, self.email_id)


class StatusChange(BaseModel):
    """Whether the agent is there."""

    status: AgentStatus
    expires_in_s: Annotated[int | None, Field(ge=1, le=MAX_STATUS_S), IsNumber] = Field(
        None,
        alias="expiresInSeconds",
        description="After so many seconds the agent reads OFFLINE, unless this call is made again before; "
        "without it, never.",
    )


class AvailabilityQuery(BaseModel):
    """Whom to look for: those whom every list that is given, and not empty, names in one way or another."""

    skill_ids: NamedIds = Field([], alias="skillIds", description="Those with any of these skills.")
    queue_ids: NamedIds = Field([], alias="queueIds", description="Those who belong to any of these queues.")
    agent_ids: NamedIds = Field([], alias="agentIds", description="These, by their `a-…` ids or their `u-…` ids.")


def _skills(entries: Iterable[str | SkillOfAgent]) -> dict[str, dict[str, Any]]:
    sent = [{"skillId": entry} if isinstance(entry, str) else entry.as_sent() for entry in entries]
    return {entry["skillId"]: entry for entry in sent}


def _queues(entries: Iterable[str | QueueOfAgent]) -> dict[str, bool]:
    return dict((entry, False) if isinstance(entry, str) else (entry.id, entry.is_preferred) for entry in entries)
