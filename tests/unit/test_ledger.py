"""What a batch comes to in the store, row by row, and what each of its callers is told; on SQLite."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from fakes import FakeClock, FakeIds
from handoff import Settings, load_directory
from handoff.domain.lifecycle import Opened
from handoff.domain.model import MoveRequest, OpenRequest, Target, TargetKind
from handoff.domain.rules import Reassign
from handoff.service.meter import UNMEASURED
from handoff.service.outcomes import Answer, IdempotencyKeyReused, Moved, SessionRefused
from handoff.service.transfer import Transfers
from handoff.store import tables
from handoff.stores import open_transfer_store
from rigs import facts, sample
from rigs.tables import Tables

PLACE: dict[str, Any] = {
    "account_id": sample.ACCOUNT,
    "app_id": sample.APP,
    "stream_id": sample.STREAM,
    "request_id": "req",
}
CALL = facts.CALL
TO_QUEUE = replace(CALL, target=Target(TargetKind.QUEUE, sample.QUEUE))
OPENING = OpenRequest(**PLACE, org_id=sample.ORG, session_id="s-new", source="web", profile={"name": "Zoë"})
RELEASE = MoveRequest(**PLACE, session_id=sample.SESSION, kind=TargetKind.BOT, expected_agent_id=None)
CLOSE = replace(RELEASE, kind=TargetKind.CLOSED)
NOW = FakeClock().now_ms()


class Desk:
    """The use case on a store of its own, whose rows can be looked at."""

    def __init__(self, settings: Settings) -> None:
        self.store = open_transfer_store(settings)
        self.tables = Tables(settings.database_url)
        self.settle = Transfers(
            self.store, clock=FakeClock(), ids=FakeIds(), reassign=Reassign.EXPECTED, meter=UNMEASURED
        ).settle

    def close(self) -> None:
        self.store.close()
        self.tables.close()


@pytest.fixture
def desk(sqlite_url: str) -> Iterator[Desk]:
    settings = Settings(database_url=sqlite_url)
    load_directory(settings, sample.directory())
    made = Desk(settings)
    yield made
    made.close()


def test_a_batch_of_every_kind_writes_each_row_once_and_in_the_order_of_its_requests(desk: Desk) -> None:
    opened, answer, released = desk.settle([OPENING, replace(CALL, idempotency_key="k-1"), RELEASE])
    session, new = (desk.tables.rows(tables.sessions, session_id=name)[0] for name in (sample.SESSION, "s-new"))
    (key,) = desk.tables.rows(tables.idempotency_keys)
    moved, given_back = desk.tables.rows(tables.transfers)
    (callback,) = desk.tables.rows(tables.callbacks)

    assert isinstance(opened, Opened)
    assert isinstance(answer, Answer)
    assert isinstance(released, Moved)
    assert (opened.is_new, opened.session.session_id) == (True, "s-new")
    assert (released.session.session_id, released.session.version) == (sample.SESSION, 2)
    assert (new["state"], new["version"], new["opened_at"], new["source"]) == ("bot", 0, NOW, "web")
    assert new["profile"] == {"name": "Zoë"}
    assert (session["state"], session["holder_id"], session["version"]) == ("bot", None, 2)
    assert (moved["transfer_id"], given_back["transfer_id"]) == (answer.transfer_id, released.transfer_id)
    assert (moved["version"], moved["completed_at"], moved["body"]) == (1, NOW, answer.body.decode())
    assert (key["key"], key["transfer_id"], key["created_at"]) == ("k-1", answer.transfer_id, NOW)
    assert (callback["transfer_id"], callback["url"]) == (answer.transfer_id, CALL.callback_url)
    assert [row["active_sessions"] for row in desk.tables.rows(tables.agents)] == [0, 0]
    assert [
        (kind, body["sessionId"], body["version"], body.get("transferId")) for kind, body in desk.tables.events()
    ] == [
        ("session.opened", "s-new", 0, None),
        ("session.transferred", sample.SESSION, 1, answer.transfer_id),
        ("session.released", sample.SESSION, 2, released.transfer_id),
    ]
    assert {body["appId"] for _, body in desk.tables.events()} == {sample.APP}


def test_what_was_there_already_is_told_so_and_writes_nothing(desk: Desk) -> None:
    desk.settle([OPENING, CLOSE])
    written = [desk.tables.rows(table) for table in (tables.sessions, tables.transfers, tables.events)]

    opened, closed = desk.settle([OPENING, CLOSE])

    assert isinstance(opened, Opened)
    assert isinstance(closed, Moved)
    assert (opened.is_new, closed.transfer_id, closed.session.version) == (False, None, 1)
    assert [desk.tables.rows(table) for table in (tables.sessions, tables.transfers, tables.events)] == written


def test_a_repeat_is_the_same_answer_and_told_as_one_by_its_key_and_without(desk: Desk) -> None:
    keyed = replace(CALL, idempotency_key="k-1")
    first, again, by_key = (desk.settle([call])[0] for call in (keyed, CALL, keyed))
    other = desk.settle([replace(keyed, session_id="s-2")])[0]
    copy = desk.settle([replace(CALL, callback_url="https://two.example")])[0]

    assert first == again == by_key == copy
    assert [one.is_repeat for one in (first, again, by_key, copy) if isinstance(one, Answer)] == [
        False,
        True,
        True,
        True,
    ]
    assert isinstance(other, IdempotencyKeyReused)
    assert [row["url"] for row in desk.tables.rows(tables.callbacks)] == ["https://one.example", "https://two.example"]


def test_within_a_batch_each_request_sees_what_those_before_it_did(desk: Desk) -> None:
    keyed = replace(CALL, idempotency_key="k-1")

    answers = desk.settle([keyed, keyed, replace(keyed, session_id="s-2"), TO_QUEUE, OPENING, OPENING])

    assert [type(one) for one in answers] == [Answer, Answer, IdempotencyKeyReused, Answer, Opened, Opened]
    assert [one.status for one in answers if isinstance(one, Answer)] == [200, 200, 409]
    assert [one.is_new for one in answers if isinstance(one, Opened)] == [True, False]
    assert len(desk.tables.rows(tables.transfers)) == len(desk.tables.rows(tables.callbacks)) == 2


def test_a_dry_run_tells_what_would_be_and_names_no_transfer(desk: Desk) -> None:
    dry, refused = desk.settle([replace(CALL, is_dry_run=True), replace(CALL, session_id="s-2", is_dry_run=True)])
    real, repeat = desk.settle([CALL, replace(CALL, is_dry_run=True)])

    assert isinstance(dry, Answer)
    assert isinstance(refused, Answer)
    assert isinstance(real, Answer)
    assert isinstance(repeat, Answer)
    assert (dry.status, dry.version, dry.transfer_id, dry.code) == (200, 1, None, None)
    assert (refused.status, refused.transfer_id, refused.code) == (404, None, "session_not_found")
    assert (repeat.transfer_id, repeat.is_repeat, repeat.body) == (real.transfer_id, True, real.body)
    assert len(desk.tables.rows(tables.transfers)) == 1


def test_a_session_that_moves_on_is_counted_for_whoever_has_it(desk: Desk) -> None:
    to_another = replace(CALL, target=Target(TargetKind.AGENT, sample.OTHER_AGENT))

    def held() -> dict[str, int]:
        return {row["agent_id"]: row["active_sessions"] for row in desk.tables.rows(tables.agents)}

    counts = []
    for request in (CALL, to_another, replace(to_another, expected_agent_id=sample.AGENT), CLOSE):
        desk.settle([request])
        counts.append((held()[sample.AGENT], held()[sample.OTHER_AGENT]))

    assert counts == [(1, 0), (1, 0), (0, 1), (0, 0)]


def test_a_fallback_is_looked_up_among_agents_and_queues_alike(desk: Desk) -> None:
    desk.tables.change(tables.agents, {"agent_id": sample.AGENT}, status="AWAY")
    both = (Target(TargetKind.AGENT, "a-nobody"), Target(TargetKind.QUEUE, sample.QUEUE))

    (answer,) = desk.settle([replace(CALL, fallback=both)])

    assert isinstance(answer, Answer)
    assert json.loads(answer.body)["queueId"] == sample.QUEUE


def test_what_cannot_be_opened_or_closed_is_told_why(desk: Desk) -> None:
    elsewhere = replace(OPENING, session_id=sample.SESSION, stream_id="st-2")
    unknown = replace(CLOSE, session_id="s-nobody")

    taken, missing = desk.settle([elsewhere, unknown])

    assert isinstance(taken, SessionRefused)
    assert isinstance(missing, SessionRefused)
    assert (taken.refusal.code, missing.refusal.code) == ("session_id_taken", "session_not_found")
    assert str(missing) == f"Session s-nobody is not known in stream {sample.STREAM}."
    assert desk.tables.events() == []
