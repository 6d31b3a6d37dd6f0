"""Sessions read as conversations, on both databases."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, event

from handoff import Settings, load_directory
from handoff.domain.ids import conversation_id_at
from handoff.domain.model import OpenRequest, Session, SessionState, Target, TargetKind
from handoff.service.conversations import ConversationFilter, StoredConversation
from handoff.service.ports import Changes, NewSession, TransferStore
from handoff.service.scope import Scope
from handoff.store.conversations import SqlConversations
from handoff.store.engine import open_reader
from rigs import facts, sample

HERE = Scope(account_id=sample.ACCOUNT, stream_id=sample.STREAM)
ANY = ConversationFilter()
AGENT = Target(TargetKind.AGENT, sample.AGENT)
QUEUE = Target(TargetKind.QUEUE, sample.QUEUE)
BOT, END = Target(TargetKind.BOT, ""), Target(TargetKind.CLOSED, "")


@pytest.fixture
def conversations(stored: Settings) -> Iterator[SqlConversations]:
    opened = SqlConversations(open_reader(stored.database_url))
    yield opened
    opened.close()


def session(name: str, *, state: SessionState = SessionState.BOT, **changes: Any) -> Session:
    """A session whose conversation has the same name."""
    holders = {SessionState.AGENT: sample.AGENT, SessionState.QUEUE: sample.QUEUE}
    fields: dict[str, Any] = {
        "account_id": sample.ACCOUNT,
        "session_id": name,
        "conversation_id": f"c-{name}",
        "stream_id": sample.STREAM,
        "org_id": sample.ORG,
        "state": state,
        "holder_id": holders.get(state),
        "version": 0,
        "transfer_id": None,
    }
    return Session(**fields | changes)


def opening(**changes: Any) -> OpenRequest:
    fields: dict[str, Any] = {
        "account_id": sample.ACCOUNT,
        "app_id": sample.APP,
        "stream_id": sample.STREAM,
        "org_id": sample.ORG,
        "session_id": "s",
        "request_id": "r-1",
    }
    return OpenRequest(**fields | changes)


def write(transfers: TransferStore, *sessions: Session, opened_at: int = 1, **said: Any) -> None:
    """New sessions, and what their openings say."""
    news = [NewSession(session=one, opening=opening(**said), opened_at=opened_at) for one in sessions]
    with transfers.begin() as transaction:
        transaction.write(Changes(new_sessions=news))


def win(transfers: TransferStore, session_id: str, *targets: Target, first: int = 1, **changes: Any) -> None:
    """Won transfers of a session, one after the other, told apart by four digits."""
    before = Target(TargetKind.BOT, "")
    rows = []
    for number, target in enumerate(targets, start=first):
        rows.append(
            facts.transfer(
                number,
                transfer_id=f"tr_{session_id}-{number:04}",
                session_id=session_id,
                target=target,
                previous_state=SessionState(before.kind.value),
                previous_holder_id=before.id or None,
                version=number,
                completed_at=number * 100,
                **changes,
            )
        )
        before = target
    with transfers.begin() as transaction:
        transaction.write(Changes(transfers=rows))


def names(found: Sequence[StoredConversation]) -> list[str]:
    return [one.session.session_id for one in found]


def found(conversations: SqlConversations, wanted: ConversationFilter = ANY, scope: Scope = HERE) -> list[str]:
    """The names, without that of the sample's own session."""
    page = conversations.find(scope, wanted, before=None, limit=100)
    return [name for name in names(page.conversations) if name != sample.SESSION]


def test_a_conversation_is_read_with_what_was_said_at_its_opening(
    transfers: TransferStore, conversations: SqlConversations
) -> None:
    profile = {"userInfo": {"firstName": "Zoë"}, "userId": "u-9"}
    write(transfers, session("s-1"), opened_at=77, source="rtm", language="de", profile=profile)

    one = conversations.get(HERE, "c-s-1")

    assert one == conversations.of_session(HERE, "s-1")
    assert one is not None
    assert one.session == session("s-1")
    assert (one.source, one.language, one.profile, one.opened_at, one.steps) == ("rtm", "de", profile, 77, [])


def test_a_session_of_which_nothing_was_said_has_an_empty_profile(
    transfers: TransferStore, conversations: SqlConversations
) -> None:
    write(transfers, session("s-1"))

    one = conversations.of_session(HERE, "s-1")

    assert one is not None
    assert (one.source, one.language, one.profile) == (None, None, {})


def test_its_steps_are_its_won_transfers_in_the_order_of_versions_with_what_the_targets_are_called(
    transfers: TransferStore, conversations: SqlConversations
) -> None:
    write(transfers, session("s-1", state=SessionState.CLOSED), session("s-2"))
    win(transfers, "s-1", QUEUE, AGENT, Target(TargetKind.AGENT, "a-gone"), BOT, END)
    win(transfers, "s-2", AGENT)
    with transfers.begin() as transaction:
        refused = facts.transfer(9, session_id="s-1", status=409, code="agent_unavailable", version=None)
        # Made in another process by a clock that runs behind: its id is the least, its version the greatest.
        late = facts.transfer(0, transfer_id="tr_0", session_id="s-1", target=END, version=6, completed_at=600)
        transaction.write(Changes(transfers=[refused, late]))

    one = conversations.of_session(HERE, "s-1")

    assert one is not None
    assert [(step.at, step.target, step.shown_id) for step in one.steps] == [
        (100, QUEUE, sample.QUEUE),
        (200, AGENT, f"u-{sample.AGENT}"),
        (300, Target(TargetKind.AGENT, "a-gone"), "a-gone"),
        (400, BOT, ""),
        (500, END, ""),
        (600, END, ""),
    ]
    assert one.steps[1].previous_holder_id == sample.QUEUE
    assert (one.steps[0].previous_state, one.steps[3].previous_state) == (SessionState.BOT, SessionState.AGENT)


def test_a_target_is_called_what_the_directory_calls_it_now(
    transfers: TransferStore, conversations: SqlConversations, stored: Settings
) -> None:
    write(transfers, session("s-1"))
    win(transfers, "s-1", QUEUE, AGENT)
    named = sample.agent(firstName="Zoë", lastName="Doe", emailId="zoe@example.com")
    queue = {"id": sample.QUEUE, "orgId": sample.ORG, "accountId": sample.ACCOUNT, "name": "Sales"}
    load_directory(stored, {"agents": [named], "queues": [queue]})

    one = conversations.of_session(HERE, "s-1")

    assert one is not None
    assert [(step.name, step.email_id) for step in one.steps] == [("Sales", ""), ("Zoë Doe", "zoe@example.com")]


READS: dict[str, Callable[[SqlConversations], StoredConversation | None]] = {
    "shown": lambda conversations: conversations.of_session(HERE, "s-1"),
    "listed": lambda conversations: conversations.find(HERE, ANY, before="c-t", limit=1).conversations[0],
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_session_and_its_steps_are_of_one_moment(
    transfers: TransferStore, stored: Settings, read: Callable[[SqlConversations], StoredConversation | None]
) -> None:
    engine = open_reader(stored.database_url)
    conversations = SqlConversations(engine)
    write(transfers, session("s-1"))

    meanwhile = [AGENT]

    def assign(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        """Between the first statement of the read and its next."""
        if meanwhile and statement.startswith("SELECT"):
            win(transfers, "s-1", meanwhile.pop())
            with transfers.begin() as transaction:
                transaction.write(Changes(sessions=[session("s-1", state=SessionState.AGENT, version=1)]))

    event.listen(engine, "after_cursor_execute", assign)
    before, after = read(conversations), read(conversations)
    conversations.close()

    assert before is not None
    assert after is not None
    assert (before.session.version, len(before.steps)) == (0, 0)
    assert (after.session.version, len(after.steps)) == (1, 1)


def test_of_a_session_with_very_many_attempts_the_newest_are_looked_through(
    transfers: TransferStore, stored: Settings
) -> None:
    conversations = SqlConversations(open_reader(stored.database_url), most_attempts=3)
    write(transfers, session("s-1"), session("s-2"))
    win(transfers, "s-1", AGENT, BOT, AGENT, BOT, AGENT)
    win(transfers, "s-2", AGENT, BOT)

    page = conversations.find(HERE, ANY, before="c-t", limit=10)
    one = conversations.of_session(HERE, "s-1")
    conversations.close()

    assert one is not None
    assert [step.at for step in one.steps] == [300, 400, 500]
    listed = {c.session.session_id: len(c.steps) for c in page.conversations}
    assert (listed["s-1"], listed["s-2"]) == (3, 2)


def test_the_newest_come_first_and_pages_follow_each_other_without_gap_or_repeat(
    transfers: TransferStore, conversations: SqlConversations
) -> None:
    write(transfers, *(session(f"s-{number}") for number in range(7)))
    seen: list[str] = []
    before: str | None = "c-t"
    while before is not None:
        page = conversations.find(HERE, ANY, before=before, limit=3)
        seen += names(page.conversations)
        before = page.next_before

    assert [name for name in seen if name != sample.SESSION] == [f"s-{number}" for number in reversed(range(7))]
    assert len(seen) == len(set(seen))


def test_filters_narrow_the_list_and_both_kinds_of_holder_are_told_apart(
    transfers: TransferStore, conversations: SqlConversations
) -> None:
    for name, state in zip(("s-1", "s-2", "s-3", "s-4"), SessionState, strict=True):
        write(transfers, session(name, state=state), source="rtm" if name > "s-2" else None, language="de")
    # A queue that is called like the agent.
    write(transfers, session("s-5", state=SessionState.QUEUE, holder_id=sample.AGENT), language="en")

    assert found(conversations) == ["s-5", "s-4", "s-3", "s-2", "s-1"]
    assert found(conversations, ConversationFilter(states=frozenset({SessionState.AGENT}))) == ["s-3"]
    assert found(conversations, ConversationFilter(states=frozenset({SessionState.BOT, SessionState.QUEUE}))) == [
        "s-5",
        "s-2",
        "s-1",
    ]
    assert found(conversations, ConversationFilter(states=frozenset())) == []
    assert found(conversations, ConversationFilter(source="rtm")) == ["s-4", "s-3"]
    assert found(conversations, ConversationFilter(source="rtm", language="en")) == []
    assert found(conversations, ConversationFilter(language="en")) == ["s-5"]
    assert found(conversations, ConversationFilter(holder=AGENT)) == ["s-3"]
    assert found(conversations, ConversationFilter(holder=QUEUE)) == ["s-2"]
    assert found(conversations, ConversationFilter(holder=Target(TargetKind.QUEUE, sample.AGENT))) == ["s-5"]
    assert found(conversations, ConversationFilter(holder=AGENT, states=frozenset({SessionState.BOT}))) == []


def test_since_leaves_out_what_was_opened_before_also_where_ids_tell_no_time(
    transfers: TransferStore, conversations: SqlConversations
) -> None:
    moment = 1_700_000_000_000
    for name, opened_at, conversation_id in (
        ("s-1", moment - 1, conversation_id_at(moment - 1) + "-1"),
        ("s-2", moment, conversation_id_at(moment - 900) + "-2"),
        ("s-3", moment + 1, conversation_id_at(moment + 1) + "-3"),
        ("s-4", 0, "c-6538f8a3c9cf425ee5cfxxxx"),
    ):
        write(transfers, session(name, conversation_id=conversation_id), opened_at=opened_at)

    assert found(conversations, ConversationFilter(since=moment)) == ["s-3", "s-2"]
    assert sorted(found(conversations, ConversationFilter(since=0))) == ["s-1", "s-2", "s-3", "s-4"]


def test_some_may_be_skipped_across_pages_that_are_cut_short(transfers: TransferStore, stored: Settings) -> None:
    conversations = SqlConversations(open_reader(stored.database_url), most_scanned=4)
    write(transfers, *(session(f"s-{number}", state=SessionState.CLOSED) for number in range(0, 10, 2)))
    write(transfers, *(session(f"s-{number}") for number in range(1, 10, 2)))
    closed = ConversationFilter(states=frozenset({SessionState.CLOSED}))
    left_out, before, seen = 3, "c-t", []

    pages = []
    while True:
        page = conversations.find(HERE, closed, before=before, limit=10, skip=left_out)
        pages.append((names(page.conversations), page.left_to_skip))
        seen += names(page.conversations)
        if page.next_before is None:
            break
        before, left_out = page.next_before, page.left_to_skip
    conversations.close()

    assert seen == ["s-2", "s-0"]
    assert pages[0] == ([], 1)


def test_a_search_that_finds_little_stops_and_tells_where_to_go_on(transfers: TransferStore, stored: Settings) -> None:
    conversations = SqlConversations(open_reader(stored.database_url), most_scanned=5)
    write(transfers, session("s-1"), source="sms")
    write(transfers, *(session(f"s-{number}") for number in range(2, 10)))
    rare = ConversationFilter(source="sms")

    first = conversations.find(HERE, rare, before="c-t", limit=10)
    second = conversations.find(HERE, rare, before=first.next_before, limit=10)
    conversations.close()

    assert (first.conversations, first.next_before) == ([], "c-s-5")
    assert names(second.conversations) == ["s-1"]


def test_another_account_and_another_stream_see_nothing(
    transfers: TransferStore, conversations: SqlConversations
) -> None:
    write(transfers, session("s-1", state=SessionState.AGENT))
    strangers = [Scope(account_id="acc-2"), Scope(account_id=sample.ACCOUNT, stream_id="st-2")]

    for scope in strangers:
        assert found(conversations, ANY, scope) == []
        assert found(conversations, ConversationFilter(holder=AGENT), scope) == []
        assert conversations.get(scope, "c-s-1") is None
        assert conversations.of_session(scope, "s-1") is None
    assert conversations.get(replace(HERE, stream_id=None), "c-s-1") is not None


def test_another_accounts_session_of_the_same_name_lends_no_steps(
    transfers: TransferStore, conversations: SqlConversations
) -> None:
    write(transfers, session("s-1"), session("s-1", account_id="acc-2", conversation_id="c-2"))
    win(transfers, "s-1", AGENT, account_id="acc-2")

    here = conversations.of_session(HERE, "s-1")
    there = conversations.of_session(Scope(account_id="acc-2"), "s-1")

    assert here is not None
    assert here.steps == []
    assert there is not None
    assert [step.shown_id for step in there.steps] == [sample.AGENT]


def test_every_account_with_sessions_is_told(transfers: TransferStore, conversations: SqlConversations) -> None:
    for account in ("acc-2", "acc-1"):
        write(transfers, session("s-1", account_id=account))

    assert sorted(conversations.accounts()) == sorted([sample.ACCOUNT, "acc-1", "acc-2"])
