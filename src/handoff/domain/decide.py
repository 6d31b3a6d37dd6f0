"""What becomes of one request: a pure function of the request and of what the store holds, under lock."""

from dataclasses import dataclass, replace

from handoff.domain import ids, message, rules
from handoff.domain.address_policy import lane_of
from handoff.domain.fact import fact
from handoff.domain.model import (
    Agent,
    AssignRequest,
    Callback,
    KeyUse,
    PassedOver,
    Queue,
    Session,
    SessionState,
    Target,
    Transfer,
)
from handoff.domain.retry import LIFETIME_MS
from handoff.domain.rules import No, Reassign


@fact
class Situation:
    """What the store holds about one request.

    `target` is the named agent or queue, `fallback` those named after it, in their order; `holder` the agent who has
    the session now; `holding` the transfer by which its present holder got it; `keyed` and `keyed_transfer` what the
    request's Idempotency-Key was used for.
    """

    session: Session | None
    target: Agent | Queue | None
    fallback: tuple[Agent | Queue | None, ...] = ()
    holder: Agent | None = None
    holding: Transfer | None = None
    keyed: KeyUse | None = None
    keyed_transfer: Transfer | None = None


@fact
class Transferred:
    """The session changed hands. `session` and `agents` are the new facts to write."""

    transfer: Transfer
    callback: Callback
    session: Session
    agents: tuple[Agent, ...]
    key: KeyUse | None = None


@fact
class Refused:
    """An outcome that is recorded and told, and changes nobody's holdings."""

    transfer: Transfer
    callback: Callback
    key: KeyUse | None = None


@fact
class Repeated:
    """The request was decided before: the recorded answer stands.

    `callback` is a copy of the message for a URL that was not told yet, else None.
    """

    transfer: Transfer
    callback: Callback | None = None
    key: KeyUse | None = None


@fact
class KeyReused:
    """The Idempotency-Key is taken by another request; nothing is recorded."""


Decision = Transferred | Refused | Repeated | KeyReused


def decide(request: AssignRequest, situation: Situation, *, now_ms: int, fresh_id: str, reassign: Reassign) -> Decision:
    """Decide one request at `now_ms` (epoch milliseconds); `fresh_id` is the UUIDv7 of its transfer."""
    if situation.keyed is not None and situation.keyed_transfer is not None:
        same = situation.keyed.fingerprint == request.fingerprint()
        return Repeated(transfer=situation.keyed_transfer) if same else KeyReused()
    no = rules.place_refusal(request, situation.session)
    if no is None and situation.holding is not None and _is_with(request.target, situation.session):
        return _repeat(request, situation.holding, now_ms)
    no = no or rules.target_refusal(request, request.target, situation.target)
    no = no or rules.holder_refusal(request, situation.session, reassign)
    if no is not None and no.names_holder and situation.holding is not None and _is_with_fallback(request, situation):
        return _repeat(request, situation.holding, now_ms)
    no = no or rules.load_refusal(situation.target, now_ms)
    transfer_id = ids.transfer_id(fresh_id)
    if no is None:
        return _transfer(request, situation, _Choice(request.target, situation.target), now_ms, transfer_id)
    if no.refusal in rules.FALLS_BACK:
        return _fall_back(request, situation, no, now_ms, transfer_id)
    return _refuse(request, situation.session, no, now_ms, transfer_id)


def _is_with(target: Target, session: Session | None) -> bool:
    return session is not None and session.is_with(target)


def _is_with_fallback(request: AssignRequest, situation: Situation) -> bool:
    return any(_is_with(target, situation.session) for target in request.fallback)


@dataclass(frozen=True, slots=True)
class _Choice:
    """The target to take, what the store holds of it, and those that were named before it."""

    target: Target
    found: Agent | Queue | None
    passed_over: tuple[PassedOver, ...] = ()


def _fall_back(
    request: AssignRequest, situation: Situation, first: No, now_ms: int, transfer_id: str
) -> Transferred | Refused | Repeated:
    """Try the further targets, in order; the first target's refusal stands where none can be taken."""
    passed_over = [PassedOver(request.target, first.refusal.code)]
    sentences = [first.detail]
    for target, found in zip(request.fallback, situation.fallback, strict=True):
        if situation.holding is not None and _is_with(target, situation.session):
            return _repeat(request, situation.holding, now_ms)
        no = rules.target_refusal(request, target, found) or rules.load_refusal(found, now_ms)
        if no is None:
            choice = _Choice(target, found, tuple(passed_over))
            return _transfer(request, situation, choice, now_ms, transfer_id)
        passed_over.append(PassedOver(target, no.refusal.code))
        sentences.append(no.detail)
    no = replace(first, detail=" ".join(sentences))
    return _refuse(request, situation.session, no, now_ms, transfer_id, tuple(passed_over[1:]))


def _transfer(
    request: AssignRequest, situation: Situation, choice: _Choice, now_ms: int, transfer_id: str
) -> Transferred:
    before = situation.session
    assert before is not None  # noqa: S101 (an unknown session was refused above)
    # In full, since it is done for every call: `dataclasses.replace` takes three times as long.
    after = Session(
        account_id=before.account_id,
        session_id=before.session_id,
        conversation_id=before.conversation_id,
        stream_id=before.stream_id,
        org_id=before.org_id,
        state=SessionState(choice.target.kind.value),
        holder_id=choice.target.id,
        version=before.version + 1,
        transfer_id=transfer_id,
    )
    transfer = _record(
        request,
        before,
        target=choice.target,
        passed_over=choice.passed_over,
        transfer_id=transfer_id,
        now_ms=now_ms,
        status=200,
        code=None,
        version=after.version,
        body=message.answer(request.session_id, choice.target, now_ms),
    )
    return Transferred(
        transfer=transfer,
        callback=_callback(transfer, message.success_callback(transfer)),
        session=after,
        agents=_shifted_load(situation.holder, choice.found),
        key=_key(request, transfer_id, now_ms),
    )


def _shifted_load(freed: Agent | None, taken: Agent | Queue | None) -> tuple[Agent, ...]:
    changed: list[Agent] = []
    if freed is not None:
        changed.append(freed.with_load(freed.active_sessions - 1))
    if isinstance(taken, Agent):
        changed.append(taken.with_load(taken.active_sessions + 1))
    return tuple(changed)


def _refuse(
    request: AssignRequest,
    session: Session | None,
    no: No,
    now_ms: int,
    transfer_id: str,
    passed_over: tuple[PassedOver, ...] = (),
) -> Refused:
    members: dict[str, object] = {}
    if no.refusal in rules.OUT_OF_PLACE:
        session = None  # it may be another stream's, of which nothing is told
    if session is not None and no.names_holder:
        members = message.holder_members(session.state, session.holder_id, session.version)
    if passed_over:
        members = {"passedOver": message.passed_over(passed_over)}
    transfer = _record(
        request,
        session,
        target=request.target,
        passed_over=passed_over,
        transfer_id=transfer_id,
        now_ms=now_ms,
        status=no.refusal.status,
        code=no.refusal.code,
        version=session.version if session is not None and no.names_holder else None,
        body=message.problem(no.refusal, no.detail, members),
    )
    return Refused(
        transfer=transfer,
        callback=_callback(transfer, message.failure_callback(transfer, no.detail)),
        key=_key(request, transfer_id, now_ms),
    )


def _record(
    request: AssignRequest,
    before: Session | None,
    *,
    target: Target,
    passed_over: tuple[PassedOver, ...],
    transfer_id: str,
    now_ms: int,
    status: int,
    code: str | None,
    version: int | None,
    body: bytes,
) -> Transfer:
    return Transfer(
        account_id=request.account_id,
        transfer_id=transfer_id,
        app_id=request.app_id,
        stream_id=request.stream_id,
        org_id=request.org_id,
        session_id=request.session_id,
        target=target,
        expected_agent_id=request.expected_agent_id,
        previous_state=before.state if before else None,
        previous_holder_id=before.holder_id if before else None,
        status=status,
        code=code,
        version=version,
        completed_at=now_ms,
        callback_url=request.callback_url,
        request_id=request.request_id,
        body=body,
        passed_over=passed_over,
    )


def _repeat(request: AssignRequest, holding: Transfer, now_ms: int) -> Repeated:
    if request.callback_url == holding.callback_url:
        return Repeated(transfer=holding, key=_key(request, holding.transfer_id, now_ms))
    first = _callback(holding, message.success_callback(holding))
    copy = replace(
        first,
        callback_id=ids.callback_id(holding.transfer_id, request.callback_url),
        app_id=request.app_id,
        url=request.callback_url,
        lane=lane_of(request.callback_url),
        due_at=now_ms,
        expires_at=now_ms + LIFETIME_MS,
    )
    return Repeated(transfer=holding, callback=copy, key=_key(request, holding.transfer_id, now_ms))


def _key(request: AssignRequest, transfer_id: str, now_ms: int) -> KeyUse | None:
    if request.idempotency_key is None:
        return None
    return KeyUse(
        account_id=request.account_id,
        app_id=request.app_id,
        key=request.idempotency_key,
        fingerprint=request.fingerprint(),
        transfer_id=transfer_id,
        created_at=now_ms,
    )


def _callback(transfer: Transfer, body: bytes) -> Callback:
    return Callback(
        account_id=transfer.account_id,
        callback_id=ids.callback_id(transfer.transfer_id),
        transfer_id=transfer.transfer_id,
        app_id=transfer.app_id,
        url=transfer.callback_url,
        lane=lane_of(transfer.callback_url),
        body=body,
        due_at=transfer.completed_at,
        expires_at=transfer.completed_at + LIFETIME_MS,
    )
