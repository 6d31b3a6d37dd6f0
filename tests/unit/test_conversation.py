"""What a session's won transfers make of its conversation."""

from collections.abc import Sequence

import pytest

from handoff.domain.conversation import Life, Participant, QueueStay, Step, TransferDetail, life_of
from handoff.domain.model import SessionState, Target, TargetKind

ANN, BEN = Target(TargetKind.AGENT, "a-1"), Target(TargetKind.AGENT, "a-2")
SALES, CARE = Target(TargetKind.QUEUE, "qu-1"), Target(TargetKind.QUEUE, "qu-2")
BOT, END = Target(TargetKind.BOT, ""), Target(TargetKind.CLOSED, "")
CALLED = {ANN: ("u-1", "Ann", "ann@example.com"), BEN: ("u-2", "Ben", ""), SALES: (None, "Sales", "")}


def steps(*targets: Target, first: int = 1) -> list[Step]:
    """A session that went to these, one after the other: at 100, 200 and so on, from the bot at first."""
    before = Target(TargetKind.BOT, "")
    found = []
    for number, target in enumerate(targets, start=first):
        user_id, name, email_id = CALLED.get(target, (None, "", ""))
        found.append(
            Step(
                transfer_id=f"tr_{number}",
                at=number * 100,
                previous_state=SessionState(before.kind.value),
                previous_holder_id=before.id or None,
                target=target,
                user_id=user_id,
                name=name,
                email_id=email_id,
            )
        )
        before = target
    return found


def told(life: Life) -> list[tuple[str, str | None, int, int | None, str]]:
    """Of each participant: who, from which queue, from when to when, and how it ended."""
    return [
        (
            one.agent_id,
            one.queue.queue_id if one.queue else None,
            one.assigned_at,
            one.ended_at,
            " ".join(
                word
                for word, holds in (
                    ("from-agent", one.is_from_agent),
                    ("transferred", one.was_transferred),
                    ("ended", one.ended_chat),
                )
                if holds
            ),
        )
        for one in life.participants
    ]


HISTORIES: dict[str, tuple[Sequence[Target], list[tuple[str, str | None, int, int | None, str]]]] = {
    "nothing": ([], []),
    "waiting": ([SALES], []),
    "straight to an agent": ([ANN], [("u-1", None, 100, None, "")]),
    "by a queue": ([SALES, ANN], [("u-1", "qu-1", 200, None, "")]),
    "by two queues": ([SALES, CARE, ANN], [("u-1", "qu-2", 300, None, "")]),
    "from agent to agent": (
        [ANN, BEN],
        [("u-1", None, 100, 200, "transferred"), ("u-2", None, 200, None, "from-agent")],
    ),
    "back into a queue": (
        [SALES, ANN, CARE, BEN],
        [("u-1", "qu-1", 200, 300, "transferred"), ("u-2", "qu-2", 400, None, "")],
    ),
    "twice with the same agent": (
        [ANN, SALES, ANN],
        [("u-1", None, 100, 200, "transferred"), ("u-1", "qu-1", 300, None, "")],
    ),
    "back to the bot": ([ANN, BOT], [("u-1", None, 100, 200, "transferred")]),
    "out of a queue to the bot": ([SALES, BOT, ANN], [("u-1", None, 300, None, "")]),
    "closed with an agent": ([ANN, END], [("u-1", None, 100, 200, "ended")]),
    "closed in a queue": ([ANN, SALES, END], [("u-1", None, 100, 200, "transferred")]),
    "closed with the bot": ([ANN, BOT, END], [("u-1", None, 100, 200, "transferred")]),
    "all of it": (
        [SALES, ANN, BEN, BOT, ANN, END],
        [
            ("u-1", "qu-1", 200, 300, "transferred"),
            ("u-2", None, 300, 400, "from-agent transferred"),
            ("u-1", None, 500, 600, "ended"),
        ],
    ),
}


@pytest.mark.parametrize(("targets", "participants"), HISTORIES.values(), ids=HISTORIES)
def test_each_agent_is_there_for_the_time_that_it_had_the_session(
    targets: Sequence[Target], participants: list[tuple[str, str | None, int, int | None, str]]
) -> None:
    assert told(life_of(steps(*targets))) == participants


@pytest.mark.parametrize("targets", [history for history, _ in HISTORIES.values()], ids=HISTORIES)
def test_nobody_but_the_last_is_present_and_only_while_the_session_is_with_an_agent(targets: Sequence[Target]) -> None:
    life = life_of(steps(*targets))

    is_with_agent = bool(targets) and targets[-1].kind is TargetKind.AGENT
    present = [one.ended_at is None for one in life.participants]
    assert present == [False] * (len(present) - is_with_agent) + [True] * is_with_agent


def test_a_participant_tells_where_and_since_when_the_session_waited_for_it() -> None:
    (participant,) = life_of(steps(SALES, ANN)).participants

    assert participant == Participant(
        agent_id="u-1",
        name="Ann",
        queue=QueueStay(queue_id="qu-1", name="Sales", since=100),
        assigned_at=200,
        is_from_agent=False,
    )


def test_every_way_to_an_agent_or_a_queue_is_a_detail_and_a_way_to_the_bot_or_the_end_is_none() -> None:
    life = life_of(steps(SALES, ANN, BEN, CARE, BOT, BEN, END))

    assert [(one.from_agent, one.from_queue, one.kind, one.to_id) for one in life.details] == [
        (None, None, TargetKind.QUEUE, "qu-1"),
        (None, "qu-1", TargetKind.AGENT, "u-1"),
        ("u-1", None, TargetKind.AGENT, "u-2"),
        ("u-2", None, TargetKind.QUEUE, "qu-2"),
        (None, None, TargetKind.AGENT, "u-2"),
    ]
    assert life.details[1] == TransferDetail(
        transfer_id="tr_2",
        at=200,
        from_agent=None,
        from_queue="qu-1",
        kind=TargetKind.AGENT,
        to_id="u-1",
        to_name="Ann",
        to_email_id="ann@example.com",
    )


@pytest.mark.parametrize(
    ("targets", "waited_ms"),
    [
        ([ANN], 0),
        ([SALES], 0),
        ([SALES, ANN], 100),
        ([SALES, CARE, ANN, BEN], 200),
        ([SALES, BOT, ANN], 100),
        ([SALES, ANN, CARE, BEN], 200),
        ([ANN, SALES, END], 100),
    ],
)
def test_the_wait_is_the_time_in_queues_that_is_over(targets: Sequence[Target], waited_ms: int) -> None:
    assert life_of(steps(*targets)).waited_ms == waited_ms


def test_a_clock_that_runs_behind_makes_no_wait_negative() -> None:
    queued, assigned = steps(SALES, ANN)

    behind = Step(**{name: getattr(assigned, name) for name in Step.__slots__} | {"at": queued.at - 5})

    assert life_of([queued, behind]).waited_ms == 0


def test_the_life_tells_when_it_was_first_taken_last_moved_and_ended() -> None:
    running, over = life_of(steps(SALES, ANN, BEN)), life_of(steps(SALES, ANN, BEN, END))

    assert (running.accepted_at, running.moved_at, running.ended_at, running.queue) == (200, 300, None, None)
    assert (over.accepted_at, over.moved_at, over.ended_at) == (200, 400, 400)
    assert life_of(steps(ANN, SALES)).queue == QueueStay(queue_id="qu-1", name="Sales", since=200)
    assert life_of([]) == Life(participants=[], details=[])


def test_an_agent_that_is_gone_is_told_by_the_id_that_is_left() -> None:
    gone = Target(TargetKind.AGENT, "a-9")

    life = life_of(steps(gone, ANN))

    assert (life.participants[0].agent_id, life.participants[0].name) == ("a-9", "")
    assert life.details[1].from_agent == "a-9"


def test_a_life_told_from_its_middle_on_names_who_had_it_before_and_invents_nobody() -> None:
    whole = steps(SALES, ANN, BEN, CARE, END)

    from_agent, from_queue = life_of(whole[2:]), life_of(whole[1:])

    assert [one.agent_id for one in from_agent.participants] == ["u-2"]
    assert from_agent.details[0].from_agent == "a-1"
    assert from_queue.details[0].from_queue == "qu-1"
    assert from_queue.participants[0].queue is None
