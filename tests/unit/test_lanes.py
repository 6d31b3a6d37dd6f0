"""How one origin's traffic is bounded, and how slots are shared out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.domain.lane import MAX_CAP, MIN_CAP, Lane, share
from handoff.domain.retry import Attempt, ErrorClass
from handoff.service.lanes import Lanes
from handoff.service.ports import DueLane, LaneShare
from rigs import facts

OK = Attempt(started_at=0, duration_ms=1, status=204)
BUSY = Attempt(started_at=0, duration_ms=1, status=503)
DOWN = Attempt(started_at=0, duration_ms=1, error=ErrorClass.CONNECT)
NOW = 1_000_000
FRESH = replace(facts.CLAIMED, lane="a")


def after(lane: Lane, *attempts: Attempt, now_ms: int = NOW) -> Lane:
    for attempt in attempts:
        lane = lane.after(attempt, now_ms)
    return lane


def due(*names: str, has_fresh: bool = True, has_retries: bool = False) -> list[DueLane]:
    return [DueLane(name=name, has_fresh=has_fresh, has_retries=has_retries) for name in names]


def test_the_cap_grows_step_by_step_while_a_lane_answers_and_halves_when_it_is_busy() -> None:
    grown = after(Lane(), *[OK] * 1_000)

    assert grown.cap == MAX_CAP
    assert after(Lane(), OK).cap < after(Lane(), OK, OK).cap
    assert after(grown, BUSY).cap == MAX_CAP / 2
    assert after(grown, *[BUSY] * 20).cap == MIN_CAP


def test_five_transport_errors_in_a_row_open_the_breaker_and_four_do_not() -> None:
    assert after(Lane(), *[DOWN] * 4).room(0, NOW) > 0
    opened = after(Lane(), *[DOWN] * 5)
    assert opened.is_open(NOW)
    assert opened.room(0, NOW + 1_999) == 0


def test_an_answer_of_any_status_closes_the_breaker() -> None:
    probing = after(Lane(), *[DOWN] * 5)

    closed = after(probing, Attempt(started_at=0, duration_ms=1, status=500), now_ms=NOW + 2_000)

    assert not closed.is_open(NOW + 2_000)
    assert closed.room(0, NOW + 2_000) > 1
    assert after(Lane(), DOWN, DOWN, OK, DOWN, DOWN).errors == 2


def test_after_the_pause_one_probe_may_begin_and_each_failed_one_doubles_the_pause() -> None:
    lane = after(Lane(), *[DOWN] * 5)
    now = NOW
    pauses = []
    for _ in range(8):
        pauses.append(lane.blocked_until - now)
        now = lane.blocked_until
        assert lane.room(0, now) == 1
        assert lane.room(1, now) == 0
        lane = lane.after(DOWN, now)

    assert pauses == [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]


def test_each_transport_error_halves_the_cap_and_takes_the_lane_for_one_that_has_not_answered() -> None:
    answering = after(Lane(), *[OK] * 200)
    failed = [after(answering, *[DOWN] * errors) for errors in range(1, 7)]

    assert answering.has_answered
    assert [lane.has_answered for lane in failed] == [False] * 6
    assert [lane.cap for lane in failed] == [32, 16, 8, 8, 8, 8]
    assert [lane.errors for lane in failed] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("status", [302, 404, 410, 500])
def test_an_answer_that_is_neither_good_nor_busy_leaves_the_cap_and_blocks_nothing(status: int) -> None:
    cooled = after(Lane(cap=20), Attempt(started_at=0, duration_ms=1, status=429, retry_after_ms=1_000))

    answered = after(cooled, Attempt(started_at=0, duration_ms=1, status=status))

    assert (cooled.cap, answered.cap) == (10, 10)
    assert (cooled.blocked_until, answered.blocked_until) == (NOW + 1_000, 0)


def test_errors_of_attempts_that_were_under_way_do_not_lengthen_the_pause() -> None:
    assert after(Lane(), *[DOWN] * 16).blocked_until == NOW + 2_000


def test_a_refused_address_says_nothing_about_the_lane() -> None:
    refused = Attempt(started_at=0, duration_ms=0, error=ErrorClass.ADDRESS)

    assert after(Lane(), *[refused] * 20) == Lane()


@pytest.mark.parametrize(("asked_ms", "cooled_ms"), [(1_000, 1_000), (60_000, 60_000), (3_600_000, 60_000)])
def test_retry_after_cools_the_lane_for_a_minute_at_most(asked_ms: int, cooled_ms: int) -> None:
    lane = after(Lane(), Attempt(started_at=0, duration_ms=1, status=429, retry_after_ms=asked_ms))

    assert lane.room(0, NOW + cooled_ms - 1) == 0
    assert lane.room(0, NOW + cooled_ms) > 0
    assert not lane.is_open(NOW)


@pytest.mark.parametrize("how", [[DOWN] * 5, [Attempt(started_at=0, duration_ms=1, status=429, retry_after_ms=60_000)]])
def test_a_clock_that_is_set_back_blocks_a_lane_for_no_longer_than_a_minute(how: list[Attempt]) -> None:
    lane = after(Lane(), *how)

    assert lane.room(0, NOW) == 0
    assert lane.room(0, NOW - 60_001) > 0
    assert not lane.is_open(NOW - 60_001)


@given(st.integers(0, 200), st.dictionaries(st.text(min_size=1, max_size=2), st.integers(-2, 80), max_size=12))
def test_shares_are_max_min_fair_and_waste_nothing(slots: int, rooms: dict[str, int]) -> None:
    shares = share(slots, rooms)

    assert all(0 < given_ <= rooms[lane] for lane, given_ in shares.items())
    assert sum(shares.values()) == min(slots, sum(room for room in rooms.values() if room > 0))
    unfilled = [shares.get(lane, 0) for lane, room in rooms.items() if room > shares.get(lane, 0)]
    assert max(shares.values(), default=0) <= min(unfilled, default=10_000) + 1


def test_an_unknown_lane_gets_few_slots_even_alone_and_a_proven_one_most_but_not_all() -> None:
    lanes = Lanes(128)
    unknown = lanes.plan(NOW).shares(due("a"))["a"].fresh
    lanes.learn("a", OK, NOW)
    alone = lanes.plan(NOW).shares(due("a"))["a"].fresh
    in_company = lanes.plan(NOW).shares(due("a", "b"))["a"].fresh

    assert (unknown, alone, in_company) == (16, 96, 16)


def test_retries_get_half_of_the_slots_at_most_and_first_attempts_go_before_them() -> None:
    lanes = Lanes(20)
    names = [f"lane-{number}" for number in range(10)]

    both = lanes.plan(NOW).shares(due(*names, has_retries=True))
    retries_only = lanes.plan(NOW).shares(due(*names, has_fresh=False, has_retries=True))

    assert sum(one.fresh for one in both.values()) == 20
    assert sum(one.retries for one in both.values()) == 0
    assert sum(one.retries for one in retries_only.values()) == 10


def test_attempts_under_way_take_room_until_they_end() -> None:
    lanes = Lanes(32)
    for _ in range(16):
        lanes.begin(facts.CLAIMED)

    assert lanes.free == 16
    assert lanes.plan(NOW).shares(due(facts.CLAIMED.lane)) == {}
    for _ in range(16):
        lanes.end(facts.CLAIMED)
    assert lanes.free == 32
    assert lanes.plan(NOW).shares(due(facts.CLAIMED.lane))[facts.CLAIMED.lane].fresh == 16


def test_a_lanes_retries_get_the_room_that_its_first_attempts_leave() -> None:
    plan = Lanes(40).plan(NOW)

    shares = plan.shares([*due("a", has_retries=True), *due("b", has_fresh=False, has_retries=True)])

    assert shares == {"a": LaneShare(fresh=16, retries=0), "b": LaneShare(fresh=0, retries=16)}


def test_a_proven_lane_that_is_alone_gets_what_its_attempts_under_way_leave_of_most_slots() -> None:
    lanes = Lanes(40)
    lanes.learn("a", OK, NOW)
    for _ in range(10):
        lanes.begin(FRESH)

    assert lanes.plan(NOW).shares(due("a")) == {"a": LaneShare(fresh=20, retries=0)}


def test_each_retry_takes_one_of_the_slots_for_retries_while_it_is_under_way() -> None:
    lanes = Lanes(8)
    retry = replace(FRESH, is_retry=True)
    left = []
    for act in (*[lanes.begin] * 5, *[lanes.end] * 5):
        act(retry)
        left.append(lanes.plan(NOW).retry_slots)
        lanes.begin(FRESH)
        lanes.end(FRESH)

    assert left == [3, 2, 1, 0, 0, 0, 1, 2, 3, 4]
    assert [Lanes(slots).plan(NOW).retry_slots for slots in (1, 2, 3, 4)] == [1, 1, 1, 2]


def test_a_lane_with_nothing_under_way_is_not_kept_among_those_that_have() -> None:
    lanes = Lanes(8)
    kept = []
    for act in (lanes.begin, lanes.begin, lanes.end, lanes.end):
        act(FRESH)
        kept.append(dict(lanes.plan(NOW).in_flight))

    assert kept == [{"a": 1}, {"a": 2}, {"a": 1}, {}]


def test_open_lanes_are_counted() -> None:
    lanes = Lanes(32)
    for _ in range(5):
        lanes.learn("a", DOWN, NOW)
    lanes.learn("b", OK, NOW)

    assert lanes.open_count(NOW) == 1
    assert lanes.open_count(NOW + 2_000) == 0


def test_a_dispatcher_with_one_slot_makes_retries_too_after_first_attempts() -> None:
    plan = Lanes(1).plan(NOW)

    assert plan.shares(due("a", has_fresh=False, has_retries=True))["a"].retries == 1
    assert plan.shares(due("a", has_retries=True))["a"].retries == 0


def test_of_ten_thousand_lanes_the_one_nothing_was_heard_of_for_longest_is_forgotten() -> None:
    lanes = Lanes(128)
    for _ in range(5):
        lanes.learn("first", DOWN, NOW)
        lanes.learn("second", DOWN, NOW)
    lanes.learn("first", DOWN, NOW)
    for number in range(9_999):
        lanes.learn(f"lane-{number}", OK, NOW)

    assert lanes.plan(NOW).shares(due("first")) == {}
    assert lanes.plan(NOW).shares(due("second"))["second"].fresh == 16
