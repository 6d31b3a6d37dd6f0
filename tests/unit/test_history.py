"""The checker of histories takes what the rules allow, and names what they do not."""

import json
from dataclasses import replace

import pytest

from handoff.domain.rules import Reassign
from rigs.calls import Answer, Told
from rigs.history import Breach, History, faults
from rigs.scene import URL, Scene, spoilt

OTHER_URL = "http://localhost:8010/"


def breaches(history: History) -> set[Breach]:
    return {fault.breach for fault in faults(history)}


def answered(told: Told, **changes: object) -> Told:
    """The same call, with an answer that differs."""
    assert told.answer is not None
    return replace(told, answer=replace(told.answer, **changes))  # type: ignore[arg-type] # by its own names


def without(history: History, *transfers: str) -> History:
    """A store that lost these transfers."""
    return spoilt(history, transfers=[one for one in history.kept.transfers if one.transfer_id not in transfers])


# --- histories that keep every promise


def test_a_winner_and_one_who_is_told_who_won_are_taken() -> None:
    scene = Scene()
    scene.call("a-1", during=(0, 3))
    scene.call("a-2", during=(0, 2))

    assert faults(scene.history()) == []


def test_a_session_that_nobody_asked_for_is_with_the_bot() -> None:
    history = spoilt(Scene().history(), sessions={"s-9": (None, 0)})

    assert faults(history) == []


def test_repeats_with_and_without_a_key_get_the_first_bytes() -> None:
    scene = Scene()
    for key in (None, "k", "k", None):
        scene.call("a-1", key=key)
    scene.call("a-2", key="l")
    scene.call("a-2", key="l")

    assert faults(scene.history()) == []


def test_a_key_that_is_used_for_another_request_is_told_so() -> None:
    scene = Scene()
    scene.call("a-1", key="k")
    scene.call("a-2", key="k")

    assert faults(scene.history()) == []


def test_a_session_moves_where_its_holder_is_expected() -> None:
    scene = Scene()
    scene.call("a-1")
    scene.call("a-2", expected="a-1")
    scene.call("a-3", expected="a-1")
    scene.call("a-9", expected="a-1")
    scene.call("a-1")

    assert faults(scene.history()) == []


def test_where_anybody_may_take_a_session_the_last_one_has_it() -> None:
    scene = Scene(reassign=Reassign.ALWAYS)
    for agent in ("a-1", "a-2", "a-1"):
        scene.call(agent)

    assert faults(scene.history()) == []


def test_a_call_of_unknown_outcome_may_have_won() -> None:
    scene = Scene()
    scene.call("a-1", during=(0, 0), is_told=False)
    scene.call("a-2", during=(5, 6))

    assert faults(scene.history()) == []


def test_a_call_of_unknown_outcome_may_have_come_to_nothing() -> None:
    scene = Scene()
    scene.lose("a-1", at=0, key="k")
    scene.call("a-2", during=(5, 6))

    assert faults(scene.history()) == []


def test_a_call_of_unknown_outcome_may_take_effect_long_after_its_start() -> None:
    scene = Scene()
    scene.call("a-2", during=(5, 6))
    scene.call("a-1", during=(0, 0), is_told=False)
    scene.call("a-2", during=(8, 9))

    assert faults(scene.history()) == []


def test_a_repeat_of_unknown_outcome_may_have_used_its_key() -> None:
    scene = Scene()
    scene.call("a-1")
    scene.call("a-1", key="k", is_told=False)
    scene.call("a-2", expected="a-1")
    scene.call("a-1", key="k")

    assert faults(scene.history()) == []


def test_a_repeat_with_a_url_of_its_own_is_told_there_too() -> None:
    scene = Scene()
    scene.call("a-1")
    scene.call("a-1", url=OTHER_URL)
    scene.call("a-1", url="http://localhost:8011/", is_told=False)

    assert faults(scene.history()) == []


def test_calls_that_were_turned_away_are_no_part_of_the_order() -> None:
    scene = Scene()
    scene.lose("a-1", at=0)
    turned_away = replace(
        scene.told[0], ended=1.0, answer=Answer(status=429, code="rate_limited", body=b"", transfer_id=None)
    )

    assert faults(spoilt(scene.history(), told=turned_away)) == []


def test_an_agent_without_a_free_slot_is_a_matter_of_other_sessions() -> None:
    scene = Scene()
    scene.call("a-2", session="s-2")
    scene.call("a-1")
    history = scene.history()
    refused = replace(
        history.kept.transfers[1], code="agent_at_capacity", status=409, version=None, body=b'{"detail":"full"}'
    )
    history = spoilt(
        history,
        told=answered(history.told[1], status=409, code="agent_at_capacity", body=refused.body),
        sessions={"s-1": (None, 0), "s-2": ("a-2", 1)},
        transfers=[history.kept.transfers[0], refused],
        loads={"a-2": 1},
    )

    assert Breach.ORDER in breaches(history)
    assert Breach.ORDER not in breaches(replace(history, rules=replace(history.rules, has_room=False)))


# --- histories that break one


def test_two_winners_are_found() -> None:
    scene = Scene(reassign=Reassign.ALWAYS)
    scene.call("a-1", during=(0, 3))
    scene.call("a-2", during=(0, 3))
    history = scene.history()

    assert breaches(replace(history, rules=replace(history.rules, is_reassign_always=False))) == {Breach.ORDER}


def test_an_acknowledged_win_that_the_store_lost_is_found() -> None:
    scene = Scene()
    won = scene.call("a-1")
    assert won.answer is not None
    history = without(scene.history(), won.answer.transfer_id or "")

    assert breaches(spoilt(history, sessions={"s-1": (None, 0)}, loads={})) == {
        Breach.LOST,
        Breach.ORDER,
        Breach.TOLD_NOBODY,
    }


def test_an_acknowledged_refusal_that_the_store_lost_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    refused = scene.call("a-2")
    assert refused.answer is not None

    assert Breach.LOST in breaches(without(scene.history(), refused.answer.transfer_id or ""))


def test_a_holder_who_changed_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    history = spoilt(scene.history(), sessions={"s-1": ("a-2", 1)}, loads={"a-2": 1})

    assert breaches(history) == {Breach.ORDER}


def test_a_version_that_does_not_count_the_changes_is_found() -> None:
    scene = Scene()
    scene.call("a-1")

    assert breaches(spoilt(scene.history(), sessions={"s-1": ("a-1", 2)})) == {Breach.ORDER}


def test_a_repeat_that_is_refused_after_the_win_was_acknowledged_is_found() -> None:
    scene = Scene()
    scene.call("a-1", during=(0, 1))
    refused = scene.call("a-2", during=(5, 6))
    won, made = scene.history().kept.transfers
    stale = replace(made, agent="a-1", holder="a-2")
    history = spoilt(
        scene.history(), told=replace(refused, call=replace(refused.call, agent="a-1")), transfers=[won, stale]
    )

    assert Breach.ORDER in breaches(history)


def test_a_refusal_that_names_one_who_was_known_to_have_lost_the_session_is_found() -> None:
    scene = Scene()
    scene.call("a-1", during=(0, 1))
    scene.call("a-3", during=(8, 9))
    scene.call("a-2", during=(4, 5), expected="a-1")

    assert breaches(scene.history()) == {Breach.ORDER}


def test_a_refusal_in_favour_of_a_call_that_was_not_begun_yet_is_found() -> None:
    scene = Scene()
    scene.call("a-1", during=(5, 6))
    scene.call("a-2", during=(1, 2))

    assert breaches(scene.history()) == {Breach.ORDER}


def test_an_unknown_call_that_took_the_session_from_an_acknowledged_winner_is_found() -> None:
    scene = Scene(reassign=Reassign.ALWAYS)
    scene.call("a-2", during=(5, 6))
    scene.call("a-1", during=(0, 0), is_told=False)
    history = scene.history()

    assert faults(history) == []
    assert breaches(replace(history, rules=replace(history.rules, is_reassign_always=False))) == {Breach.ORDER}


def test_an_unknown_call_that_took_effect_before_its_start_is_found() -> None:
    scene = Scene()
    scene.call("a-1", during=(7, 7), is_told=False)
    scene.call("a-2", during=(5, 6))

    assert breaches(scene.history()) == {Breach.ORDER}


def test_a_key_whose_repeat_is_decided_anew_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    scene.call("a-2", key="k")
    scene.call("a-2", key="l")
    history = scene.history()
    again = history.told[2]

    assert breaches(spoilt(history, told=replace(again, call=replace(again.call, key="k")))) == {Breach.ORDER}


def test_a_key_that_answers_another_request_is_found() -> None:
    scene = Scene()
    scene.call("a-1", key="k")
    won = scene.call("a-1")
    history = scene.history()
    other = replace(won, call=replace(won.call, agent="a-2", key="k"))

    assert breaches(spoilt(history, told=other)) == {Breach.ORDER}


def test_a_repeat_with_other_bytes_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    repeat = scene.call("a-1")

    assert breaches(spoilt(scene.history(), told=answered(repeat, body=b"{}"))) == {Breach.OTHER_ANSWER}


def test_an_answer_that_names_no_transfer_is_found() -> None:
    scene = Scene()
    won = scene.call("a-1")

    assert Breach.LOST in breaches(spoilt(scene.history(), told=answered(won, transfer_id=None)))


def test_a_transfer_that_nobody_asked_for_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    history = scene.history()

    assert Breach.UNASKED in breaches(replace(history, told=[]))


def test_a_call_that_was_recorded_twice_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    scene.call("a-2")
    first, second = scene.history().kept.transfers
    history = spoilt(scene.history(), transfers=[first, second, replace(second, transfer_id="tr_more")])

    assert {Breach.UNASKED, Breach.UNTOLD} <= breaches(history)


def test_a_load_that_is_not_what_the_agent_holds_is_found() -> None:
    scene = Scene()
    scene.call("a-1")

    assert breaches(spoilt(scene.history(), loads={"a-1": 2})) == {Breach.LOAD}


def test_an_agent_past_its_last_slot_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    history = scene.history()

    assert breaches(replace(history, rules=replace(history.rules, slots={"a-1": 0}))) == {Breach.LOAD}


def test_a_callback_that_did_not_come_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    scene.call("a-2")

    assert breaches(replace(scene.history(), heard=scene.history().heard[:1])) == {Breach.UNTOLD}


def test_the_callback_of_an_outcome_that_nobody_was_answered_must_come_too() -> None:
    scene = Scene()
    scene.call("a-1", is_told=False)

    assert breaches(replace(scene.history(), heard=[])) == {Breach.UNTOLD}


def test_a_repeat_whose_own_url_was_not_told_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    scene.call("a-1", url=OTHER_URL)
    heard = [one for one in scene.history().heard if one.url == URL]

    assert breaches(replace(scene.history(), heard=heard)) == {Breach.UNTOLD}


def test_a_callback_for_no_outcome_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    (one,) = scene.history().heard
    other = replace(one, webhook_id="msg_9", body=one.body.replace(b"tr_", b"tr_9"))

    assert breaches(replace(scene.history(), heard=[one, other])) == {Breach.TOLD_NOBODY}


def test_a_callback_at_a_url_that_nobody_gave_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    (one,) = scene.history().heard

    assert breaches(replace(scene.history(), heard=[one, replace(one, url=OTHER_URL)])) == {Breach.TOLD_NOBODY}


def test_a_callback_under_two_ids_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    (one,) = scene.history().heard
    copy = replace(one, webhook_id=f"{one.webhook_id}_2")

    assert breaches(replace(scene.history(), heard=[one, copy])) == {Breach.TOLD_TWICE}


def test_a_further_copy_under_the_same_id_is_no_fault() -> None:
    scene = Scene()
    scene.call("a-1")
    (one,) = scene.history().heard

    assert faults(replace(scene.history(), heard=[one, one])) == []


@pytest.mark.parametrize(
    ("name", "value"), [("status", "failed"), ("agentId", "a-2"), ("version", 2), ("requestCompletedAt", 1)]
)
def test_a_callback_that_says_other_than_what_is_recorded_is_found(name: str, value: object) -> None:
    scene = Scene()
    scene.call("a-1")
    (one,) = scene.history().heard
    other = replace(one, body=json.dumps(json.loads(one.body) | {name: value}).encode())

    assert breaches(replace(scene.history(), heard=[other])) == {Breach.OTHER_CALLBACK}


def test_a_callback_whose_body_changed_between_two_attempts_is_found() -> None:
    scene = Scene()
    scene.call("a-1")
    (one,) = scene.history().heard

    assert breaches(replace(scene.history(), heard=[one, replace(one, body=one.body + b" ")])) == {
        Breach.OTHER_CALLBACK
    }


# --- what is no history


def test_two_calls_under_one_request_id_cannot_be_checked() -> None:
    scene = Scene()
    told = scene.call("a-1")

    with pytest.raises(ValueError, match="request id"):
        faults(replace(scene.history(), told=[told, told]))


def test_a_key_for_two_sessions_cannot_be_checked() -> None:
    scene = Scene()
    scene.call("a-1", key="k")
    told = scene.call("a-1", session="s-2")

    with pytest.raises(ValueError, match="two sessions"):
        faults(spoilt(scene.history(), told=replace(told, call=replace(told.call, key="k"))))


def test_a_fault_says_what_is_broken_and_tells_the_calls() -> None:
    scene = Scene()
    scene.call("a-1", during=(5, 6))
    scene.call("a-2", during=(1, 2), key="k", expected="a-3")

    (fault,) = faults(scene.history())

    assert str(fault).startswith("no order of the calls")
    assert "c-1: s-1 for a-2 key k expecting a-3: 409" in str(fault)
