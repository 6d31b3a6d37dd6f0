"""The rows of a directory file, in the vendor's spelling, and the table rows they become."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from handoff.api.auth import HMAC_ALGORITHMS, is_public_key
from handoff.api.parameters import sentence_of
from handoff.api.schemas import Id
from handoff.domain import ids
from handoff.service.directory_file import Entry
from handoff.service.importing import RowError

# RFC 7518, 3.2: an HMAC key is at least as long as the hash's output.
_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    account_id: Id = Field(alias="accountId")

    def row(self, stamp: "Stamp") -> dict[str, Any]:
        """The entry as a row of its table."""
        del stamp
        return self.model_dump()


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a row that is new gets: an id that grows with time (UUIDv7), and when it came (epoch ms)."""

    fresh_id: str
    now_ms: int


class AppEntry(_Entry):
    """An app: who may call, and with which keys."""

    app_id: Id = Field(alias="appId")
    name: str = ""
    secrets: list[str] = []
    public_keys: list[str] = Field([], alias="publicKeys")
    algorithms: list[Literal["HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA"]] = ["HS256"]
    scopes: list[str] = []
    streams: Literal["*"] | list[Id] = []
    require_jti: bool = Field(False, alias="requireJti")
    require_exp: bool = Field(False, alias="requireExp")
    is_enabled: bool = Field(True, alias="enabled")

    @model_validator(mode="after")
    def _has_a_key_for_every_algorithm(self) -> Self:
        for algorithm in self.algorithms:
            keys = self.secrets if algorithm in HMAC_ALGORITHMS else self.public_keys
            kind = "secrets" if algorithm in HMAC_ALGORITHMS else "publicKeys"
            if not keys:
                raise ValueError(f"{algorithm} needs an entry in {kind}")
            if kind == "publicKeys" and not any(is_public_key(key, algorithm) for key in keys):
                raise ValueError(f"none of publicKeys is a public key for {algorithm} in PEM")
        return self

    @model_validator(mode="after")
    def _has_long_secrets(self) -> Self:
        shortest = max((_SECRET_BYTES[name] for name in self.algorithms if name in _SECRET_BYTES), default=0)
        for secret in self.secrets:
            if len(secret.encode()) < shortest:
                raise ValueError(f"each of secrets needs {shortest} bytes or more")
            if "-----BEGIN" in secret:
                raise ValueError("a public key belongs into publicKeys, never into secrets")
        return self


class StreamEntry(_Entry):
    """A stream (bot) and its org."""

    stream_id: Id = Field(alias="streamId")
    org_id: Id = Field(alias="orgId")
    name: str = ""


class AgentEntry(_Entry):
    """An agent. Without `onlineStatusType` a new one is OFFLINE, and a known one keeps its status."""

    agent_id: Id = Field(alias="id")
    user_id: Id = Field(alias="userId")
    org_id: Id = Field(alias="orgId")
    first_name: str = Field("", alias="firstName")
    last_name: str = Field("", alias="lastName")
    email_id: str = Field("", alias="emailId")
    custom_id: str | None = Field(None, alias="customId")
    max_sessions: int = Field(alias="maxChatSupport", ge=0, le=10_000)
    status: Literal["AVAILABLE", "AWAY", "BUSY", "OFFLINE"] | None = Field(None, alias="onlineStatusType")

    def row(self, stamp: Stamp) -> dict[str, Any]:
        """The entry as a row of its table."""
        return {**self.model_dump(), "created_at": stamp.now_ms, "updated_at": stamp.now_ms}


class QueueEntry(_Entry):
    """A queue of an org."""

    queue_id: Id = Field(alias="id")
    org_id: Id = Field(alias="orgId")
    name: str = ""

    def row(self, stamp: Stamp) -> dict[str, Any]:
        """The entry as a row of its table."""
        return {**self.model_dump(), "created_at": stamp.now_ms, "updated_at": stamp.now_ms}


class SessionEntry(_Entry):
    """A bot session. One that is known already keeps its holder."""

    session_id: Id = Field(alias="botSessionId")
    stream_id: Id = Field(alias="streamId")
    org_id: Id = Field(alias="orgId")

    def row(self, stamp: Stamp) -> dict[str, Any]:
        """The entry as a row of its table: with the bot, nothing having happened yet."""
        return {
            **self.model_dump(),
            "state": "bot",
            "version": 0,
            "conversation_id": ids.conversation_id(stamp.fresh_id),
            "opened_at": stamp.now_ms,
        }


SECTIONS: Final[Mapping[str, type[_Entry]]] = {
    "apps": AppEntry,
    "streams": StreamEntry,
    "agents": AgentEntry,
    "queues": QueueEntry,
    "sessions": SessionEntry,
}


def to_row(entry: Entry, stamp: Stamp) -> Mapping[str, Any]:
    """The table row of one entry of a directory file, stamped if new. Raises RowError that says what to mend."""
    schema = SECTIONS.get(entry.section)
    if schema is None:
        raise RowError(f"no such section; there are {', '.join(SECTIONS)}")
    try:
        return schema.model_validate(entry.value).row(stamp)
    except ValidationError as error:
        raise RowError(sentence_of(error)) from None
