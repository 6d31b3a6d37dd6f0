import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import Table, select, update

from fakes import FakeClock, FakeIds
from handoff import Settings, load_directory
from handoff.domain.lifecycle import Opened
from handoff.domain.model import AgentStatus, AssignRequest, MoveRequest, OpenRequest, SessionState, Target, TargetKind
from handoff.domain.refusals import Refusal
from handoff.domain.rules import Reassign
from handoff.service.meter import UNMEASURED, Meter
from handoff.service.outcomes import Answer, Moved, Request, SessionRefused
from handoff.service.ports import Contended, Locked, StoreError, StoreUnavailable, TransferTransaction, Unwritable
from handoff.service.transfer import Outcome, Transfers
from handoff.store import tables
from handoff.store.audit import SqlAudit
from handoff.store.batch_sqlite import SqliteBatch
from handoff.store.engine import open_writer
from handoff.store.transfers import SqlTransferStore
from handoff.store.upgrade import migrate
from rigs import facts, sample
from rigs.metrics import metrics, read

SLOTS: Final = {"a-0": 0, "a-1": 1, "a-2": 2, "a-3": 4}
# An agent and a queue may have the same id.
QUEUES: Final = (sample.QUEUE, "a-2")
SESSIONS: Final = ("s-1", "s-2", "s-3", "s-4", "s-5")
ACCOUNTS: Final = (sample.ACCOUNT, "another-account-with-the-same-ids")
WRITTEN: Final = (
    tables.sessions,
    tables.agents,
    tables.transfers,
    tables.callbacks,
    tables.idempotency_keys,
    tables.events,
)
LOST: Final = partial(StoreUnavailable, "gone", is_lost=True)
AWAY: Final = partial(StoreUnavailable, "disk full")
RACE: Final = partial(Contended, "deadlock")

REQUEST = replace(facts.CALL, session_id="s-1", target=Target(TargetKind.AGENT, "a-3"))
agent_ids = st.sampled_from([*SLOTS, "a-2", "a-3", "a-9"])
targets = st.one_of(
    st.builds(Target, st.just(TargetKind.AGENT), agent_ids),
    st.builds(Target, st.just(TargetKind.AGENT), agent_ids),
    st.builds(Target, st.just(TargetKind.QUEUE), st.sampled_from(QUEUES)),
)
PLACE: Final = {
    "account_id": st.sampled_from([ACCOUNTS[0], *ACCOUNTS]),
    "app_id": st.just(sample.APP),
    "stream_id": st.just(sample.STREAM),
    "request_id": st.just("req"),
}
# Three that may be opened; the others are there from the start, but for one that never is.
openings = st.builds(
    OpenRequest, **PLACE, org_id=st.just(sample.ORG), session_id=st.sampled_from(["s-1", "s-6", "s-7", "s-8"])
)
moves = st.builds(
    MoveRequest,
    **PLACE,
    session_id=st.sampled_from([*SESSIONS, "s-6", "s-9"]),
    kind=st.sampled_from([TargetKind.BOT, TargetKind.BOT, TargetKind.CLOSED]),
    expected_agent_id=st.none() | st.sampled_from(list(SLOTS)),
)
calls = st.builds(
    AssignRequest,
    account_id=st.sampled_from([ACCOUNTS[0], *ACCOUNTS]),
    app_id=st.just(sample.APP),
    stream_id=st.just(sample.STREAM),
    stream_org_id=st.just(sample.ORG),
    org_id=st.just(sample.ORG),
    session_id=st.sampled_from([*SESSIONS, *SESSIONS, "s-6", "s-7", "s-9"]),
    target=targets,
    callback_url=st.sampled_from(["https://one.example", "https://one.example", "https://two.example"]),
    expected_agent_id=st.none() | st.none() | st.sampled_from(list(SLOTS)),
    fallback=st.just(()) | st.lists(targets, max_size=3).map(tuple),
    is_dry_run=st.sampled_from([False, False, False, True]),
    idempotency_key=st.none() | st.none() | st.sampled_from(["k-1", "k-2", "k-3"]),
    request_id=st.just("req"),
)
requests = st.one_of(calls, calls, calls, openings, moves)


class Store:
    """One real store in a file of its own, and a use case that assigns in it."""

    def __init__(self, file: Path, clock: FakeClock, reassign: Reassign) -> None:
        self.engine = open_writer(f"sqlite:///{file}", durability="NORMAL")
        self.transfers = SqlTransferStore(self.engine, SqliteBatch())
        self.settle = Transfers(self.transfers, clock=clock, ids=FakeIds(), reassign=reassign, meter=UNMEASURED).settle

    def set_agent(self, name: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(update(tables.agents).where(tables.agents.c.agent_id == name).values(values))

    def rows(self, table: Table) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            found = connection.execute(select(table).order_by(*table.primary_key.columns))
            return [tuple(row) for row in found]

    def agents(self) -> Sequence[Any]:
        with self.engine.connect() as connection:
            return connection.execute(select(tables.agents)).all()

    def close(self) -> None:
        self.transfers.close()
        self.engine.dispose()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated store with two accounts whose agents, queues and sessions have the same ids."""
    file = tmp_path_factory.mktemp("template") / "handoff.db"
    engine = open_writer(f"sqlite:///{file}")
    migrate(engine)
    engine.dispose()
    for account in ACCOUNTS:
        found = sample.directory(
            agents=[sample.agent(name, maxChatSupport=slots) for name, slots in SLOTS.items()],
            sessions=[sample.session(name) for name in SESSIONS],
        )
        found["queues"] = [{"id": queue, "orgId": sample.ORG} for queue in QUEUES]
        rows = {section: [{**row, "accountId": account} for row in found[section]] for section in found}
        if account != sample.ACCOUNT:
            del rows["apps"]
        load_directory(Settings(database_url=f"sqlite:///{file}"), rows)
    return file


class TwoStores(RuleBasedStateMachine):
    """The same requests to two stores: to one in batches, to the other one by one."""

    def __init__(self, template: Path, reassign: Reassign) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.folder = TemporaryDirectory()
        files = [Path(self.folder.name, name) for name in ("batched.db", "single.db")]
        for file in files:
            shutil.copyfile(template, file)
        self.batched, self.single = (Store(file, self.clock, reassign) for file in files)

    @rule(batch=st.lists(requests, min_size=1, max_size=8))
    def settle(self, batch: list[Request]) -> None:
        together = self.batched.settle(batch)
        apart = [self.single.settle([request])[0] for request in batch]

        assert [told(outcome) for outcome in together] == [told(outcome) for outcome in apart]

    @rule(batch=st.lists(requests, min_size=1, max_size=4), places=st.lists(st.integers(0, 3), max_size=5))
    def settle_with_copies(self, batch: list[Request], places: list[int]) -> None:
        self.settle(batch + [batch[place % len(batch)] for place in places])

    @rule(
        name=st.sampled_from(list(SLOTS)),
        status=st.sampled_from([*AgentStatus, AgentStatus.AVAILABLE, AgentStatus.AVAILABLE]),
        lasts_ms=st.none() | st.integers(0, 5_000),
    )
    def set_status(self, name: str, status: AgentStatus, lasts_ms: int | None) -> None:
        until = None if lasts_ms is None else self.clock.now_ms() + lasts_ms
        for store in (self.batched, self.single):
            store.set_agent(name, status=status.value, status_expires_at=until)

    @rule(by_ms=st.integers(-5_000, 5_000))
    def move_the_clock(self, by_ms: int) -> None:
        self.clock.advance(by_ms)

    def teardown(self) -> None:
        try:
            for table in WRITTEN:
                assert self.batched.rows(table) == self.single.rows(table)
            assert SqlAudit(self.batched.engine, self.batched.engine, kept_since=0).violations() == []
            assert all(row.active_sessions <= row.max_sessions for row in self.batched.agents())
        finally:
            self.batched.close()
            self.single.close()
            self.folder.cleanup()


def told(outcome: Outcome) -> object:
    return str(outcome) if isinstance(outcome, Exception) else outcome


@pytest.mark.parametrize("reassign", Reassign)
def test_a_batch_is_decided_and_written_as_its_requests_one_by_one(template: Path, reassign: Reassign) -> None:
    few = settings(max_examples=25, stateful_step_count=10, deadline=None)

    class FromTemplate(TwoStores):
        def __init__(self) -> None:
            super().__init__(template, reassign)

    run_state_machine_as_test(FromTemplate, settings=few)


class Unlucky:
    """The real store, whose commits fail as planned: as they begin, or when they have just happened.

    After `free_times` transactions somebody else has its rows locked.
    """

    def __init__(self, store: SqlTransferStore) -> None:
        self._store = store
        self.ids = FakeIds()
        self.before_commit: list[StoreError] = []
        self.after_commit: list[StoreError] = []
        self.begun = 0
        self.free_times = 1_000

    @contextmanager
    def begin(self) -> Iterator[TransferTransaction]:
        self.begun += 1
        if self.begun > self.free_times:
            raise Locked
        with self._store.begin() as tx:
            yield tx
            if self.before_commit:
                raise self.before_commit.pop()
        if self.after_commit:
            raise self.after_commit.pop()

    def abort(self) -> None:
        self._store.abort()

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Store]:
    made = Store(shutil.copyfile(template, tmp_path / "handoff.db"), FakeClock(), Reassign.EXPECTED)
    yield made
    made.close()


@pytest.fixture
def unlucky(store: Store) -> Unlucky:
    return Unlucky(store.transfers)


def outcomes_of(unlucky: Unlucky, *batch: Request, meter: Meter = UNMEASURED) -> Sequence[Outcome]:
    return Transfers(unlucky, clock=FakeClock(), ids=unlucky.ids, reassign=Reassign.EXPECTED, meter=meter).settle(batch)


def assigned(unlucky: Unlucky, *batch: AssignRequest) -> list[int | type[Exception]]:
    outcomes = outcomes_of(unlucky, *batch)
    return [outcome.status if isinstance(outcome, Answer) else type(outcome) for outcome in _answers(outcomes)]


def _answers(outcomes: Sequence[Outcome]) -> list[Answer | Exception]:
    return [outcome for outcome in outcomes if isinstance(outcome, Answer | Exception)]


HERE: Final[dict[str, Any]] = {
    "account_id": sample.ACCOUNT,
    "app_id": sample.APP,
    "stream_id": sample.STREAM,
    "request_id": "req",
}
TWO = (REQUEST, replace(REQUEST, session_id="s-9"))


def test_a_commit_whose_confirmation_was_lost_is_found_again_and_not_made_twice(store: Store, unlucky: Unlucky) -> None:
    unlucky.after_commit = [LOST()]

    answers = _answers(outcomes_of(unlucky, *TWO))
    told = [(one.status, one.transfer_id, one.is_repeat) for one in answers if isinstance(one, Answer)]
    recorded = [row[1] for row in store.rows(tables.transfers)]

    assert told == [(200, recorded[0], False), (404, recorded[1], False)]
    assert unlucky.begun == 2
    assert len(store.rows(tables.transfers)) == len(store.rows(tables.callbacks)) == 2


def test_a_commit_that_did_not_happen_is_made_when_the_connection_is_back(store: Store, unlucky: Unlucky) -> None:
    unlucky.before_commit = [LOST()]

    assert assigned(unlucky, *TWO) == [200, 404]
    assert len(store.rows(tables.transfers)) == 2


def test_an_opening_and_a_close_whose_confirmations_were_lost_are_told_as_made(store: Store, unlucky: Unlucky) -> None:
    place: Any = {"account_id": sample.ACCOUNT, "app_id": sample.APP, "stream_id": sample.STREAM, "request_id": "req"}
    opening = OpenRequest(**place, org_id=sample.ORG, session_id="s-6")
    unlucky.after_commit = [LOST()]
    (opened,) = outcomes_of(unlucky, opening)
    unlucky.after_commit = [LOST()]
    (closed,) = outcomes_of(unlucky, MoveRequest(**place, session_id="s-6", kind=TargetKind.CLOSED))

    assert isinstance(opened, Opened)
    assert opened.is_new
    assert isinstance(closed, Moved)
    assert closed.transfer_id is not None
    assert (closed.session.state, closed.session.version) == (SessionState.CLOSED, 1)
    assert len(store.rows(tables.transfers)) == 1
    assert len(store.rows(tables.events)) == 2


@pytest.mark.parametrize(
    ("errors", "tries", "is_unknown"),
    [
        ([AWAY()], 1, False),
        ([RACE(), AWAY()], 2, False),
        ([LOST(), AWAY()], 2, True),
        ([LOST(), LOST()], 2, True),
        ([RACE(), RACE(), RACE(), LOST()], 4, True),
        ([LOST(), RACE(), RACE(), RACE()], 4, True),
    ],
)
def test_a_store_that_stays_away_fails_the_whole_batch_and_a_lost_connection_leaves_its_outcome_unknown(
    store: Store, unlucky: Unlucky, errors: list[StoreError], tries: int, *, is_unknown: bool
) -> None:
    unlucky.before_commit = errors[::-1]
    outcomes = outcomes_of(unlucky, *TWO)

    assert [isinstance(outcome, StoreUnavailable) and outcome.is_lost for outcome in outcomes] == [is_unknown] * 2
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    assert {str(outcome) for outcome in outcomes} == {str(errors[-1])}
    assert unlucky.begun == tries
    assert store.rows(tables.transfers) == []


def test_a_lost_connection_and_then_a_locked_row_leave_the_outcome_unknown(store: Store, unlucky: Unlucky) -> None:
    unlucky.after_commit = [LOST()]
    unlucky.free_times = 1
    outcomes = outcomes_of(unlucky, *TWO)

    assert [isinstance(outcome, StoreUnavailable) and outcome.is_lost for outcome in outcomes] == [True, True]
    assert len(store.rows(tables.transfers)) == 2


@pytest.mark.parametrize(("defeats", "outcomes"), [(3, [200, 404]), (4, [Contended, Contended])])
def test_a_lost_race_is_run_again_three_times(
    unlucky: Unlucky, defeats: int, outcomes: list[int | type[Exception]]
) -> None:
    unlucky.before_commit = [RACE() for _ in range(defeats)]

    assert assigned(unlucky, *TWO) == outcomes
    assert unlucky.begun == 4


def test_a_key_that_another_process_takes_meanwhile_repeats_that_ones_answer(store: Store, unlucky: Unlucky) -> None:
    keyed = replace(REQUEST, idempotency_key="k")
    (first,) = store.settle([keyed])
    unlucky.ids.fresh()
    unlucky.before_commit = [Unwritable()]

    assert outcomes_of(unlucky, keyed) == [first]
    assert unlucky.begun == 2


def test_a_request_that_the_store_cannot_write_fails_alone(store: Store, unlucky: Unlucky) -> None:
    assert assigned(unlucky, REQUEST) == [200]
    # A count that was wrong before: to free this agent's slot would make it negative, which the store forbids.
    store.set_agent("a-3", active_sessions=0)
    away = replace(REQUEST, target=Target(TargetKind.AGENT, "a-2"), expected_agent_id="a-3")
    to_another = replace(REQUEST, session_id="s-3", target=Target(TargetKind.AGENT, "a-1"))

    assert assigned(unlucky, replace(away, session_id="s-2"), away, to_another) == [409, Unwritable, 200]


def test_what_was_committed_after_all_is_found_again_where_a_batch_is_taken_apart(
    store: Store, unlucky: Unlucky
) -> None:
    # As when a commit that was given up for lost arrives between the reads of the next try and its writes.
    unlucky.after_commit = [Unwritable()]

    assert assigned(unlucky, *TWO) == [200, 404]
    assert unlucky.begun == 3
    assert len(store.rows(tables.transfers)) == len(store.rows(tables.callbacks)) == 2


@pytest.mark.parametrize(("errors", "failures"), [([AWAY()], 1), ([Unwritable(), AWAY(), AWAY()], 2)])
def test_a_store_that_fails_is_counted_once_for_each_transaction_that_came_to_nothing(
    unlucky: Unlucky, errors: list[StoreError], failures: int
) -> None:
    unlucky.before_commit = errors[::-1]
    measured = metrics()

    outcomes_of(unlucky, *TWO, meter=measured)

    assert read(measured)['handoff_store_errors_total{part="transfers"}'] == failures


def test_a_session_that_stays_open_is_told_with_the_refusal_its_sentence_and_the_session(store: Store) -> None:
    close = MoveRequest(**HERE, session_id="s-1", kind=TargetKind.CLOSED, expected_agent_id="a-1")

    (refused,) = store.settle([close])

    assert isinstance(refused, SessionRefused)
    assert refused.refusal is Refusal.HOLDER_CHANGED
    assert refused.detail == str(refused) == "Session s-1 is not with agent a-1 but with the bot at version 0."
    assert refused.session is not None
    assert refused.session.session_id == "s-1"


def test_where_sessions_may_always_be_taken_the_one_who_had_it_gets_the_slot_back(
    template: Path, tmp_path: Path
) -> None:
    store = Store(shutil.copyfile(template, tmp_path / "always.db"), FakeClock(), Reassign.ALWAYS)
    to_another = replace(REQUEST, target=Target(TargetKind.AGENT, "a-1"))

    outcomes = [store.settle([request])[0] for request in (REQUEST, to_another)]
    held = {row.agent_id: row.active_sessions for row in store.agents() if row.account_id == sample.ACCOUNT}
    store.close()

    assert [outcome.status for outcome in outcomes if isinstance(outcome, Answer)] == [200, 200]
    assert held == {"a-0": 0, "a-1": 1, "a-2": 0, "a-3": 0}
