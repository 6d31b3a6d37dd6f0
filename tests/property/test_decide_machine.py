from dataclasses import replace
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from fakes import FakeClock, FakeIds
from handoff.domain.decide import Decision, KeyReused, Refused, Repeated, Situation, Transferred, decide
from handoff.domain.ids import callback_id
from handoff.domain.model import (
    Agent,
    AgentStatus,
    AssignRequest,
    Callback,
    KeyUse,
    Queue,
    Session,
    SessionState,
    Target,
    TargetKind,
    Transfer,
)
from handoff.domain.rules import Reassign

SLOTS: Final = {"a-0": 0, "a-1": 1, "a-2": 2, "a-3": 3}
QUEUES: Final = ("qu-1", "qu-2")
SESSIONS: Final = ("s-1", "s-2", "s-3", "s-4")
WITH_BOT: Final = ("bot", None)
CLOSED: Final = ("closed", None)
IN_PLACE: Final[dict[str, Any]] = {"account_id": "acc", "org_id": "o-1", "stream_id": "st-1"}

# Lists that repeat an entry make it more frequent: most requests should get as far as the rules about holders.
agent_ids = st.sampled_from([*SLOTS, *SLOTS, "a-2", "a-3", "a-3", "a-9"])
queue_ids = st.sampled_from([*QUEUES, *QUEUES, *QUEUES, "qu-9"])
keys = st.sampled_from(["k-1", "k-2", "k-3", "k-4", "k-5", "k-6"])
targets = st.one_of(
    st.builds(Target, st.just(TargetKind.AGENT), agent_ids),
    st.builds(Target, st.just(TargetKind.AGENT), agent_ids),
    st.builds(Target, st.just(TargetKind.QUEUE), queue_ids),
)
requests = st.builds(
    AssignRequest,
    account_id=st.just("acc"),
    app_id=st.just("cs-1"),
    stream_id=st.just("st-1"),
    stream_org_id=st.just("o-1"),
    org_id=st.sampled_from(["o-1"] * 19 + ["o-2"]),
    session_id=st.sampled_from([*SESSIONS * 4, "s-9"]),
    target=targets,
    callback_url=st.sampled_from(["https://one.example", "https://one.example", "https://two.example/x"]),
    expected_agent_id=st.sampled_from([None] * 8 + [*SLOTS, "a-9"]),
    idempotency_key=st.none() | st.none() | st.none() | st.none() | keys,
    request_id=st.just("req"),
)
statuses = st.sampled_from([*AgentStatus, AgentStatus.AVAILABLE, AgentStatus.AVAILABLE])


class Desk(RuleBasedStateMachine):
    """The facts as the domain makes them, and beside them plain dictionaries that say what they should be."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.ids = FakeClock(), FakeIds()
        self.sessions = {name: _session(name) for name in SESSIONS}
        self.agents = {name: _agent(name, slots) for name, slots in SLOTS.items()}
        self.queues = {name: Queue(account_id="acc", queue_id=name, org_id="o-1") for name in QUEUES}
        self.keys: dict[str, KeyUse] = {}
        self.transfers: dict[str, Transfer] = {}
        self.callbacks: dict[str, Callback] = {}
        self.place: dict[str, tuple[str, str | None]] = dict.fromkeys(SESSIONS, WITH_BOT)
        self.version = dict.fromkeys(SESSIONS, 0)
        self.winner: dict[str, str] = {}
        self.status: dict[str, tuple[AgentStatus, float]] = dict.fromkeys(SLOTS, (AgentStatus.AVAILABLE, float("inf")))
        self.asked: dict[str, tuple[AssignRequest, str]] = {}

    @rule(request=requests, reassign=st.sampled_from(Reassign))
    def assign(self, request: AssignRequest, reassign: Reassign) -> None:
        self._settle(request, reassign)

    @rule(request=requests, reassign=st.sampled_from(Reassign), is_keyed=st.booleans())
    def assign_knowing_the_holder(self, request: AssignRequest, reassign: Reassign, *, is_keyed: bool) -> None:
        kind, holder = self.place.get(request.session_id, WITH_BOT)
        key = request.idempotency_key if is_keyed else None
        expected = holder if kind == "agent" else None
        self._settle(replace(request, expected_agent_id=expected, idempotency_key=key), reassign)

    @rule(name=st.sampled_from(SESSIONS), request=requests)
    def ask_for_the_holder_again(self, name: str, request: AssignRequest) -> None:
        kind, holder = self.place[name]
        if holder is not None:
            target = Target(TargetKind(kind), holder)
            self._settle(replace(request, session_id=name, target=target), Reassign.EXPECTED)

    @rule(key=keys, reassign=st.sampled_from(Reassign))
    def replay_a_key(self, key: str, reassign: Reassign) -> None:
        if key in self.asked:
            self._settle(replace(self.asked[key][0], request_id="req-again"), reassign)

    @rule(name=st.sampled_from(SESSIONS), is_closed=st.sampled_from([False, False, False, True]))
    def close_or_release(self, name: str, *, is_closed: bool) -> None:
        session = self.sessions[name]
        if self.place[name] in {WITH_BOT, CLOSED}:
            return
        if session.state is SessionState.AGENT:
            agent = self.agents[session.holder_id or ""]
            self.agents[agent.agent_id] = replace(agent, active_sessions=agent.active_sessions - 1)
        state = SessionState.CLOSED if is_closed else SessionState.BOT
        self.sessions[name] = replace(
            session, state=state, holder_id=None, version=session.version + 1, transfer_id=None
        )
        self.place[name] = CLOSED if is_closed else WITH_BOT
        self.version[name] += 1

    @rule(name=st.sampled_from(list(SLOTS)), status=statuses, lasts_ms=st.none() | st.integers(-1_000, 60_000))
    def set_status(self, name: str, status: AgentStatus, lasts_ms: int | None) -> None:
        until = None if lasts_ms is None else self.clock.now_ms() + lasts_ms
        self.agents[name] = replace(self.agents[name], status=status, status_expires_at=until)
        self.status[name] = (status, float("inf") if until is None else until)

    @rule(by_ms=st.integers(-60_000, 60_000))
    def move_the_clock(self, by_ms: int) -> None:
        self.clock.advance(by_ms)

    def _settle(self, request: AssignRequest, reassign: Reassign) -> None:
        foretold = self._foretell(request, reassign)
        before = (dict(self.sessions), dict(self.agents), dict(self.transfers))
        now_ms, fresh_id = self.clock.now_ms(), self.ids.fresh()
        decision = decide(request, self._situation(request), now_ms=now_ms, fresh_id=fresh_id, reassign=reassign)

        assert _told(decision) == foretold
        self._take(decision, request)
        if not isinstance(decision, Transferred):
            assert (self.sessions, self.agents) == before[:2]
        if isinstance(decision, Repeated | KeyReused):
            assert self.transfers == before[2]

    def _situation(self, request: AssignRequest) -> Situation:
        session = self.sessions.get(request.session_id)
        use = self.keys.get(request.idempotency_key or "")
        is_for_agent = request.target.kind is TargetKind.AGENT
        return Situation(
            session=session,
            target=(self.agents if is_for_agent else self.queues).get(request.target.id),
            holder=self.agents.get(session.holder_id or "") if session else None,
            holding=self.transfers.get(session.transfer_id or "") if session else None,
            keyed=use,
            keyed_transfer=self.transfers[use.transfer_id] if use else None,
        )

    def _foretell(self, request: AssignRequest, reassign: Reassign) -> str:
        key, name, wanted = request.idempotency_key, request.session_id, _place(request.target)
        if key in self.asked:
            first, transfer_id = self.asked[key]
            return f"repeats {transfer_id}" if replace(request, request_id=first.request_id) == first else "key reused"
        if request.org_id != "o-1" or name not in SESSIONS:
            return "session_not_found" if request.org_id == "o-1" else "org_not_found"
        if self.place[name] == CLOSED:
            return "session_closed"
        if self.place[name] == wanted:
            return f"repeats {self.winner[name]}"
        return self._foretell_move(request, reassign) or "transferred"

    def _foretell_move(self, request: AssignRequest, reassign: Reassign) -> str | None:
        kind, target = _place(request.target)
        if target not in {*SLOTS, *QUEUES}:
            return f"{kind}_not_found"
        holder_kind, holder = self.place[request.session_id]
        if request.expected_agent_id not in {None, holder if holder_kind == "agent" else None}:
            return "holder_changed"
        is_robbed = holder_kind == "agent" and request.expected_agent_id is None
        if is_robbed and reassign is Reassign.EXPECTED:
            return "session_already_assigned"
        if kind == "agent" and self._offline(target):
            return "agent_unavailable"
        return "agent_at_capacity" if kind == "agent" and self._load(target) >= SLOTS[target] else None

    def _offline(self, agent: str) -> bool:
        status, until = self.status[agent]
        return status is not AgentStatus.AVAILABLE or self.clock.now_ms() >= until

    def _load(self, agent: str) -> int:
        return list(self.place.values()).count(("agent", agent))

    def _take(self, decision: Decision, request: AssignRequest) -> None:
        if isinstance(decision, KeyReused):
            return
        transfer_id = decision.transfer.transfer_id
        if isinstance(decision, Transferred):
            self._take_holder(decision)
        if isinstance(decision, Repeated):
            assert decision.transfer is self.transfers[transfer_id]
        else:
            assert transfer_id not in self.transfers
            self.transfers[transfer_id] = decision.transfer
        if decision.callback is not None:
            self.callbacks.setdefault(decision.callback.callback_id, decision.callback)
        if decision.key is not None:
            self.keys[decision.key.key] = decision.key
            self.asked[decision.key.key] = (request, transfer_id)

    def _take_holder(self, decision: Transferred) -> None:
        name, transfer = decision.session.session_id, decision.transfer
        self.sessions[name] = decision.session
        self.agents.update({agent.agent_id: agent for agent in decision.agents})
        self.place[name] = _place(transfer.target)
        self.version[name] += 1
        self.winner[name] = transfer.transfer_id

    @invariant()
    def every_session_is_with_the_one_holder_it_should_be_with(self) -> None:
        assert {name: (each.state.value, each.holder_id) for name, each in self.sessions.items()} == self.place

    @invariant()
    def every_agent_counts_what_it_holds_and_no_more_than_its_slots(self) -> None:
        loads = {name: agent.active_sessions for name, agent in self.agents.items()}

        assert loads == {name: self._load(name) for name in SLOTS}
        assert all(loads[name] <= slots for name, slots in SLOTS.items())

    @invariant()
    def every_version_grew_by_one_for_each_change_of_holder(self) -> None:
        assert {name: session.version for name, session in self.sessions.items()} == self.version

    @invariant()
    def every_transfer_has_its_one_callback_and_every_other_is_a_copy_for_another_url(self) -> None:
        first = {callback_id(name) for name in self.transfers}
        copies = [callback for name, callback in self.callbacks.items() if name not in first]

        assert first <= self.callbacks.keys()
        assert all(self.callbacks[callback_id(name)].transfer_id == name for name in self.transfers)
        for copy in copies:
            assert copy.callback_id == callback_id(copy.transfer_id, copy.url)
            assert copy.url != self.transfers[copy.transfer_id].callback_url


def _session(name: str) -> Session:
    return Session(
        **IN_PLACE,
        session_id=name,
        conversation_id=name,
        state=SessionState.BOT,
        holder_id=None,
        version=0,
        transfer_id=None,
    )


def _agent(name: str, slots: int) -> Agent:
    return Agent(
        account_id="acc",
        agent_id=name,
        org_id="o-1",
        status=AgentStatus.AVAILABLE,
        status_expires_at=None,
        max_sessions=slots,
        active_sessions=0,
    )


def _place(target: Target) -> tuple[str, str]:
    return (target.kind.value, target.id)


def _told(decision: Decision) -> str:
    match decision:
        case Transferred():
            return "transferred"
        case Refused(transfer=transfer):
            return transfer.code or "no code"
        case Repeated(transfer=transfer):
            return f"repeats {transfer.transfer_id}"
        case KeyReused():
            return "key reused"


def test_whatever_happens_in_whatever_order_every_invariant_of_the_domain_holds() -> None:
    run_state_machine_as_test(Desk, settings=settings(max_examples=100, stateful_step_count=40, deadline=None))
