"""Every hot statement reaches its rows by an index, on both databases."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from fakes import FakeClock, FakeIds
from handoff import Settings
from handoff.domain.model import AgentStatus
from handoff.service.agent_store import AgentFilter, OrgScope
from handoff.service.agents import AgentFields, Agents
from handoff.service.callbacks import CallbackFilter, CallbackState
from handoff.service.conversations import ConversationFilter
from handoff.service.feed import View
from handoff.service.history import TransferFilter
from handoff.service.ports import Changes
from handoff.service.queues import QueueFields, Queues, WantedMember
from handoff.service.retention import CallbackPlace, Cutoffs, EventPlace
from handoff.service.scope import Scope
from handoff.store.agents import SqlAgents
from handoff.store.batch_postgres import PostgresBatch
from handoff.store.batch_sqlite import SqliteBatch
from handoff.store.callbacks import SqlCallbacks
from handoff.store.conversations import SqlConversations
from handoff.store.depth import SqlOutboxDepth
from handoff.store.directory import SqlDirectory
from handoff.store.engine import is_sqlite, open_writer
from handoff.store.events import SqlFeed
from handoff.store.feed import to_feed
from handoff.store.history import SqlHistory
from handoff.store.outbox import SqlOutbox
from handoff.store.queues import SqlQueues
from handoff.store.retention import SqlRetention
from handoff.store.sealing import Seals
from handoff.store.transfers import SqlTransferStore
from rigs import facts, feed, sample

CUTOFFS = Cutoffs(delivered_before=1, dead_before=1, events_before=1)
_PARTIAL = ("callbacks_due", "callbacks_leased")


class Plans:
    """Asks the database for the plan of every statement that goes through the engine."""

    def __init__(self, engine: Engine, explain: str) -> None:
        self.found: list[str] = []
        self._explain = explain
        self._is_asking = False
        event.listen(engine, "before_cursor_execute", self._ask)

    def _ask(
        self,
        connection: Connection,
        _cursor: Any,
        statement: str,
        parameters: Any,
        _context: Any,
        many: bool,  # noqa: FBT001 (the hook is called so)
    ) -> None:
        if self._is_asking or not statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            return
        self._is_asking = True
        one = parameters[0] if many else parameters
        rows = connection.exec_driver_sql(f"{self._explain} {statement}", one).all()
        self.found.append(statement + "\n" + "\n".join(str(row[-1]) for row in rows))
        self._is_asking = False


@pytest.fixture
def engine(stored: Settings) -> Iterator[Engine]:
    made = open_writer(stored.database_url)
    yield made
    made.dispose()


def watched(engine: Engine, stored: Settings) -> tuple[Plans, SqliteBatch | PostgresBatch, Sequence[str]]:
    """The plans, the seam, and what a plan that scans a table says."""
    if is_sqlite(stored.database_url):
        return Plans(engine, "EXPLAIN QUERY PLAN"), SqliteBatch(), ("SCAN sessions", "SCAN agents", "SCAN callbacks")
    with engine.begin() as connection:  # so small a table would be scanned; the question is whether it must be
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET enable_seqscan = off')
    return Plans(engine, "EXPLAIN"), PostgresBatch(), ("Seq Scan",)


def test_the_statements_of_a_transfer_scan_no_table(stored: Settings, engine: Engine) -> None:
    plans, batch, scans = watched(engine, stored)
    store = SqlTransferStore(engine, batch)
    with store.begin() as transaction:
        session = transaction.sessions({(sample.ACCOUNT, sample.SESSION)})
        agent = transaction.agents({(sample.ACCOUNT, sample.AGENT)})
        transaction.queues({(sample.ACCOUNT, sample.QUEUE)})
        transaction.keys({(sample.ACCOUNT, sample.APP, "k")})
        transaction.transfers({(sample.ACCOUNT, "tr_1")})
        transaction.write(Changes(sessions=list(session.values()), agents=list(agent.values())))
    store.close()

    assert len(plans.found) >= 6
    assert [plan for plan in plans.found if any(scan in plan for scan in scans)] == []


def test_the_statements_of_the_outbox_scan_no_table(stored: Settings, engine: Engine) -> None:
    plans, batch, scans = watched(engine, stored)
    store = SqlTransferStore(engine, batch)
    with store.begin() as transaction:
        transaction.write(Changes(callbacks=[facts.callback(number) for number in range(1, 4)]))
    outbox = SqlOutbox(engine, batch)
    outbox.claim(facts.UpTo(2), now_ms=2_000, lease_ms=1, lease_token="one")
    outbox.reclaim(now_ms=5_000)
    outbox.close()
    store.close()

    assert len(plans.found) >= 5
    assert [plan for plan in plans.found if any(scan in plan for scan in scans)] == []
    used = "\n".join(plans.found)
    assert used.count("callbacks_due") >= 2
    assert used.count("callbacks_leased") >= 1


def test_the_statements_for_operators_scan_no_table(stored: Settings, engine: Engine) -> None:
    plans, batch, scans = watched(engine, stored)
    store = SqlTransferStore(engine, batch)
    with store.begin() as transaction:
        transaction.write(
            Changes(
                transfers=[facts.transfer(number) for number in range(1, 4)],
                callbacks=[facts.callback(number) for number in range(1, 4)],
            )
        )
    callbacks = SqlCallbacks(engine, engine)
    scope = Scope(account_id=sample.ACCOUNT, stream_id=sample.STREAM)
    for state in (None, *CallbackState):
        callbacks.find(scope, CallbackFilter(state=state, host="localhost"), before="msg_9", limit=2)
    callbacks.get(scope, "msg_1")
    callbacks.of_transfer(scope, "tr_1", limit=1)
    callbacks.attempts(sample.ACCOUNT, "msg_1")
    callbacks.renew(sample.ACCOUNT, {"msg_1": 1}, state=None, lifetime_ms=1)
    callbacks.cancel(sample.ACCOUNT, "msg_1", now_ms=1)
    SqlRetention(engine).purge_step(CUTOFFS, CallbackPlace(sample.ACCOUNT))
    callbacks.close()
    store.close()

    assert len(plans.found) >= 12
    found = [plan.replace("SCAN callbacks USING INDEX", "the whole of a partial index:") for plan in plans.found]
    assert [plan for plan in found if any(scan in plan for scan in scans)] == []
    if is_sqlite(stored.database_url):  # PostgreSQL chooses by its statistics, and here there are none
        for index in ("callbacks_dead", "callbacks_due", "callbacks_leased"):
            assert any(f"USING INDEX {index}" in plan for plan in plans.found)


def test_the_statements_of_conversations_and_their_history_scan_no_table(stored: Settings, engine: Engine) -> None:
    plans, batch, scans = watched(engine, stored)
    store = SqlTransferStore(engine, batch)
    with store.begin() as transaction:
        transaction.write(Changes(transfers=[facts.transfer(number) for number in range(1, 4)]))
    scope = Scope(account_id=sample.ACCOUNT, stream_id=sample.STREAM)
    conversations, history = SqlConversations(engine), SqlHistory(engine)
    found = conversations.find(scope, ConversationFilter(source="rtm", since=1), before=None, limit=2, skip=1)
    conversations.find(scope, ConversationFilter(holder=facts.TRANSFER.target), before=None, limit=2)
    conversations.of_session(scope, sample.SESSION)
    conversations.get(scope, "c-1")
    history.find(scope, TransferFilter(agent_id=sample.AGENT, since=1), before=None, limit=1)
    history.find(scope, TransferFilter(session_id=sample.SESSION), before=None, limit=1)
    history.of_session(scope, sample.SESSION, after=None, limit=1)
    history.get(scope, "tr_1")
    store.close()

    assert found.conversations == []
    assert len(plans.found) >= 12
    assert [plan for plan in plans.found if any(scan in plan for scan in (*scans, "SCAN transfers"))] == []
    used = "\n".join(plans.found)
    if is_sqlite(stored.database_url):  # PostgreSQL chooses by its statistics, and here there are none
        counts = [used.count(f"INDEX {index}") for index in ("sessions_conversation", "sessions_held")]
        assert min(counts) >= 2
        # The steps of a conversation, the filter for its session and its history, each with where it ends.
        assert used.count("INDEX transfers_session") == 6


def test_the_statements_on_agents_and_queues_scan_no_table(stored: Settings, engine: Engine) -> None:
    plans, batch, _ = watched(engine, stored)
    scope = OrgScope(account_id=sample.ACCOUNT, org_id=sample.ORG)
    agents = Agents(store=SqlAgents(engine, engine, batch), clock=FakeClock(), ids=FakeIds())
    queues = Queues(store=SqlQueues(engine, engine), clock=FakeClock(), ids=FakeIds())
    skills = {"s-1": {"skillId": "s-1"}}
    said = AgentFields(email_id="jane@example.com", skills=skills, queues={sample.QUEUE: True}, profile={})
    made = agents.create(sample.ACCOUNT, sample.ORG, said, created_by="x").agent.agent_id
    agents.set_status(scope, made, AgentStatus.AVAILABLE, expires_in_s=60)
    agents.replace(scope, made, said)
    member = WantedMember(agent_id=made, user_id=None, is_preferred=False)
    queues.create(sample.ACCOUNT, sample.ORG, QueueFields(name="q", members=[member], profile={}), created_by="x")
    for wanted in (
        AgentFilter(),
        AgentFilter(custom_id="1111"),
        AgentFilter(agent_ids=[made, "u-1"]),
        AgentFilter(queue_ids=[sample.QUEUE, sample.OTHER_QUEUE]),
        AgentFilter(skill_ids=["s-1", "s-2"], queue_ids=[sample.QUEUE], agent_ids=[made]),
    ):
        agents.store.find(scope, wanted, limit=2, with_queues=True)
        agents.store.find_brief(scope, wanted, after="a", limit=2)
    queues.store.find(scope, limit=2)
    queues.store.queues_of(scope, [made, "u-1"], after="", limit=2)
    agents.store.accounts()
    agents.delete(scope, made)
    agents.store.close()

    tables = ("agents", "agent_skills", "queues", "queue_agents", "events", "event_heads")
    scans = [f"SCAN {name}" for name in tables] if is_sqlite(stored.database_url) else ["Seq Scan"]
    assert len(plans.found) >= 40
    assert [plan for plan in plans.found if any(scan in plan for scan in scans)] == []
    if is_sqlite(stored.database_url):  # whoever is named is found without walking through the org
        named = [plan for plan in plans.found if plan.startswith("SELECT agents.") and "agent_id IN (SELECT" in plan]
        assert len(named) == 7
        assert all("SEARCH agents USING PRIMARY KEY (account_id=? AND agent_id=?)\nLIST" in plan for plan in named)


def test_the_statements_of_the_feed_scan_no_table(stored: Settings, engine: Engine) -> None:
    plans, batch, scans = watched(engine, stored)
    with engine.begin() as connection:
        batch.write(connection, [to_feed([feed.event(number) for number in range(1, 4)])])
    store = SqlFeed(engine, batch)
    view = View(account_id=sample.ACCOUNT, stream_id=sample.STREAM, org_id=sample.ORG, agent_id=sample.AGENT)
    for after in (1, "oldest", "latest"):
        store.page(view, after=after, limit=2)
    store.heads([sample.ACCOUNT])
    store.between(sample.ACCOUNT, 1, 3)
    SqlRetention(engine).purge_step(CUTOFFS, EventPlace())

    assert len(plans.found) >= 13
    assert [plan for plan in plans.found if any(scan in plan for scan in (*scans, "SCAN e"))] == []


def test_the_statements_of_the_front_door_scan_no_table(stored: Settings, engine: Engine) -> None:
    plans, batch, scans = watched(engine, stored)
    store = SqlDirectory(engine, batch, Seals())
    store.find_apps([sample.APP, "cs-unknown"])
    store.find_streams([(sample.ACCOUNT, sample.STREAM), (sample.ACCOUNT, "st-unknown")])
    store.close()

    assert len(plans.found) == 2
    assert [plan for plan in plans.found if any(one in plan for one in (*scans, "SCAN apps", "SCAN streams"))] == []
    assert "apps_app_id" in plans.found[0]


def test_the_outboxs_depth_is_read_from_its_indexes(stored: Settings, engine: Engine) -> None:
    plans, _, _ = watched(engine, stored)
    SqlOutboxDepth(engine).read()
    kind = "INDEX" if is_sqlite(stored.database_url) else "Index Only Scan using"

    assert [f"{kind} {index}" in plan for index, plan in zip(_PARTIAL, plans.found, strict=True)] == [True, True]
