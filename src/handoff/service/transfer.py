"""The transfer itself: a batch of requests, one transaction, one answer each."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeGuard, TypeVar

from handoff.domain.decide import Decision, KeyReused, Refused, Repeated, Situation, Transferred, decide
from handoff.domain.model import (
    Agent,
    AgentKey,
    AssignRequest,
    Callback,
    KeyUse,
    Queue,
    QueueKey,
    Session,
    SessionKey,
    SessionState,
    TargetKind,
    Transfer,
)
from handoff.domain.rules import Reassign
from handoff.service.meter import Meter
from handoff.service.ports import (
    Changes,
    Clock,
    Contended,
    Ids,
    KeyName,
    StoreError,
    StoreUnavailable,
    TransferKey,
    TransferStore,
    TransferTransaction,
    Unwritable,
)

K = TypeVar("K")
V = TypeVar("V")

# A deadlock or a lost race is over as soon as the winner has committed; more tries would only hide a standing fault.
_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What a recorded outcome answers: HTTP status, exact body, session version (if it names one), transfer, code."""

    status: int
    body: bytes
    version: int | None
    transfer_id: str
    code: str | None = None


class IdempotencyKeyReused(Exception):  # noqa: N818 (a refusal)
    """The Idempotency-Key was used for another request before."""


# An answer to give, or the exception to raise for the request.
Outcome = Answer | IdempotencyKeyReused | StoreError


@dataclass(frozen=True, slots=True)
class _Item:
    request: AssignRequest
    fresh_id: str

    @property
    def transfer_key(self) -> TransferKey:
        return (self.request.account_id, f"tr_{self.fresh_id}")


class Transfers:
    """Assigns conversations in batches. Synchronous: it runs in the committer's thread."""

    def __init__(self, store: TransferStore, *, clock: Clock, ids: Ids, reassign: Reassign, meter: Meter) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._reassign = reassign
        self._meter = meter

    def assign(self, requests: Sequence[AssignRequest]) -> Sequence[Outcome]:
        """Decide the requests in order, in one transaction. One outcome each, in the same order.

        A request that the store cannot write fails alone; a store that is away fails all, and then nothing of
        the batch was recorded unless the connection was lost in the very commit.
        """
        items = [_Item(request, self._ids.fresh()) for request in requests]
        try:
            return self._persist(items)
        except Unwritable:
            # Also for a single item: a key that another process took meanwhile is there to be read now.
            return [self._alone(item) for item in items]
        except StoreError as error:
            return [self._failed(error)] * len(items)

    def _alone(self, item: _Item) -> Outcome:
        try:
            return self._persist([item], is_retry=True)[0]
        except StoreError as error:
            return self._failed(error)

    def _failed(self, error: StoreError) -> StoreError:
        self._meter.store_failed("transfers")
        return error

    def _persist(self, items: Sequence[_Item], *, is_retry: bool = False) -> Sequence[Outcome]:
        """Commit, trying again where a race was lost or the connection went away.

        A retry first looks for what an earlier try may have committed. Where a connection was lost and no retry
        got through, the outcome is unknown, and the error says so (`is_lost`).
        """
        was_lost = False
        for tries_left in reversed(range(_TRIES)):
            try:
                return self._commit(items, is_retry=is_retry or was_lost)
            except Contended as error:
                if not tries_left and was_lost:
                    raise StoreUnavailable(str(error), is_lost=True) from error
                if not tries_left:
                    raise
            except StoreUnavailable as error:
                if was_lost or not error.is_lost or not tries_left:
                    raise StoreUnavailable(error.reason, is_lost=was_lost or error.is_lost) from error
                was_lost = True
        raise AssertionError("the last try returns or raises")

    def _commit(self, items: Sequence[_Item], *, is_retry: bool) -> Sequence[Outcome]:
        with self._store.begin() as tx:
            ledger = _Ledger.read(tx, items, is_retry=is_retry, reassign=self._reassign)
            now_ms = self._clock.now_ms()
            outcomes = [ledger.settle(item, now_ms) for item in items]
            if ledger.has_changes:
                tx.write(ledger.changes())
        return outcomes


@dataclass(slots=True, kw_only=True)
class _Ledger:
    """The batch's view of the store: what was read under lock, and on top what the batch has decided so far."""

    reassign: Reassign
    sessions: dict[SessionKey, Session]
    agents: dict[AgentKey, Agent]
    queues: dict[QueueKey, Queue]
    keys: dict[KeyName, KeyUse]
    transfers: dict[TransferKey, Transfer]
    changed_sessions: set[SessionKey] = field(default_factory=set)
    changed_agents: set[AgentKey] = field(default_factory=set)
    new_transfers: list[Transfer] = field(default_factory=list)
    new_callbacks: dict[tuple[str, str], Callback] = field(default_factory=dict)
    new_keys: list[KeyUse] = field(default_factory=list)

    @classmethod
    def read(cls, tx: TransferTransaction, items: Sequence[_Item], *, is_retry: bool, reassign: Reassign) -> "_Ledger":
        requests = [item.request for item in items]
        sessions = dict(tx.sessions({_session_key(r) for r in requests}))
        keys = dict(_read_some(tx.keys, (_key_name(r) for r in requests if r.idempotency_key is not None)))
        needed = _transfers_to_read(requests, sessions, keys)
        if is_retry:
            needed |= {item.transfer_key for item in items}
        return cls(
            reassign=reassign,
            sessions=sessions,
            agents=dict(_read_some(tx.agents, _agents_to_lock(requests, sessions, reassign))),
            queues=dict(_read_some(tx.queues, (_target_key(r) for r in requests if r.target.kind is TargetKind.QUEUE))),
            keys=keys,
            transfers=dict(_read_some(tx.transfers, needed)),
        )

    @property
    def has_changes(self) -> bool:
        return bool(self.new_transfers or self.new_callbacks or self.new_keys)

    def changes(self) -> Changes:
        return Changes(
            sessions=[self.sessions[key] for key in sorted(self.changed_sessions)],
            agents=[self.agents[key] for key in sorted(self.changed_agents)],
            transfers=self.new_transfers,
            callbacks=list(self.new_callbacks.values()),
            keys=self.new_keys,
        )

    def settle(self, item: _Item, now_ms: int) -> Outcome:
        """Decide one request and note what it changes, so that the next one of the batch sees it."""
        committed = self.transfers.get(item.transfer_key)
        if committed is not None:
            return _answer(committed)
        decision = decide(
            item.request,
            self._situation(item.request),
            now_ms=now_ms,
            fresh_id=item.fresh_id,
            reassign=self.reassign,
        )
        self._note(decision)
        return IdempotencyKeyReused() if isinstance(decision, KeyReused) else _answer(decision.transfer)

    def _situation(self, request: AssignRequest) -> Situation:
        session = self.sessions.get(_session_key(request))
        key = _target_key(request)
        use = self.keys.get(_key_name(request)) if request.idempotency_key is not None else None
        return Situation(
            session=session,
            target=self.agents.get(key) if request.target.kind is TargetKind.AGENT else self.queues.get(key),
            holder=self.agents.get(_holder_key(session)) if _is_with_agent(session) else None,
            holding=self.transfers.get((session.account_id, session.transfer_id or "")) if session else None,
            keyed=use,
            keyed_transfer=self.transfers.get((use.account_id, use.transfer_id)) if use else None,
        )

    def _note(self, decision: Decision) -> None:
        match decision:
            case Transferred():
                self._note_new_holder(decision)
                self._note_transfer(decision)
            case Refused():
                self._note_transfer(decision)
            case Repeated(callback=copy) if copy is not None:
                self.new_callbacks[copy.account_id, copy.callback_id] = copy
            case Repeated() | KeyReused():
                pass
        if not isinstance(decision, KeyReused) and decision.key is not None:
            use = decision.key
            self.keys[use.account_id, use.app_id, use.key] = use
            self.new_keys.append(use)

    def _note_new_holder(self, decision: Transferred) -> None:
        session_key = (decision.session.account_id, decision.session.session_id)
        self.sessions[session_key] = decision.session
        self.changed_sessions.add(session_key)
        for agent in decision.agents:
            agent_key = (agent.account_id, agent.agent_id)
            self.agents[agent_key] = agent
            self.changed_agents.add(agent_key)

    def _note_transfer(self, decision: Transferred | Refused) -> None:
        transfer = decision.transfer
        callback = decision.callback
        self.transfers[transfer.account_id, transfer.transfer_id] = transfer
        self.new_transfers.append(transfer)
        self.new_callbacks[callback.account_id, callback.callback_id] = callback


def _read_some(read: Callable[[Collection[K]], Mapping[K, V]], wanted: Iterable[K]) -> Mapping[K, V]:
    keys = set(wanted)
    return read(keys) if keys else {}


def _answer(transfer: Transfer) -> Answer:
    return Answer(transfer.status, transfer.body, transfer.version, transfer.transfer_id, transfer.code)


def _session_key(request: AssignRequest) -> SessionKey:
    return (request.account_id, request.session_id)


def _target_key(request: AssignRequest) -> AgentKey | QueueKey:
    return (request.account_id, request.target.id)


def _key_name(request: AssignRequest) -> KeyName:
    return (request.account_id, request.app_id, request.idempotency_key or "")


def _is_with_agent(session: Session | None) -> TypeGuard[Session]:
    return session is not None and session.state is SessionState.AGENT


def _holder_key(session: Session) -> AgentKey:
    return (session.account_id, session.holder_id or "")


def _agents_to_lock(
    requests: Iterable[AssignRequest], sessions: Mapping[SessionKey, Session], reassign: Reassign
) -> set[AgentKey]:
    """The agents that the batch names, and those who may lose a session to it."""
    agents: set[AgentKey] = set()
    for request in requests:
        if request.target.kind is TargetKind.AGENT:
            agents.add(_target_key(request))
        session = sessions.get(_session_key(request))
        may_move = reassign is Reassign.ALWAYS or request.expected_agent_id is not None
        if may_move and _is_with_agent(session):
            agents.add(_holder_key(session))
    return agents


def _transfers_to_read(
    requests: Iterable[AssignRequest], sessions: Mapping[SessionKey, Session], keys: Mapping[KeyName, KeyUse]
) -> set[TransferKey]:
    """The recorded answers that the batch may have to repeat."""
    transfers = {(use.account_id, use.transfer_id) for use in keys.values()}
    for request in requests:
        session = sessions.get(_session_key(request))
        if session is not None and session.is_with(request.target) and session.transfer_id is not None:
            transfers.add((session.account_id, session.transfer_id))
    return transfers
