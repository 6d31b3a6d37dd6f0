"""What callers may do with queues: make and read them, and ask who belongs where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from handoff.domain import ids as id_shapes
from handoff.domain.refusals import Refusal
from handoff.service.agent_store import DirectoryRefused, QueueStore, QueueTransaction, StoredQueue
from handoff.service.agents import CREATED_BY, MAX_QUEUES, require_place
from handoff.service.ports import Clock, Ids

# As many as fit into a body with the documented members of each.
MAX_AGENTS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedMember:
    """An agent to belong to a queue, named by its own id, its user's, or both, which must then be the same agent's."""

    agent_id: str | None
    user_id: str | None
    is_preferred: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFields:
    """What a caller says of a new queue. See `StoredQueue`."""

    account_id: str | None = None
    org_id: str | None = None
    queue_id: str | None = None
    name: str
    members: Sequence[WantedMember] = ()
    profile: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """The use cases. What cannot be done raises DirectoryRefused."""

    store: QueueStore
    clock: Clock
    ids: Ids

    def create(self, account_id: str, org_id: str, said: QueueFields, *, created_by: str) -> StoredQueue:
        """Make a queue of the org, with an id of ours where none is given."""
        require_place(said.account_id, said.org_id, account_id=account_id, org_id=org_id)
        now = self.clock.now_ms()
        new = StoredQueue(
            account_id=account_id,
            org_id=org_id,
            queue_id=said.queue_id or id_shapes.queue_id(self.ids.fresh()),
            name=said.name,
            profile={**said.profile, CREATED_BY: created_by},
            created_at=now,
            updated_at=now,
        )
        with self.store.begin() as tx:
            members = _members(tx, new, said.members) if said.members else {}
            if not tx.insert(new):
                raise DirectoryRefused(Refusal.QUEUE_EXISTS, f"Another queue has the id {new.queue_id}.")
            tx.add_members(new, members)
            return tx.completed(new)


def _members(tx: QueueTransaction, queue: StoredQueue, wanted: Sequence[WantedMember]) -> dict[str, bool]:
    """Whether each of the agents is preferred, by its own id."""
    named = {one for member in wanted for one in (member.agent_id, member.user_id) if one is not None}
    users = tx.agents(queue.account_id, queue.org_id, named)
    agents = {user_id: agent_id for agent_id, user_id in users.items()}
    members: dict[str, bool] = {}
    for member in wanted:
        agent_id = member.agent_id or agents.get(member.user_id or "", "")
        if agent_id not in users or member.user_id not in {None, users[agent_id]}:
            raise _unknown(member, queue)
        members[agent_id] = member.is_preferred
    counts = tx.queue_counts(queue.account_id, members)
    for agent_id in sorted(agent_id for agent_id, count in counts.items() if count >= MAX_QUEUES):
        raise DirectoryRefused(
            Refusal.INVALID_REQUEST, f"agents: agent {agent_id} belongs to {MAX_QUEUES} queues, which is the most."
        )
    return members


def _unknown(member: WantedMember, queue: StoredQueue) -> DirectoryRefused:
    names = " with userId ".join(one for one in (member.agent_id, member.user_id) if one is not None)
    return DirectoryRefused(Refusal.AGENT_NOT_FOUND, f"Agent {names} is not known in org {queue.org_id}.")
