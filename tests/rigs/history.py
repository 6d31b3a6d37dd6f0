"""Whether a history keeps what is promised: answers, the store and the callbacks against a sequential model."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from rigs.calls import Heard, Kept, Recorded, Rules, Told
from rigs.order import Search

# Answers that are no outcome: nothing was looked at, and nothing is recorded.
_TURNED_AWAY = frozenset({400, 401, 403, 408, 413, 415, 429})


class Breach(StrEnum):
    """What is broken."""

    LOST = "an acknowledged outcome is not in the store"
    OTHER_ANSWER = "an answer is not what is recorded"
    UNASKED = "a transfer that no call made"
    ORDER = "no order of the calls explains their answers and the store"
    LOAD = "an agent's load is not what it holds"
    UNTOLD = "a callback did not come"
    TOLD_NOBODY = "a callback for no outcome"
    TOLD_TWICE = "an outcome was told under two ids"
    OTHER_CALLBACK = "a callback does not say what is recorded"


@dataclass(frozen=True, slots=True)
class Fault:
    """One breach, and where."""

    breach: Breach
    detail: str

    def __str__(self) -> str:
        return f"{self.breach}: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class History:
    """All that was seen of a run; no call may be under way any more, and no callback wait."""

    told: Sequence[Told]
    kept: Kept
    heard: Sequence[Heard]
    rules: Rules

    @cached_property
    def by_request(self) -> Mapping[str, Recorded]:
        """The transfers by the request that made them."""
        return {one.request_id: one for one in self.kept.transfers}

    @cached_property
    def by_id(self) -> Mapping[str, Recorded]:
        """The transfers by their own ids."""
        return {one.transfer_id: one for one in self.kept.transfers}


def faults(history: History) -> list[Fault]:
    """Everything that is wrong with it; ValueError where it is none that can be checked."""
    _require_whole(history)
    return [*_in_answers(history), *_in_orders(history), *_in_loads(history), *_in_callbacks(history)]


def _require_whole(history: History) -> None:
    requests = Counter(told.call.request_id for told in history.told)
    if requests and max(requests.values()) > 1:
        raise ValueError("two calls have one request id")
    sessions = defaultdict[str, set[str]](set)
    for told in history.told:
        if told.call.key is not None:
            sessions[told.call.key].add(told.call.session)
    if any(len(those) > 1 for those in sessions.values()):
        raise ValueError("an Idempotency-Key is used for two sessions")


def _in_answers(history: History) -> Iterator[Fault]:
    """Each answer against the transfer it names, and each transfer against the calls."""
    for told in history.told:
        answer = told.answer
        if answer is None or (answer.transfer_id is None and not _is_outcome(told)):
            continue
        recorded = history.by_id.get(answer.transfer_id or "")
        if recorded is None:
            yield Fault(Breach.LOST, _line(told))
        elif (answer.status, answer.code, answer.body) != (recorded.status, recorded.code, recorded.body):
            yield Fault(Breach.OTHER_ANSWER, f"{_line(told)}, recorded {recorded.body!r}")
    calls = {told.call.request_id: told.call for told in history.told}
    made = Counter(one.request_id for one in history.kept.transfers)
    for one in history.kept.transfers:
        call = calls.get(one.request_id)
        asked = (call.session, call.agent, call.callback_url) if call else None
        if asked != (one.session, one.agent, one.callback_url) or made[one.request_id] > 1:
            yield Fault(Breach.UNASKED, f"{one.transfer_id} for {one.session}")


def _is_outcome(told: Told) -> bool:
    """Whether the answer is one that is recorded."""
    answer = told.answer
    return answer is not None and answer.status not in _TURNED_AWAY and answer.code != "idempotency_key_reused"


def _in_orders(history: History) -> Iterator[Fault]:
    """Session by session, since no call is about two of them."""
    by_session = defaultdict[str, list[Told]](list)
    for told in history.told:
        if told.call.request_id in history.by_request or _counts(told):
            by_session[told.call.session].append(told)
    for session in {*by_session, *history.kept.sessions}:
        calls = by_session[session]
        steps = [(told, history.by_request.get(told.call.request_id)) for told in calls]
        end = history.kept.sessions.get(session, (None, 0))
        search = Search(steps, end, history.rules)
        if not search.finds_one():
            lines = "".join(f"\n  {_line(told)}" for told in sorted(calls, key=lambda told: told.started))
            yield Fault(
                Breach.ORDER,
                f"{session} with {end[0]} at version {end[1]}, {search.most} of {len(calls)} calls:{lines}",
            )


def _counts(told: Told) -> bool:
    """Whether a call that made no transfer can have been anything to others: answered by an earlier one, or keyed."""
    return told.call.key is not None if told.answer is None else told.answer.status not in _TURNED_AWAY


def _in_loads(history: History) -> Iterator[Fault]:
    held = Counter(holder for holder, _ in history.kept.sessions.values() if holder is not None)
    for agent, slots in history.rules.slots.items():
        load = history.kept.loads.get(agent, 0)
        if load != held[agent] or load > slots:
            yield Fault(Breach.LOAD, f"{agent} counts {load}, holds {held[agent]} and has {slots} slots")


def _in_callbacks(history: History) -> Iterator[Fault]:
    """Each outcome is told at its URL under one id, and a repeat's at its own URL too."""
    due = {(one.transfer_id, one.callback_url) for one in history.kept.transfers}
    won = ((told.answer.transfer_id or "", told) for told in history.told if told.answer and told.answer.status == 200)
    due |= {(transfer_id, told.call.callback_url) for transfer_id, told in won if transfer_id in history.by_id}
    ids = defaultdict[tuple[str, str], set[str]](set)
    for webhook_id, url, body in {(one.webhook_id, one.url, one.body) for one in history.heard}:
        said = json.loads(body)
        recorded = history.by_id.get(said.get("transferId", ""))
        if recorded is None or not ((recorded.transfer_id, url) in due or _may_be_told(history, recorded, url)):
            yield Fault(Breach.TOLD_NOBODY, f"{webhook_id} at {url}: {body!r}")
            continue
        ids[recorded.transfer_id, url].add(webhook_id)
        if not _says(said, recorded, webhook_id):
            yield Fault(Breach.OTHER_CALLBACK, f"{webhook_id}: {body!r}, recorded {recorded.body!r}")
    for (transfer_id, url), those in ids.items():
        if len(those) > 1:
            yield Fault(Breach.TOLD_TWICE, f"{transfer_id} at {url}: {sorted(those)}")
    yield from (Fault(Breach.UNTOLD, f"{transfer_id} at {url}") for transfer_id, url in sorted(due - ids.keys()))
    yield from _in_bodies(history)


def _may_be_told(history: History, recorded: Recorded, url: str) -> bool:
    """Whether a call of unknown outcome can have been a repeat with a URL of its own."""
    return any(
        told.answer is None
        and recorded.code is None
        and (told.call.session, told.call.agent, told.call.callback_url) == (recorded.session, recorded.agent, url)
        for told in history.told
    )


def _says(said: Mapping[str, Any], recorded: Recorded, webhook_id: str) -> bool:
    answer = json.loads(recorded.body)
    expected = {
        "sessionId": recorded.session,
        "agentId": recorded.agent,
        "status": "failed" if recorded.code else "transferred",
        "code": recorded.code,
        "version": None if recorded.code else recorded.version,
        "reason": answer.get("detail"),
    }
    is_of_it = webhook_id.startswith(f"msg_{recorded.transfer_id.removeprefix('tr_')}")
    is_of_time = recorded.code is not None or said.get("requestCompletedAt") == answer["requestCompletedAt"]
    return is_of_it and is_of_time and {name: said.get(name) for name in expected} == expected


def _in_bodies(history: History) -> Iterator[Fault]:
    bodies = defaultdict[str, set[bytes]](set)
    for one in history.heard:
        bodies[one.webhook_id].add(one.body)
    yield from (
        Fault(Breach.OTHER_CALLBACK, f"{name} has two bodies") for name, those in bodies.items() if len(those) > 1
    )


def _line(told: Told) -> str:
    """A call in words, for whoever looks for the fault."""
    call = told.call
    outcome = f"{told.answer.status} {told.answer.body!r}" if told.answer else "unknown"
    more = "".join(f" {name} {value}" for name, value in (("key", call.key), ("expecting", call.expected)) if value)
    return f"{told.started:.4f} to {told.ended:.4f} {call.caller}: {call.session} for {call.agent}{more}: {outcome}"
