"""What callers and operators may do with agents: make, read, replace and delete them, and tell whether they are there.

Whatever cannot be done raises DirectoryRefused, a store that is away StoreError.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from handoff.domain import ids as id_shapes
from handoff.domain.event import EventKind, agent_changed
from handoff.domain.model import Agent, AgentStatus
from handoff.domain.presence import status_at
from handoff.domain.refusals import Refusal
from handoff.service.agent_store import AgentStore, AgentTransaction, DirectoryRefused, OrgScope, StoredAgent
from handoff.service.ports import Clock, Ids

MAX_SLOTS: Final = 10_000
# What the documented request and both of its answers have.
DEFAULT_SLOTS: Final = 5
# A list of agents shows these of each: so it is bounded, too.
MAX_QUEUES: Final = 100
MAX_SKILLS: Final = 100
# Whoever is not heard of for a week is gone.
MAX_STATUS_S: Final = 7 * 86_400
# The member of a profile that tells who made the agent; nobody else may say it.
CREATED_BY: Final = "createdBy"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFields:
    """What a caller says of an agent; None: nothing. See `StoredAgent`.

    `slots` are the numbers of slots that are named: the API has two names for them. `queues` tells of each queue's id
    whether the agent is preferred there. An empty `custom_id` takes it away.
    """

    account_id: str | None = None
    org_id: str | None = None
    agent_id: str | None = None
    user_id: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email_id: str | None = None
    custom_id: str | None = None
    slots: frozenset[int] = frozenset()
    skills: Mapping[str, Mapping[str, Any]] | None = None
    queues: Mapping[str, bool] | None = None
    profile: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """The use cases. `changed` is called after every commit that may have written an event."""

    store: AgentStore
    clock: Clock
    ids: Ids
    changed: Callable[[], object] = field(default=lambda: None)

    def get(self, scope: OrgScope, agent_id: str) -> StoredAgent:
        """The agent. Raises DirectoryRefused where it is not there or out of scope: one answer."""
        found = self.store.get(scope, agent_id) if id_shapes.is_id(agent_id) else None
        if found is None:
            raise _unknown(agent_id)
        return found

    def create(self, account_id: str, org_id: str, said: AgentFields, *, created_by: str) -> StoredAgent:
        """Make an agent of the org, OFFLINE, with ids of ours where none are given."""
        require_place(said.account_id, said.org_id, account_id=account_id, org_id=org_id)
        new = self._new(account_id, org_id, said, created_by)
        with self._changing() as tx:
            _require_queues(tx, new.agent, said.queues or {})
            if not tx.insert(new):
                raise _taken(new)
            tx.set_skills(new)
            tx.set_queues(new, said.queues or {})
            made = tx.completed(new)
            _tell(
                tx,
                EventKind.AGENT_CREATED,
                made,
                at=made.created_at,
                onlineStatusType=AgentStatus.OFFLINE,
                **_slots(new),
            )
        return made

    @contextmanager
    def _changing(self) -> Iterator[AgentTransaction]:
        with self.store.begin() as tx:
            yield tx
        self.changed()

    def _new(self, account_id: str, org_id: str, said: AgentFields, created_by: str) -> StoredAgent:
        now = self.clock.now_ms()
        agent = Agent(
            account_id=account_id,
            agent_id=said.agent_id or id_shapes.agent_id(self.ids.fresh()),
            org_id=org_id,
            status=AgentStatus.OFFLINE,
            status_expires_at=None,
            max_sessions=_slots_of(said, None),
            active_sessions=0,
        )
        return StoredAgent(
            agent=agent,
            user_id=said.user_id or id_shapes.user_id(self.ids.fresh()),
            first_name=said.first_name or "",
            last_name=said.last_name or "",
            email_id=said.email_id or "",
            custom_id=said.custom_id or None,
            profile={**said.profile, CREATED_BY: created_by},
            created_at=now,
            updated_at=now,
            last_online_at=None,
            skills=said.skills or {},
        )

    def replace(self, scope: OrgScope, agent_id: str, said: AgentFields) -> StoredAgent:
        """Replace the agent's profile, and of what has a meaning here whatever is said. Nobody loses a session."""
        with self._changing() as tx:
            before = tx.completed(_locked(tx, scope, agent_id))
            for name, given, stored in (
                ("id", said.agent_id, before.agent.agent_id),
                ("userId", said.user_id, before.user_id),
                ("accountId", said.account_id, before.agent.account_id),
                ("orgId", said.org_id, before.agent.org_id),
            ):
                _require_same(name, given, stored)
            after = _replaced(before, said, now_ms=self.clock.now_ms())
            _require_queues(tx, after.agent, said.queues or {})
            if not tx.update(after):
                raise _taken(after)
            if said.skills is not None:
                tx.set_skills(after)
            if said.queues is not None:
                tx.set_queues(after, said.queues)
            replaced = tx.completed(after)
            _tell(tx, EventKind.AGENT_UPDATED, replaced, at=after.updated_at, **_slots(after))
        return replaced

    def set_status(
        self, scope: OrgScope, agent_id: str, status: AgentStatus, *, expires_in_s: int | None = None
    ) -> StoredAgent:
        """Tell whether the agent is there, for ever or for so many seconds; again renews them.

        Only a change of the status is an event: one that is merely renewed, as heartbeats do, is none.
        """
        with self._changing() as tx:
            now = self.clock.now_ms()
            before = _locked(tx, scope, agent_id)
            expires_at = None if expires_in_s is None else now + expires_in_s * 1_000
            after = _with_status(before, status, expires_at, now_ms=now)
            tx.set_status(after)
            if status_at(before.agent, now) is not status:
                _tell(tx, EventKind.AGENT_STATUS, after, at=now, onlineStatusType=status, expiresAt=expires_at)
        return after

    def delete(self, scope: OrgScope, agent_id: str) -> StoredAgent:
        """Delete the agent, which must hold no session; the agent as it was."""
        with self._changing() as tx:
            found = tx.completed(_locked(tx, scope, agent_id))
            if not tx.delete_idle(found):
                raise DirectoryRefused(
                    Refusal.AGENT_HOLDS_SESSIONS,
                    f"Agent {agent_id} holds {_sessions(found.agent.active_sessions)}: "
                    "assign them to others, release or close them first.",
                )
            _tell(tx, EventKind.AGENT_DELETED, found, at=self.clock.now_ms())
        return found


def require_place(said_account: str | None, said_org: str | None, *, account_id: str, org_id: str) -> None:
    """Raise DirectoryRefused where something is to be made elsewhere than in this org."""
    _require_same("accountId", said_account, account_id)
    if said_org not in {None, org_id}:
        raise DirectoryRefused(Refusal.ORG_NOT_FOUND, f"The stream does not belong to org {said_org}.")


def _locked(tx: AgentTransaction, scope: OrgScope, agent_id: str) -> StoredAgent:
    found = tx.lock(scope, agent_id) if id_shapes.is_id(agent_id) else None
    if found is None:
        raise _unknown(agent_id)
    return found


def _unknown(agent_id: str) -> DirectoryRefused:
    name = f"agent {agent_id}" if id_shapes.is_id(agent_id) else "such agent"
    return DirectoryRefused(Refusal.AGENT_NOT_FOUND, f"There is no {name}.")


def _taken(agent: StoredAgent) -> DirectoryRefused:
    return DirectoryRefused(
        Refusal.AGENT_EXISTS,
        f"Another agent has the id {agent.agent.agent_id}, or another of org {agent.agent.org_id} has the userId "
        f"{agent.user_id} or the emailId {agent.email_id or '(none)'}.",
    )


def _require_same(name: str, given: str | None, stored: str) -> None:
    if given is not None and given != stored:
        raise DirectoryRefused(Refusal.INVALID_REQUEST, f"{name}: must be {stored}, or be left out; it never changes.")


def _require_queues(tx: AgentTransaction, agent: Agent, wanted: Mapping[str, bool]) -> None:
    known = tx.known_queues(agent.account_id, agent.org_id, wanted) if wanted else set()
    for queue_id in sorted(set(wanted) - known):
        raise DirectoryRefused(Refusal.QUEUE_NOT_FOUND, f"Queue {queue_id} is not known in org {agent.org_id}.")


def _slots_of(said: AgentFields, present: int | None) -> int:
    """The number that is new: whoever reads an agent and sends it back changes one of the two names, or both alike."""
    new = said.slots - {present}
    if len(new) > 1:
        raise DirectoryRefused(
            Refusal.INVALID_REQUEST,
            "maxChatSupport, maxDigitalChatSupport: these are the same slots, send one number for both.",
        )
    return next(iter(new), DEFAULT_SLOTS if present is None else present)


def _replaced(before: StoredAgent, said: AgentFields, *, now_ms: int) -> StoredAgent:
    profile = dict(said.profile)
    if CREATED_BY in before.profile:
        profile[CREATED_BY] = before.profile[CREATED_BY]
    return replace(
        before,
        agent=replace(before.agent, max_sessions=_slots_of(said, before.agent.max_sessions)),
        first_name=before.first_name if said.first_name is None else said.first_name,
        last_name=before.last_name if said.last_name is None else said.last_name,
        email_id=before.email_id if said.email_id is None else said.email_id,
        custom_id=before.custom_id if said.custom_id is None else said.custom_id or None,
        skills=before.skills if said.skills is None else said.skills,
        profile=profile,
        updated_at=now_ms,
    )


def _with_status(before: StoredAgent, status: AgentStatus, expires_at: int | None, *, now_ms: int) -> StoredAgent:
    was_offline = status_at(before.agent, now_ms) is AgentStatus.OFFLINE
    comes_online = was_offline and status is not AgentStatus.OFFLINE
    return replace(
        before,
        agent=replace(before.agent, status=status, status_expires_at=expires_at),
        last_online_at=now_ms if comes_online else before.last_online_at,
    )


def _tell(tx: AgentTransaction, kind: EventKind, agent: StoredAgent, *, at: int, **members: object) -> None:
    tx.append(
        agent_changed(
            kind,
            account_id=agent.agent.account_id,
            org_id=agent.agent.org_id,
            agent_id=agent.agent.agent_id,
            at=at,
            members={"userId": agent.user_id, **members},
        )
    )


def _slots(agent: StoredAgent) -> dict[str, object]:
    return {"maxChatSupport": agent.agent.max_sessions}


def _sessions(count: int) -> str:
    return "1 session" if count == 1 else f"{count} sessions"
