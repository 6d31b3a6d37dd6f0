"""The rows of a directory file, in the vendor's spelling, and the table rows they become and come from."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from handoff.api.kept_json import require_tellable
from handoff.api.keys import is_public_key
from handoff.api.schemas import Id
from handoff.api.sentences import sentence_of
from handoff.domain import ids
from handoff.domain.credentials import HMAC_ALGORITHMS, refuse_secret
from handoff.domain.model import Stream
from handoff.service.apps import KeptSecret, StoredApp
from handoff.service.directory_file import Entry
from handoff.service.importing import RowError


def _tellable(value: Any) -> Any:  # noqa: ANN401 (JSON of any shape)
    require_tellable(value)
    return value


Words = Annotated[str, AfterValidator(_tellable)]
# What the vendor's documents say of a thing and Handoff keeps without a meaning: a JSON object.
Profile = Annotated[dict[str, Any], AfterValidator(_tellable)]


class Stamp(NamedTuple):
    """What a row that is new gets: an id that grows with time (UUIDv7), and when it came (epoch ms)."""

    fresh_id: str
    now_ms: int


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    account_id: Id = Field(alias="accountId")

    def row(self, stamp: Stamp) -> dict[str, Any]:
        """The entry as a row of its table. What the entry leaves open is None; JSON objects are text."""
        del stamp
        return self.model_dump()


class AppEntry(_Entry):
    """An app: who may call, and with which keys.

    Without `secrets` a known one keeps its own, and a new one that needs one is given one.
    """

    app_id: Id = Field(alias="appId")
    name: Words = ""
    secrets: list[str] = []
    public_keys: list[str] = Field([], alias="publicKeys")
    algorithms: list[Literal["HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA"]] = Field(["HS256"], min_length=1)
    scopes: list[str] = []
    streams: Literal["*"] | list[Id] = []
    require_jti: bool = Field(False, alias="requireJti")
    require_exp: bool = Field(False, alias="requireExp")
    is_enabled: bool = Field(True, alias="enabled")

    @model_validator(mode="after")
    def _has_keys_that_will_do(self) -> Self:
        for algorithm in self.algorithms:
            if algorithm in HMAC_ALGORITHMS:
                continue
            if not self.public_keys:
                raise ValueError(f"{algorithm} needs an entry in publicKeys")
            if not any(is_public_key(key, algorithm) for key in self.public_keys):
                raise ValueError(f"none of publicKeys is a public key for {algorithm} in PEM")
        for secret in self.secrets:
            problem = refuse_secret(secret, self.algorithms)
            if problem is not None:
                raise ValueError(problem)
        return self


class StreamEntry(_Entry):
    """A stream (bot) and its org."""

    stream_id: Id = Field(alias="streamId")
    org_id: Id = Field(alias="orgId")
    name: Words = ""


class Membership(BaseModel):
    """A queue that an agent serves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue_id: Id = Field(alias="id")
    is_preferred: bool = Field(False, alias="isPreferredAgent")


class AgentEntry(_Entry):
    """An agent. Without `onlineStatusType` a new one is OFFLINE, and a known one keeps its status.

    So with `queues`, `skills` and `profile`: where they are left out a known agent keeps them.
    """

    agent_id: Id = Field(alias="id")
    user_id: Id = Field(alias="userId")
    org_id: Id = Field(alias="orgId")
    first_name: Words = Field("", alias="firstName")
    last_name: Words = Field("", alias="lastName")
    email_id: Words = Field("", alias="emailId")
    custom_id: Words | None = Field(None, alias="customId")
    max_sessions: int = Field(alias="maxChatSupport", ge=0, le=10_000)
    status: Literal["AVAILABLE", "AWAY", "BUSY", "OFFLINE"] | None = Field(None, alias="onlineStatusType")
    status_expires_at: int | None = Field(None, alias="statusExpiresAt", ge=0)
    queues: list[Membership] | None = None
    skills: list[Id] | None = None
    profile: Profile | None = None

    @model_validator(mode="after")
    def _has_a_status_that_expires(self) -> Self:
        if self.status_expires_at is not None and self.status is None:
            raise ValueError("statusExpiresAt needs onlineStatusType")
        return self

    def row(self, stamp: Stamp) -> dict[str, Any]:
        """The entry as a row of its table, with its queues (and whether it is preferred there) and its skills."""
        queues = None if self.queues is None else {queue.queue_id: queue.is_preferred for queue in self.queues}
        return {
            **self.model_dump(exclude={"queues", "skills", "profile"}),
            "profile": _json(self.profile),
            "at": stamp.now_ms,
            "queues": queues,
            "skills": self.skills,
        }


class QueueEntry(_Entry):
    """A queue of an org. Who serves it is told with the agents."""

    queue_id: Id = Field(alias="id")
    org_id: Id = Field(alias="orgId")
    name: Words = ""
    profile: Profile | None = None

    def row(self, stamp: Stamp) -> dict[str, Any]:
        """The entry as a row of its table."""
        return {**self.model_dump(exclude={"profile"}), "profile": _json(self.profile), "at": stamp.now_ms}


class SessionEntry(_Entry):
    """A bot session. One that is known already keeps its holder, its conversation and when it was opened."""

    session_id: Id = Field(alias="botSessionId")
    stream_id: Id = Field(alias="streamId")
    org_id: Id = Field(alias="orgId")
    conversation_id: Id | None = Field(None, alias="conversationId")
    source: Id | None = None
    language: Id | None = None
    opened_at: int | None = Field(None, alias="startTime", ge=0, le=1 << 62)
    profile: Profile | None = None

    def row(self, stamp: Stamp) -> dict[str, Any]:
        """The entry as a row of its table. There may be a million of these."""
        return {
            "account_id": self.account_id,
            "session_id": self.session_id,
            "stream_id": self.stream_id,
            "org_id": self.org_id,
            "conversation_id": self.conversation_id or ids.conversation_id(stamp.fresh_id),
            "source": self.source,
            "language": self.language,
            "profile": _json(self.profile),
            "opened_at": stamp.now_ms if self.opened_at is None else self.opened_at,
        }


SECTIONS: Final[Mapping[str, type[_Entry]]] = {
    "apps": AppEntry,
    "streams": StreamEntry,
    "queues": QueueEntry,
    "agents": AgentEntry,
    "sessions": SessionEntry,
}


_SPELLING: Final = {
    section: {name: field.alias or name for name, field in schema.model_fields.items()}
    for section, schema in SECTIONS.items()
}
_object: Final = TypeAdapter(dict[str, Any])
_NO_STAMP: Final = Stamp("", 0)


def to_row(entry: Entry, stamp: Stamp) -> Mapping[str, Any]:
    """The table row of one entry of a directory file, stamped if new. Raises RowError that says what to mend."""
    schema = SECTIONS.get(entry.section)
    if schema is None:
        raise RowError(f"no such section; there are {', '.join(SECTIONS)}")
    try:
        return schema.model_validate(entry.value).row(stamp)
    except ValidationError as error:
        raise RowError(sentence_of(error)) from None


def app_of(values: Mapping[str, Any]) -> StoredApp:
    """The app that an entry of a directory file describes. Raises RowError that says what to mend."""
    row = to_row(Entry("apps", 0, values), _NO_STAMP)
    return StoredApp(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
        | {
            "secrets": tuple(KeptSecret(text=secret) for secret in row["secrets"]),
            "streams": None if row["streams"] == "*" else tuple(row["streams"]),
        }
    )


def stream_of(values: Mapping[str, Any]) -> Stream:
    """The stream that an entry of a directory file describes. Raises RowError that says what to mend."""
    return Stream(**to_row(Entry("streams", 0, values), _NO_STAMP))


def to_line(section: str, row: Mapping[str, Any]) -> str:
    """The entry of a directory file, as JSON in one line, that brings this row in."""
    said = {_SPELLING[section][name]: value for name, value in row.items() if value is not None}
    if section == "agents":
        said["queues"] = [{"id": queue, "isPreferredAgent": is_preferred} for queue, is_preferred in row["queues"]]
    return _object.dump_json(said).decode()


def _json(profile: Profile | None) -> str | None:
    return None if profile is None else json.dumps(profile)
