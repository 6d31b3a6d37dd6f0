"""What this dispatcher knows of its lanes, and how it shares its slots out among those that have something due."""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from handoff.domain.lane import Lane, share
from handoff.domain.retry import Attempt
from handoff.service.ports import ClaimedCallback, DueLane, LaneShare

# Lanes that are remembered: one that is forgotten begins anew, as an unknown one.
_REMEMBERED: Final = 10_000
# Of all slots, the part that one lane may take while nobody else wants any: the rest meets the next arrival at once.
_LONE_SHARE: Final = 0.75
# First attempts keep at least this part of the slots, so that a pile of retries delays no news.
_FRESH_SHARE: Final = 0.5

_UNKNOWN: Final = Lane()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPlan:
    """What to claim by, once: `slots` are free, `retry_slots` of them at most for retries.

    `in_flight` and `lanes` are looked at, not copied, which many lanes would make dear: while the claim is under way
    attempts may end and teach about their lanes, and none begins.
    """

    slots: int
    retry_slots: int
    lone_limit: int
    in_flight: Mapping[str, int]
    lanes: Mapping[str, Lane]
    now_ms: int

    def shares(self, due: Sequence[DueLane]) -> Mapping[str, LaneShare]:
        """How many first attempts and how many retries to claim of each lane; first attempts come first."""
        is_lone = len(due) == 1
        rooms = {lane.name: self._room(lane.name, is_lone=is_lone) for lane in due}
        fresh = share(self.slots, {lane.name: rooms[lane.name] for lane in due if lane.has_fresh})
        left = min(self.slots - sum(fresh.values()), self.retry_slots)
        retries = share(
            left, {lane.name: rooms[lane.name] - fresh.get(lane.name, 0) for lane in due if lane.has_retries}
        )
        return {
            name: LaneShare(fresh=fresh.get(name, 0), retries=retries.get(name, 0)) for name in {**fresh, **retries}
        }

    def _room(self, name: str, *, is_lone: bool) -> int:
        lane = self.lanes.get(name, _UNKNOWN)
        in_flight = self.in_flight.get(name, 0)
        room = lane.room(in_flight, self.now_ms)
        return max(room, self.lone_limit - in_flight) if room and is_lone and lane.has_answered else room


class Lanes:
    """The state of every lane, as this dispatcher has seen it. Used from the event loop."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._lanes: OrderedDict[str, Lane] = OrderedDict()  # the last one learned about comes last
        self._in_flight: Counter[str] = Counter()
        self._retries = 0

    @property
    def free(self) -> int:
        """Slots in which an attempt may begin."""
        return self._slots - self._in_flight.total()

    def open_count(self, now_ms: int) -> int:
        """How many lanes the breaker holds back."""
        return sum(lane.is_open(now_ms) for lane in self._lanes.values())

    def plan(self, now_ms: int) -> SlotPlan:
        """What may be claimed now."""
        retry_limit = max(1, int(self._slots * (1 - _FRESH_SHARE)))  # of one slot in all, half would be none for ever
        return SlotPlan(
            slots=self.free,
            retry_slots=max(0, retry_limit - self._retries),
            lone_limit=int(self._slots * _LONE_SHARE),
            in_flight=self._in_flight,
            lanes=self._lanes,
            now_ms=now_ms,
        )

    def begin(self, claimed: ClaimedCallback) -> None:
        """An attempt begins."""
        self._in_flight[claimed.lane] += 1
        self._retries += claimed.is_retry

    def end(self, claimed: ClaimedCallback) -> None:
        """The attempt is over, however it ended."""
        self._in_flight[claimed.lane] -= 1
        if not self._in_flight[claimed.lane]:
            del self._in_flight[claimed.lane]
        self._retries -= claimed.is_retry

    def learn(self, name: str, attempt: Attempt, now_ms: int) -> None:
        """What the attempt tells about its lane."""
        # A lane is never absent meanwhile: the store's thread may look at any moment.
        self._lanes[name] = self._lanes.get(name, _UNKNOWN).after(attempt, now_ms)
        self._lanes.move_to_end(name)
        if len(self._lanes) > _REMEMBERED:
            self._lanes.popitem(last=False)
