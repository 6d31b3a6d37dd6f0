"""The feed of events as it is stored: positions, pages and what each caller sees of them, on both databases."""

import itertools
import random
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, update

from handoff import Settings
from handoff.domain.event import EventKind
from handoff.service.audit import Violation
from handoff.service.feed import EventsGone, FeedStore, UnknownPosition, View
from handoff.store.audit import SqlAudit
from handoff.store.events import SqlFeed
from handoff.store.tables import event_heads, events
from rigs import feed, sample
from rigs.feed import FeedWriter

VIEW = View(account_id=sample.ACCOUNT, stream_id=sample.STREAM, org_id=sample.ORG)


@pytest.fixture
def writer(stored: Settings) -> Iterator[FeedWriter]:
    with feed.writer(stored.database_url) as made:
        yield made


@pytest.fixture
def store(stored: Settings) -> Iterator[SqlFeed]:
    made = feed.open_store(stored)
    yield made
    made.close()


def purge(writer: FeedWriter, upto: int) -> None:
    with writer.begin() as connection:
        connection.execute(delete(events).where(events.c.position <= upto))


def test_positions_count_up_from_one_within_each_account(writer: FeedWriter, store: FeedStore) -> None:
    writer.write(feed.event("a"), feed.event("x", account_id="acc-2"), feed.event("b"))
    writer.write(feed.event("c"))

    page = store.page(VIEW, after=0, limit=10)

    assert [(one.position, one.kind, one.at) for one in page.events] == [
        (position, "session.transferred", 1_700_000_000_000) for position in (1, 2, 3)
    ]
    assert feed.names(page.events) == ["a", "b", "c"]
    assert page.next == 3
    assert store.heads({sample.ACCOUNT, "acc-2", "acc-3"}) == {sample.ACCOUNT: 3, "acc-2": 1}


def test_a_transaction_that_fails_leaves_no_gap(writer: FeedWriter, store: FeedStore) -> None:
    writer.write(feed.event("a"))
    with pytest.raises(ZeroDivisionError), writer.begin() as connection:
        writer.append(connection, feed.event("lost"))
        raise ZeroDivisionError
    writer.write(feed.event("b"))

    found = store.page(VIEW, after=0, limit=10).events

    assert [(one.position, name) for one, name in zip(found, feed.names(found), strict=True)] == [(1, "a"), (2, "b")]


def test_pages_follow_by_their_next_position(writer: FeedWriter, store: FeedStore) -> None:
    writer.write(*(feed.event(number) for number in range(8)))

    assert feed.walked(store, VIEW) == list(range(1, 9))
    assert feed.walked(store, VIEW, after=5) == [6, 7, 8]
    assert store.page(VIEW, after="latest", limit=3).next == 8


def test_a_feed_without_events_begins_at_zero(store: FeedStore) -> None:
    for after in ("oldest", "latest", 0):
        page = store.page(VIEW, after=after, limit=1)

        assert (page.events, page.next) == ([], 0)


def test_a_position_that_the_feed_has_not_come_to_is_refused(writer: FeedWriter, store: FeedStore) -> None:
    writer.write(feed.event(1), feed.event(2))

    assert store.locate(sample.ACCOUNT, 2) == 2
    with pytest.raises(UnknownPosition):
        store.locate(sample.ACCOUNT, 3)
    with pytest.raises(UnknownPosition):
        store.page(VIEW, after=3, limit=1)


def test_what_follows_a_purged_event_is_gone_unless_it_is_the_next(writer: FeedWriter, store: FeedStore) -> None:
    writer.write(*(feed.event(number) for number in range(1, 6)))
    purge(writer, upto=3)

    assert feed.walked(store, VIEW) == [4, 5]
    assert feed.walked(store, VIEW, after=3) == [4, 5]
    for after in (0, 2):
        with pytest.raises(EventsGone) as caught:
            store.page(VIEW, after=after, limit=1)
        assert (caught.value.after, caught.value.oldest) == (after, 4)


def test_a_feed_whose_events_are_all_purged_goes_on_where_it_was(writer: FeedWriter, store: FeedStore) -> None:
    writer.write(feed.event(1), feed.event(2))
    purge(writer, upto=2)

    assert (store.locate(sample.ACCOUNT, "oldest"), store.locate(sample.ACCOUNT, "latest")) == (2, 2)
    with pytest.raises(EventsGone):
        store.locate(sample.ACCOUNT, 1)
    writer.write(feed.event(3))
    assert feed.walked(store, VIEW, after=2) == [3]


def test_a_caller_sees_its_streams_sessions_and_its_orgs_agents_and_nothing_else(
    writer: FeedWriter, store: FeedStore
) -> None:
    changed = {"kind": EventKind.AGENT_UPDATED, "stream_id": None}
    writer.write(
        feed.event("own session"),
        feed.event("another stream's", stream_id="st-2"),
        feed.event("own agent", **changed),
        feed.event("another org's agent", org_id="o-2", **changed),
        feed.event("another account's", account_id="acc-2"),
    )

    assert feed.names(store.page(VIEW, after=0, limit=10).events) == ["own session", "own agent"]
    assert store.page(VIEW, after=0, limit=10).next == 4


def test_one_agent_is_followed_as_the_holder_and_as_the_one_before(writer: FeedWriter, store: FeedStore) -> None:
    writer.write(
        feed.event("got"),
        feed.event("gave", agent_id="a-2", previous_agent_id=sample.AGENT),
        feed.event("others", agent_id="a-2", previous_agent_id="a-3"),
        feed.event("opened", agent_id=None),
        feed.event("changed", stream_id=None),
    )
    view = View(account_id=sample.ACCOUNT, stream_id=sample.STREAM, org_id=sample.ORG, agent_id=sample.AGENT)

    assert feed.names(store.page(view, after=0, limit=10).events) == ["got", "gave", "changed"]


def test_the_database_shows_what_a_view_shows(writer: FeedWriter, store: FeedStore) -> None:
    streams, orgs, agents = (sample.STREAM, "st-2", None), (sample.ORG, "o-2"), (sample.AGENT, "a-2", None)
    made = [
        feed.event(number, stream_id=stream, org_id=org, agent_id=agent, previous_agent_id=previous)
        for number, (stream, org, agent, previous) in enumerate(itertools.product(streams, orgs, agents, agents))
    ]
    random.Random(1).shuffle(made)
    writer.write(*made)
    everything = store.between(sample.ACCOUNT, 0, len(made))

    for stream, org, agent in itertools.product(("st-2", sample.STREAM), orgs, agents):
        view = View(account_id=sample.ACCOUNT, stream_id=stream, org_id=org, agent_id=agent)
        expected = [event.position for event in everything if view.shows(event)]
        assert feed.walked(store, view) == expected
        assert 0 < len(expected) < len(made)


def test_a_search_stops_after_so_many_rows_and_tells_where_to_go_on(writer: FeedWriter, stored: Settings) -> None:
    writer.write(*(feed.event(number, stream_id="st-2") for number in range(25)), feed.event("wanted"))
    store = feed.open_store(stored, most_scanned=10)

    pages = [store.page(VIEW, after=after, limit=5) for after in (0, 10, 20, 26)]
    store.close()

    assert [(feed.names(page.events), page.next) for page in pages] == [
        ([], 10),
        ([], 20),
        (["wanted"], 26),
        ([], 26),
    ]


def test_the_doctor_finds_gaps_and_a_head_that_is_not_the_last(writer: FeedWriter, audit: SqlAudit) -> None:
    writer.write(*(feed.event(number) for number in range(1, 6)))
    writer.write(*(feed.event(number, account_id="acc-2") for number in range(1, 4)))
    writer.write(feed.event(1, account_id="acc-3"))
    purge(writer, upto=1)
    before = audit.violations()

    with writer.begin() as connection:
        connection.execute(delete(events).where(events.c.account_id == sample.ACCOUNT, events.c.position == 3))
        connection.execute(update(event_heads).where(event_heads.c.account_id == "acc-2").values(position=7))

    assert before == []
    assert sorted(audit.violations(), key=lambda one: one.subject) == [
        Violation("feed", f"{sample.ACCOUNT}/2", "keeps 3 events from 2 to 5 while the feed stands at 5"),
        Violation("feed", "acc-2/2", "keeps 2 events from 2 to 3 while the feed stands at 7"),
    ]
