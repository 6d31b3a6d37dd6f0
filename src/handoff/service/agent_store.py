"""Agents and queues as they are stored: the facts, and what the use cases need of the store."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from handoff.domain.event import Event
from handoff.domain.model import Agent
from handoff.domain.refusals import Refusal


class DirectoryRefused(Exception):  # noqa: N818 (a refusal)
    """What was asked of an agent or a queue cannot be done: {detail}."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgScope:
    """Whose agents and queues: those of an account, and of one org of it (None: of all)."""

    account_id: str
    org_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A queue that an agent belongs to; `name` and `description` are the queue's."""

    queue_id: str
    is_preferred: bool
    name: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAgent:
    """An agent as it stands. Times are epoch milliseconds; `created_at` is 0 where it is not known.

    `profile` is what was sent and means nothing here. `skills` are the entries as they were sent, by the skill's id.
    `queues` is None where they were not read. `last_online_at` is when it last came online.
    """

    agent: Agent
    user_id: str
    first_name: str
    last_name: str
    email_id: str
    custom_id: str | None
    profile: Mapping[str, Any]
    created_at: int
    updated_at: int
    last_online_at: int | None
    skills: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    queues: Sequence[Membership] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFilter:
    """Which agents; all that is given must hold.

    Those with this custom id; named by one of `agent_ids`, their own or their users'; in any of the queues; with any
    of the skills.
    """

    custom_id: str | None = None
    agent_ids: Collection[str] = ()
    queue_ids: Collection[str] = ()
    skill_ids: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPage:
    """Agents in the order of their ids. `next_after` is behind which the next page begins; None: this was the last."""

    agents: Sequence[StoredAgent]
    next_after: str | None


class AgentTransaction(Protocol):
    """One open transaction on agents. An agent that was locked stays so, and is there, until the end."""

    def lock(self, scope: OrgScope, agent_id: str) -> StoredAgent | None:
        """The agent if it is there and in scope; its skills and queues come with `completed`."""
        ...

    def completed(self, agent: StoredAgent) -> StoredAgent:
        """The agent with its skills and queues."""
        ...

    def known_queues(self, account_id: str, org_id: str, queue_ids: Collection[str]) -> set[str]:
        """Those of the queues that the org has."""
        ...

    def insert(self, agent: StoredAgent) -> bool:
        """Write a new agent; False where another has its id, or in its org its userId or emailId."""
        ...

    def update(self, agent: StoredAgent) -> bool:
        """Write all but status and load of a locked agent; False where another of the org has its emailId."""
        ...

    def set_skills(self, agent: StoredAgent) -> None:
        """Make these skills the agent's, and no others."""
        ...

    def set_queues(self, agent: StoredAgent, queues: Mapping[str, bool]) -> None:
        """Make the agent a member of these queues, preferred or not, and of no others."""
        ...

    def set_status(self, agent: StoredAgent) -> None:
        """Write the status, its end, and when the agent was last online."""
        ...

    def delete_idle(self, agent: StoredAgent) -> bool:
        """Delete the agent and its memberships if it holds no session; whether it did."""
        ...

    def append(self, event: Event) -> None:
        """Write an event. Last of all: see `handoff.store.feed`."""
        ...


class AgentStore(Protocol):
    """Where agents are looked up and changed. Synchronous, from any thread."""

    def accounts(self) -> Sequence[str]:
        """Every account that has agents."""
        ...

    def orgs(self) -> Sequence[OrgScope]:
        """Every org that has a stream."""
        ...

    def get(self, scope: OrgScope, agent_id: str) -> StoredAgent | None:
        """The agent with its skills and queues, if it is there and in scope."""
        ...

    def find(
        self,
        scope: OrgScope,
        wanted: AgentFilter,
        *,
        after: str = "",
        skip: int = 0,
        limit: int,
        with_queues: bool = False,
    ) -> AgentPage:
        """A page of agents whose ids come after `after`, with their skills."""
        ...

    def find_brief(self, scope: OrgScope, wanted: AgentFilter, *, after: str, limit: int) -> AgentPage:
        """The same without skills and queues, and of the profile only the phone number and the picture."""
        ...

    def begin(self) -> AbstractContextManager[AgentTransaction]:
        """A transaction that commits when its block ends well and leaves nothing otherwise."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An agent of a queue, with the ids of its skills."""

    agent_id: str
    user_id: str
    first_name: str
    last_name: str
    is_preferred: bool
    skill_ids: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQueue:
    """A queue as it stands, with its first agents, and how many it has.

    Times are epoch milliseconds, 0 where they are not known.
    """

    account_id: str
    org_id: str
    queue_id: str
    name: str
    profile: Mapping[str, Any]
    created_at: int
    updated_at: int
    members: Sequence[Member] = ()
    member_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePage:
    """Queues in the order of their ids, and how many the scope has in all. `next_after`: see `AgentPage`."""

    queues: Sequence[StoredQueue]
    total: int
    next_after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdPage:
    """Ids in their order. `next_after`: see `AgentPage`."""

    ids: Sequence[str]
    next_after: str | None


class QueueTransaction(Protocol):
    """One open transaction on queues. An agent that was found stays there until the end."""

    def agents(self, account_id: str, org_id: str, ids: Collection[str]) -> Mapping[str, str]:
        """The user's id of each agent of the org that is named by its own or its user's id."""
        ...

    def queue_counts(self, account_id: str, agent_ids: Collection[str]) -> Mapping[str, int]:
        """How many queues each of the agents belongs to; those in none are left out."""
        ...

    def insert(self, queue: StoredQueue) -> bool:
        """Write a new queue; False where another of the account has its id."""
        ...

    def add_members(self, queue: StoredQueue, agents: Mapping[str, bool]) -> None:
        """Make the agents members of the queue, preferred or not."""
        ...

    def completed(self, queue: StoredQueue) -> StoredQueue:
        """The queue with its first agents."""
        ...


class QueueStore(Protocol):
    """Where queues are looked up and made. Synchronous, from any thread."""

    def find(self, scope: OrgScope, *, after: str = "", skip: int = 0, limit: int) -> QueuePage:
        """A page of queues whose ids come after `after`."""
        ...

    def queues_of(self, scope: OrgScope, agent_ids: Collection[str], *, after: str, limit: int) -> IdPage:
        """The queues that any of the agents, named by its own or its user's id, belongs to."""
        ...

    def begin(self) -> AbstractContextManager[QueueTransaction]:
        """A transaction that commits when its block ends well and leaves nothing otherwise."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...
