"""A batch's view of the store: what was read under lock, and on top of it what the batch has decided so far."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard, TypeVar

from handoff.domain.decide import Decision, KeyReused, Refused, Repeated, Situation, Transferred, decide
from handoff.domain.event import Event, session_moved, session_opened
from handoff.domain.lifecycle import Denied, Move, Opened, Unmoved, move_session, open_session
from handoff.domain.model import (
    Agent,
    AgentKey,
    AssignRequest,
    Callback,
    KeyUse,
    MoveRequest,
    OpenRequest,
    Queue,
    QueueKey,
    Session,
    SessionKey,
    SessionState,
    Target,
    TargetKind,
    Transfer,
)
from handoff.domain.rules import Reassign
from handoff.service.outcomes import Answer, IdempotencyKeyReused, Item, Moved, Request, SessionRefused, Settled
from handoff.service.ports import Changes, KeyName, NewSession, TransferKey, TransferTransaction

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Settles requests one after another; `changes` is what they come to."""

    reassign: Reassign
    sessions: dict[SessionKey, Session]
    agents: dict[AgentKey, Agent]
    queues: dict[QueueKey, Queue]
    keys: dict[KeyName, KeyUse]
    transfers: dict[TransferKey, Transfer]
    changed_sessions: set[SessionKey] = field(default_factory=set)
    changed_agents: set[AgentKey] = field(default_factory=set)
    new_sessions: list[NewSession] = field(default_factory=list)
    new_transfers: list[Transfer] = field(default_factory=list)
    new_callbacks: dict[tuple[str, str], Callback] = field(default_factory=dict)
    new_keys: list[KeyUse] = field(default_factory=list)
    new_events: list[Event] = field(default_factory=list)

    @classmethod
    def read(cls, tx: TransferTransaction, items: Sequence[Item], *, is_retry: bool, reassign: Reassign) -> "Ledger":
        """What the store holds about the requests, sessions locked before agents."""
        requests = [item.request for item in items]
        calls = [request for request in requests if isinstance(request, AssignRequest)]
        sessions = dict(tx.sessions({_session_key(request) for request in requests}))
        keys = dict(_read_some(tx.keys, (_key_name(call) for call in calls if call.idempotency_key is not None)))
        needed = _transfers_to_read(calls, sessions, keys)
        if is_retry:
            needed |= {item.transfer_key for item in items}
        return cls(
            reassign=reassign,
            sessions=sessions,
            agents=dict(_read_some(tx.agents, _agents_to_lock(requests, sessions, reassign))),
            queues=dict(_read_some(tx.queues, _targets(calls, TargetKind.QUEUE))),
            keys=keys,
            transfers=dict(_read_some(tx.transfers, needed)),
        )

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.new_transfers or self.new_callbacks or self.new_keys or self.new_sessions)

    def changes(self) -> Changes:
        """Everything there is to write."""
        return Changes(
            new_sessions=self.new_sessions,
            sessions=[self.sessions[key] for key in sorted(self.changed_sessions)],
            agents=[self.agents[key] for key in sorted(self.changed_agents)],
            transfers=self.new_transfers,
            callbacks=list(self.new_callbacks.values()),
            keys=self.new_keys,
            events=self.new_events,
        )

    def settle(self, item: Item, now_ms: int) -> Settled:
        """Decide one request and note what it changes, so that the next one of the batch sees it."""
        committed = self.transfers.get(item.transfer_key)
        match item.request:
            case AssignRequest() as call:
                return _answer(committed) if committed is not None else self._assign(call, item.fresh_id, now_ms)
            case OpenRequest() as opening:
                return self._open(opening, item.fresh_id, now_ms)
            case MoveRequest() as move:
                if committed is not None:
                    return Moved(self.sessions[_session_key(move)], committed.transfer_id)
                return self._move(move, item.fresh_id, now_ms)

    def _assign(self, call: AssignRequest, fresh_id: str, now_ms: int) -> Answer | IdempotencyKeyReused:
        decision = decide(call, self._situation(call), now_ms=now_ms, fresh_id=fresh_id, reassign=self.reassign)
        if not call.is_dry_run:
            self._note(decision)
        if isinstance(decision, KeyReused):
            return IdempotencyKeyReused()
        is_repeat = isinstance(decision, Repeated)
        return _answer(decision.transfer, is_recorded=is_repeat or not call.is_dry_run, is_repeat=is_repeat)

    def _situation(self, call: AssignRequest) -> Situation:
        session = self.sessions.get(_session_key(call))
        use = self.keys.get(_key_name(call)) if call.idempotency_key is not None else None
        return Situation(
            session=session,
            target=self._found(call.account_id, call.target),
            fallback=tuple(self._found(call.account_id, target) for target in call.fallback),
            holder=self._holder(session),
            holding=self.transfers.get((session.account_id, session.transfer_id or "")) if session else None,
            keyed=use,
            keyed_transfer=self.transfers.get((use.account_id, use.transfer_id)) if use else None,
        )

    def _found(self, account_id: str, target: Target) -> Agent | Queue | None:
        found = self.agents if target.kind is TargetKind.AGENT else self.queues
        return found.get((account_id, target.id))

    def _holder(self, session: Session | None) -> Agent | None:
        return self.agents.get(_holder_key(session)) if _is_with_agent(session) else None

    def _open(self, opening: OpenRequest, fresh_id: str, now_ms: int) -> Opened | SessionRefused:
        found = self.sessions.get(_session_key(opening))
        decision = open_session(opening, found, fresh_id=fresh_id)
        if isinstance(decision, Denied):
            return _refused(decision)
        if found is None:
            self.sessions[_session_key(opening)] = decision.session
            self.new_sessions.append(NewSession(session=decision.session, opening=opening, opened_at=now_ms))
            self.new_events.append(session_opened(decision.session, app_id=opening.app_id, at=now_ms))
        return decision

    def _move(self, move: MoveRequest, fresh_id: str, now_ms: int) -> Moved | SessionRefused:
        session = self.sessions.get(_session_key(move))
        match move_session(move, session, self._holder(session), now_ms=now_ms, fresh_id=fresh_id):
            case Move() as decision:
                self._note_new_holder(decision)
                self._note_transfer(decision.transfer)
                return Moved(decision.session, decision.transfer.transfer_id)
            case Unmoved() as decision:
                return Moved(decision.session, None)
            case Denied() as decision:
                return _refused(decision)

    def _note(self, decision: Decision) -> None:
        match decision:
            case Transferred():
                self._note_new_holder(decision)
                self._note_transfer(decision.transfer, decision.callback)
            case Refused():
                self._note_transfer(decision.transfer, decision.callback)
            case Repeated(callback=copy) if copy is not None:
                self.new_callbacks[copy.account_id, copy.callback_id] = copy
            case Repeated() | KeyReused():
                pass
        if not isinstance(decision, KeyReused) and decision.key is not None:
            use = decision.key
            self.keys[use.account_id, use.app_id, use.key] = use
            self.new_keys.append(use)

    def _note_new_holder(self, decision: Transferred | Move) -> None:
        session_key = (decision.session.account_id, decision.session.session_id)
        before = self.sessions[session_key]
        self.sessions[session_key] = decision.session
        self.changed_sessions.add(session_key)
        for agent in decision.agents:
            agent_key = (agent.account_id, agent.agent_id)
            self.agents[agent_key] = agent
            self.changed_agents.add(agent_key)
        self.new_events.append(session_moved(before, decision.session, decision.transfer))

    def _note_transfer(self, transfer: Transfer, callback: Callback | None = None) -> None:
        self.transfers[transfer.account_id, transfer.transfer_id] = transfer
        self.new_transfers.append(transfer)
        if callback is not None:
            self.new_callbacks[callback.account_id, callback.callback_id] = callback


def _read_some(read: Callable[[Collection[K]], Mapping[K, V]], wanted: Iterable[K]) -> Mapping[K, V]:
    keys = set(wanted)
    return read(keys) if keys else {}


def _answer(transfer: Transfer, *, is_recorded: bool = True, is_repeat: bool = False) -> Answer:
    recorded_id = transfer.transfer_id if is_recorded else None
    return Answer(transfer.status, transfer.body, transfer.version, recorded_id, transfer.code, is_repeat)


def _refused(denied: Denied) -> SessionRefused:
    return SessionRefused(denied.no.refusal, denied.no.detail, denied.session)


def _session_key(request: Request) -> SessionKey:
    return (request.account_id, request.session_id)


def _key_name(call: AssignRequest) -> KeyName:
    return (call.account_id, call.app_id, call.idempotency_key or "")


def _is_with_agent(session: Session | None) -> TypeGuard[Session]:
    return session is not None and session.state is SessionState.AGENT


def _holder_key(session: Session) -> AgentKey:
    return (session.account_id, session.holder_id or "")


def _targets(calls: Iterable[AssignRequest], kind: TargetKind) -> Iterator[AgentKey | QueueKey]:
    """Everyone of this kind whom the calls name."""
    return ((call.account_id, target.id) for call in calls for target in call.targets if target.kind is kind)


def _agents_to_lock(
    requests: Sequence[Request], sessions: Mapping[SessionKey, Session], reassign: Reassign
) -> set[AgentKey]:
    """The agents that the batch names, and those who may lose a session to it."""
    agents = set(_targets((one for one in requests if isinstance(one, AssignRequest)), TargetKind.AGENT))
    for request in requests:
        session = sessions.get(_session_key(request))
        if _is_with_agent(session) and _may_move(request, reassign):
            agents.add(_holder_key(session))
    return agents


def _may_move(request: Request, reassign: Reassign) -> bool:
    if isinstance(request, AssignRequest):
        return reassign is Reassign.ALWAYS or request.expected_agent_id is not None
    return isinstance(request, MoveRequest)


def _transfers_to_read(
    calls: Iterable[AssignRequest], sessions: Mapping[SessionKey, Session], keys: Mapping[KeyName, KeyUse]
) -> set[TransferKey]:
    """The recorded answers that the batch may have to repeat."""
    transfers = {(use.account_id, use.transfer_id) for use in keys.values()}
    for call in calls:
        session = sessions.get(_session_key(call))
        if session is not None and session.transfer_id is not None and any(map(session.is_with, call.targets)):
            transfers.add((session.account_id, session.transfer_id))
    return transfers
