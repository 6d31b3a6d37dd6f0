"""Histories as they should be: calls that the domain itself decides in turn, and all that is seen of them."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace

from fakes import FakeClock, FakeIds
from handoff.domain.decide import KeyReused, Refused, Repeated, Situation, Transferred, decide
from handoff.domain.message import problem
from handoff.domain.model import (
    Agent,
    AgentStatus,
    AssignRequest,
    Callback,
    KeyUse,
    Session,
    SessionState,
    Target,
    TargetKind,
    Transfer,
)
from handoff.domain.refusals import Refusal
from handoff.domain.rules import Reassign
from rigs import sample
from rigs.calls import Answer, Call, Heard, Kept, Recorded, Rules, Told
from rigs.history import History

URL = "http://localhost:8009/"
AGENTS = ("a-1", "a-2", "a-3")
SLOTS = 1_000


@dataclass(slots=True)
class Scene:
    """One service and its callers. Calls take effect in the order in which they are told here."""

    reassign: Reassign = Reassign.EXPECTED
    told: list[Told] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    callbacks: dict[str, Callback] = field(default_factory=dict)
    keys: dict[str, KeyUse] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    ids: FakeIds = field(default_factory=FakeIds)

    def call(
        self,
        agent: str,
        *,
        during: tuple[float, float] | None = None,
        session: str = "s-1",
        key: str | None = None,
        expected: str | None = None,
        url: str = URL,
        is_told: bool = True,
    ) -> Told:
        """A call that takes effect now; without `is_told` its caller does not hear of it."""
        call, (started, ended) = self._call(agent, session, key, expected, url), during or self._next()
        answer = self._decide(call)
        told = (
            Told(call=call, started=started, ended=ended, answer=answer)
            if is_told
            else Told(call=call, started=started)
        )
        self.told.append(told)
        return told

    def lose(self, agent: str, *, at: float, session: str = "s-1", key: str | None = None) -> None:
        """A call that never takes effect, and of which its caller hears nothing."""
        self.told.append(Told(call=self._call(agent, session, key, None, URL), started=at))

    def history(self) -> History:
        """What is seen in the end."""
        loads = Counter(session.holder_id for session in self.sessions.values())
        return History(
            told=list(self.told),
            kept=Kept(
                sessions={name: (session.holder_id, session.version) for name, session in self.sessions.items()},
                transfers=[_recorded(transfer) for transfer in self.transfers.values()],
                loads={agent: loads[agent] for agent in AGENTS},
            ),
            heard=[Heard(webhook_id=one.callback_id, url=one.url, body=one.body) for one in self.callbacks.values()],
            rules=Rules(slots=dict.fromkeys(AGENTS, SLOTS), is_reassign_always=self.reassign is Reassign.ALWAYS),
        )

    def _next(self) -> tuple[float, float]:
        return len(self.told), len(self.told) + 0.5

    def _call(self, agent: str, session: str, key: str | None, expected: str | None, url: str) -> Call:
        number = len(self.told)
        return Call(
            caller=f"c-{number}",
            session=session,
            agent=agent,
            callback_url=url,
            request_id=f"r-{number}",
            key=key,
            expected=expected,
        )

    def _decide(self, call: Call) -> Answer:
        session = self.sessions.setdefault(call.session, _session(call.session))
        use = self.keys.get(call.key or "")
        self.clock.advance(1)
        decision = decide(
            _request(call),
            Situation(
                session=session,
                target=_agent(call.agent),
                holder=_agent(session.holder_id) if session.holder_id else None,
                holding=self.transfers.get(session.transfer_id or ""),
                keyed=use,
                keyed_transfer=self.transfers[use.transfer_id] if use else None,
            ),
            now_ms=self.clock.now_ms(),
            fresh_id=self.ids.fresh(),
            reassign=self.reassign,
        )
        if isinstance(decision, KeyReused):
            body = problem(Refusal.IDEMPOTENCY_KEY_REUSED, "")
            return Answer(status=422, code="idempotency_key_reused", body=body, transfer_id=None)
        if isinstance(decision, Transferred):
            self.sessions[call.session] = decision.session
        self._note(decision)
        transfer = decision.transfer
        return Answer(status=transfer.status, code=transfer.code, body=transfer.body, transfer_id=transfer.transfer_id)

    def _note(self, decision: Transferred | Refused | Repeated) -> None:
        self.transfers.setdefault(decision.transfer.transfer_id, decision.transfer)
        if decision.callback is not None:
            self.callbacks.setdefault(decision.callback.callback_id, decision.callback)
        if decision.key is not None:
            self.keys[decision.key.key] = decision.key


def _request(call: Call) -> AssignRequest:
    return AssignRequest(
        account_id=sample.ACCOUNT,
        app_id=sample.APP,
        stream_id=sample.STREAM,
        stream_org_id=sample.ORG,
        org_id=sample.ORG,
        session_id=call.session,
        target=Target(TargetKind.AGENT, call.agent),
        callback_url=call.callback_url,
        expected_agent_id=call.expected,
        idempotency_key=call.key,
        request_id=call.request_id,
    )


def _session(name: str) -> Session:
    return Session(
        account_id=sample.ACCOUNT,
        session_id=name,
        conversation_id=f"c-{name}",
        stream_id=sample.STREAM,
        org_id=sample.ORG,
        state=SessionState.BOT,
        holder_id=None,
        version=0,
        transfer_id=None,
    )


def _agent(name: str) -> Agent | None:
    if name not in AGENTS:
        return None
    return Agent(
        account_id=sample.ACCOUNT,
        agent_id=name,
        org_id=sample.ORG,
        status=AgentStatus.AVAILABLE,
        status_expires_at=None,
        max_sessions=SLOTS,
        active_sessions=1,
    )


def _recorded(transfer: Transfer) -> Recorded:
    return Recorded(
        transfer_id=transfer.transfer_id,
        session=transfer.session_id,
        agent=transfer.target.id,
        request_id=transfer.request_id,
        callback_url=transfer.callback_url,
        status=transfer.status,
        code=transfer.code,
        version=transfer.version,
        holder=json.loads(transfer.body).get("agentId") if transfer.code else None,
        body=transfer.body,
    )


def spoilt(history: History, *, told: Told | None = None, place: int = -1, **kept: object) -> History:
    """The history with one call's record in place of another, and other things in the store."""
    calls = list(history.told)
    if told is not None:
        calls[place] = told
    return replace(history, told=calls, kept=replace(history.kept, **kept))  # type: ignore[arg-type] # by its own names
