"""Whether the calls of one session can have happened one after another, by the rules, at a moment within each.

The search is that of Wing and Gong (1993) with the memory of Lowe (2017): a state that was seen after the same calls
is not tried again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from rigs.calls import Call, Fingerprint, Recorded, Rules, Told

_KEY_REUSED = "idempotency_key_reused"


@dataclass(frozen=True, slots=True)
class Use:
    """What an Idempotency-Key was first used for, and the transfer that answers it."""

    key: str
    fingerprint: Fingerprint
    transfer_id: str


@dataclass(frozen=True, slots=True)
class State:
    """The sequential model: a session that is with the bot at first. `holding` is the transfer the holder got it by."""

    holder: str | None = None
    version: int = 0
    holding: str | None = None
    uses: frozenset[Use] = frozenset()

    def use_of(self, key: str | None) -> Use | None:
        return next((use for use in self.uses if use.key == key), None)

    def answered(self, call: Call, transfer_id: str) -> "State":
        """After the call was answered by this transfer, which its key stands for from now on."""
        if call.key is None:
            return self
        return replace(self, uses=self.uses | {Use(call.key, call.fingerprint, transfer_id)})


# A call, and the transfer that its request made.
Step: TypeAlias = tuple[Told, Recorded | None]


def after(step: Step, state: State, rules: Rules) -> State | None:
    """The state once the call has taken effect in this one; None where by the rules it had another outcome."""
    (told, made), call = step, step[0].call
    use = state.use_of(call.key)
    if use is not None:
        if call.fingerprint != use.fingerprint:
            is_told_so = told.answer is None or told.answer.code == _KEY_REUSED
            return state if made is None and is_told_so else None
        return state if made is None and _is_told(told, use.transfer_id) else None
    if state.holder == call.agent and state.holding is not None:
        repeats = made is None and _is_told(told, state.holding)
        return state.answered(call, state.holding) if repeats else None
    if made is None or not _is_told(told, made.transfer_id) or not _is_ruled(made, call, state, rules):
        return None
    if made.code is None:
        state = replace(state, holder=call.agent, version=state.version + 1, holding=made.transfer_id)
    return state.answered(call, made.transfer_id)


def _is_told(told: Told, transfer_id: str) -> bool:
    return told.answer is None or told.answer.transfer_id == transfer_id


def _is_ruled(made: Recorded, call: Call, state: State, rules: Rules) -> bool:
    """Whether a call for another agent than the holder comes to this: code, version and who is named."""
    told = (made.code, made.version, made.holder)
    if call.agent not in rules.slots:
        return told == ("agent_not_found", None, None)
    if call.expected not in {None, state.holder}:
        return told == ("holder_changed", state.version, state.holder)
    if state.holder is not None and call.expected is None and not rules.is_reassign_always:
        return told == ("session_already_assigned", state.version, state.holder)
    if not rules.has_room and made.code in {"agent_unavailable", "agent_at_capacity"}:
        return told[1:] == (None, None)
    return told == (None, state.version + 1, None)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a search stands: the steps that are left, as bits, and the state after the others."""

    left: int
    state: State


class Search:
    """Looks for an order of the steps of one session that ends with this holder and version.

    A call of unknown outcome that made no transfer may be left out; whatever made one took effect.
    """

    def __init__(self, steps: Sequence[Step], end: tuple[str | None, int], rules: Rules) -> None:
        self._steps = sorted(steps, key=lambda step: step[0].started)
        self._end = end
        self._rules = rules
        self._needed = sum(1 << place for place, step in enumerate(self._steps) if _is_needed(step))
        self.most = 0

    def finds_one(self) -> bool:
        """Whether there is an order; `most` is then, or else, how many calls the longest had."""
        start = _Place((1 << len(self._steps)) - 1, State())
        seen, waiting = set[_Place](), [start]
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            self.most = max(self.most, len(self._steps) - here.left.bit_count())
            if not here.left & self._needed and (here.state.holder, here.state.version) == self._end:
                return True
            waiting.extend(self._next(here))
        return False

    def _next(self, here: _Place) -> Sequence[_Place]:
        """Where one more step leads to. One that changes nothing is taken at once: it stands in nobody's way."""
        found = []
        for place in self._open(here.left):
            state = after(self._steps[place], here.state, self._rules)
            if state is None:
                continue
            then = _Place(here.left & ~(1 << place), state)
            if state == here.state:
                return [then]
            found.append(then)
        return found

    def _open(self, left: int) -> Iterator[int]:
        """The steps that may come next: those begun before any other that is left was answered."""
        places = list(_bits(left))
        first_end = min(self._steps[place][0].ended for place in places) if places else 0.0
        return (place for place in places if self._steps[place][0].started <= first_end)


def _is_needed(step: Step) -> bool:
    told, made = step
    return told.answer is not None or made is not None


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest.bit_length() - 1
        number ^= lowest
