"""Any calls that the domain decides one after another are a history that is taken, and one lie in it is found."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from handoff.domain.rules import Reassign
from rigs.calls import Told
from rigs.history import History, faults
from rigs.scene import URL, Scene, spoilt

SESSIONS: Final = ("s-1", "s-2")
URLS: Final = (URL, URL, "http://localhost:8010/")
# One call takes effect per second, and takes so many more around that moment at the most.
SPREAD_S: Final = 4.0


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Up to a dozen calls of two sessions that overlap, some of unknown outcome, some that came to nothing."""
    scene = Scene(reassign=draw(st.sampled_from(Reassign)))
    spread = st.floats(0, SPREAD_S)
    for at in range(draw(st.integers(1, 12))):
        session = draw(st.sampled_from(SESSIONS))
        agent = draw(st.sampled_from(["a-1", "a-2", "a-3", "a-1", "a-2", "a-9"]))
        key = draw(st.none() | st.sampled_from([f"{session}-k", f"{session}-l"]))
        started, ended = at - draw(spread), at + draw(spread)
        if draw(st.integers(0, 4)) == 0:
            scene.lose(agent, at=started, session=session, key=key)
            continue
        scene.call(
            agent,
            during=(started, ended),
            session=session,
            key=key,
            expected=draw(st.sampled_from([None, None, "a-1", "a-2"])),
            url=draw(st.sampled_from(URLS)),
            is_told=draw(st.integers(0, 3)) > 0,
        )
    return scene


def a_win_is_lost(history: History, told: Told) -> History:
    lost = told.answer.transfer_id if told.answer else None
    return spoilt(history, transfers=[one for one in history.kept.transfers if one.transfer_id != lost])


def the_bytes_differ(history: History, told: Told) -> History:
    assert told.answer is not None
    place = history.told.index(told)
    return spoilt(history, place=place, told=replace(told, answer=replace(told.answer, body=told.answer.body + b" ")))


def the_holder_changes(history: History, told: Told) -> History:
    holder, version = history.kept.sessions[told.call.session]
    assert holder is not None
    other = "a-1" if holder != "a-1" else "a-2"
    return spoilt(history, sessions={**history.kept.sessions, told.call.session: (other, version)})


def a_version_is_skipped(history: History, told: Told) -> History:
    holder, version = history.kept.sessions[told.call.session]
    return spoilt(history, sessions={**history.kept.sessions, told.call.session: (holder, version + 1)})


def it_is_told_as_of_before_it_was_done(history: History, told: Told) -> History:
    """Somebody had the answer of a repeat before the call that it repeats was begun."""
    made = next(one for one in history.kept.transfers if told.answer and one.transfer_id == told.answer.transfer_id)
    first = next(one for one in history.told if one.call.request_id == made.request_id)
    early = replace(told, started=first.started - 2, ended=first.started - 1)
    return replace(
        history, told=[*history.told, replace(early, call=replace(told.call, request_id="r-early", key=None))]
    )


def nobody_is_called_back(history: History, told: Told) -> History:
    made = str(told.answer and told.answer.transfer_id)
    return replace(history, heard=[one for one in history.heard if made not in one.body.decode()])


LIES: Final[tuple[Callable[[History, Told], History], ...]] = (
    a_win_is_lost,
    the_bytes_differ,
    the_holder_changes,
    a_version_is_skipped,
    it_is_told_as_of_before_it_was_done,
    nobody_is_called_back,
)


@settings(deadline=None, max_examples=300)
@given(scenes())
def test_calls_that_are_decided_one_after_another_are_taken(scene: Scene) -> None:
    assert faults(scene.history()) == []


@settings(deadline=None, max_examples=300)
@given(scenes(), st.sampled_from(LIES), st.data())
def test_one_lie_is_found(scene: Scene, lie: Callable[[History, Told], History], data: st.DataObject) -> None:
    won = [told for told in scene.told if told.answer is not None and told.answer.status == 200]
    assume(won)

    history = lie(scene.history(), data.draw(st.sampled_from(won)))

    assert faults(history) != []
