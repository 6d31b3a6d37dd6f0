"""What a directory file does to the store: new rows, renewed ones, and those that cannot be."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Table, select, update

from handoff import Settings
from handoff.directory import import_directory
from handoff.domain.credentials import fingerprint
from handoff.migrating import migrate_store
from handoff.outboxes import open_store
from handoff.service.directory_file import Entry
from handoff.service.importing import ImportReport
from handoff.service.ports import Unwritable
from handoff.store.tables import agent_skills, agents, queue_agents, queues, sessions
from handoff.stores import open_apps, open_directory_writer
from rigs import sample
from rigs.keys import public_key

Entries = Mapping[str, list[dict[str, Any]]]
FAR_AWAY = 4_000_000_000_000
PROFILE = {"roleId": "r-1", "nested": {"none": None, "list": [1, 2.5, "größer"]}}
QUEUES = sample.directory()["queues"]


class Store:
    """A fresh store that directories are brought into, each element on a line of its own from 1 on."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._engine = open_store(settings)

    def bring(self, directory: Entries) -> ImportReport:
        found = [(section, value) for section, values in directory.items() for value in values]
        return import_directory(
            self.settings, (Entry(section, line, value) for line, (section, value) in enumerate(found, start=1))
        )

    def rows(self, table: Table) -> list[dict[str, Any]]:
        with self._engine.begin() as connection:
            found = connection.execute(select(table).order_by(*table.primary_key)).mappings()
            return [dict(row) for row in found]

    def row(self, table: Table) -> dict[str, Any]:
        (row,) = self.rows(table)
        return row

    def change(self, table: Table, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(table).values(**values))

    def memberships(self) -> set[tuple[str, str, bool]]:
        return {(row["agent_id"], row["queue_id"], row["is_preferred"]) for row in self.rows(queue_agents)}

    def skills(self) -> set[tuple[str, str]]:
        return {(row["agent_id"], row["skill_id"]) for row in self.rows(agent_skills)}

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    settings = Settings(database_url=database_url)
    migrate_store(settings)
    with closing(Store(settings)) as made:
        yield made


def test_the_same_directory_again_changes_not_one_row(store: Store) -> None:
    directory = {
        **sample.directory(),
        "queues": [{**queue, "profile": PROFILE} for queue in QUEUES],
        "agents": [
            sample.agent(queues=[{"id": sample.QUEUE}], skills=["s-1"], profile=PROFILE, statusExpiresAt=5),
            sample.agent(sample.OTHER_AGENT, onlineStatusType=None),
        ],
        "sessions": [sample.session(source="rtm", language="en", profile=PROFILE), sample.session("s-2")],
    }
    in_order = {name: directory[name] for name in ("apps", "streams", "queues", "agents", "sessions")}
    tables = (queues, agents, queue_agents, agent_skills, sessions)

    first = store.bring(in_order)
    before = {table.name: store.rows(table) for table in tables}
    second = store.bring(in_order)

    assert (first.errors, first.secrets, second) == ([], [], first)
    assert {table.name: store.rows(table) for table in tables} == before


def test_a_new_session_is_with_the_bot_and_has_what_its_entry_says(store: Store) -> None:
    store.bring(
        {
            "sessions": [
                sample.session(
                    conversationId="c-1", source="rtm", language="de", startTime=1_700_000_000_000, profile=PROFILE
                )
            ]
        }
    )

    assert store.row(sessions) == {
        "account_id": sample.ACCOUNT,
        "session_id": sample.SESSION,
        "stream_id": sample.STREAM,
        "org_id": sample.ORG,
        "state": "bot",
        "holder_id": None,
        "version": 0,
        "transfer_id": None,
        "conversation_id": "c-1",
        "source": "rtm",
        "language": "de",
        "profile": PROFILE,
        "opened_at": 1_700_000_000_000,
    }


def test_a_renewed_session_keeps_its_holder_its_conversation_and_what_is_left_out(store: Store) -> None:
    store.bring({"sessions": [sample.session(source="rtm", language="de", profile=PROFILE)]})
    store.change(sessions, state="agent", holder_id=sample.AGENT, version=4, transfer_id="tr_1")
    before = store.row(sessions)

    store.bring({"sessions": [sample.session(conversationId="c-other", startTime=1, language="en", streamId="st-2")]})

    assert store.row(sessions) == before | {"language": "en", "stream_id": "st-2"}


def test_a_closed_session_stays_closed(store: Store) -> None:
    store.bring({"sessions": [sample.session()]})
    store.change(sessions, state="closed", version=1)

    store.bring({"sessions": [sample.session(source="rtm")]})

    assert (store.row(sessions)["state"], store.row(sessions)["version"]) == ("closed", 1)


def test_a_new_agent_is_offline_unless_its_entry_says_more(store: Store) -> None:
    store.bring({"agents": [sample.agent(onlineStatusType=None), sample.agent("a-2", statusExpiresAt=FAR_AWAY)]})
    by_id = {row["agent_id"]: row for row in store.rows(agents)}
    plain, other = by_id[sample.AGENT], by_id["a-2"]

    assert (plain["status"], plain["profile"], plain["last_online_at"]) == ("OFFLINE", {}, None)
    assert (other["status"], other["status_expires_at"]) == ("AVAILABLE", FAR_AWAY)
    assert other["last_online_at"] == other["created_at"] == other["updated_at"]


def test_a_renewed_agent_keeps_its_load_its_status_and_what_is_left_out(store: Store) -> None:
    store.bring(
        {
            "queues": QUEUES,
            "agents": [sample.agent(queues=[{"id": sample.QUEUE}], skills=["s-1"], profile=PROFILE, statusExpiresAt=9)],
        }
    )
    store.change(agents, active_sessions=3, updated_at=1, created_at=1, last_online_at=1)
    before = store.row(agents)

    store.bring({"agents": [sample.agent(onlineStatusType=None, maxChatSupport=7)]})
    after = store.row(agents)

    assert after.pop("updated_at") > 1
    assert after == {name: value for name, value in before.items() if name != "updated_at"} | {"max_sessions": 7}
    assert (store.memberships(), store.skills()) == ({(sample.AGENT, sample.QUEUE, False)}, {(sample.AGENT, "s-1")})


def test_a_status_that_is_given_lasts_as_long_as_it_says(store: Store) -> None:
    store.bring({"agents": [sample.agent(onlineStatusType="OFFLINE")]})
    store.bring({"agents": [sample.agent(statusExpiresAt=FAR_AWAY)]})
    online = store.row(agents)
    store.bring({"agents": [sample.agent()]})
    for_ever = store.row(agents)

    assert (online["status"], online["status_expires_at"]) == ("AVAILABLE", FAR_AWAY)
    assert online["last_online_at"] == online["updated_at"]
    assert (for_ever["status"], for_ever["status_expires_at"]) == ("AVAILABLE", None)
    assert for_ever["last_online_at"] == online["last_online_at"]


def test_who_comes_online_again_after_a_status_has_lapsed_comes_online_now(store: Store) -> None:
    store.bring({"agents": [sample.agent(statusExpiresAt=FAR_AWAY)]})
    store.change(agents, status_expires_at=9, last_online_at=5)
    store.bring({"agents": [sample.agent(statusExpiresAt=8)]})
    lapsed = store.row(agents)
    store.bring({"agents": [sample.agent()]})

    assert lapsed["last_online_at"] == 5
    assert store.row(agents)["last_online_at"] == store.row(agents)["updated_at"]


def test_the_queues_and_skills_of_an_entry_take_the_place_of_those_there_were(store: Store) -> None:
    both = [{"id": sample.QUEUE, "isPreferredAgent": True}, {"id": sample.OTHER_QUEUE}]
    store.bring({"queues": QUEUES, "agents": [sample.agent(queues=both, skills=["s-1", "s-2", "s-1"])]})
    store.bring({"agents": [sample.agent("a-2", queues=both, skills=["s-1"])]})
    first = store.memberships(), store.skills()

    store.bring({"agents": [sample.agent(queues=[{"id": sample.OTHER_QUEUE, "isPreferredAgent": True}], skills=[])]})

    assert first[0] == {
        (agent, queue, queue == sample.QUEUE)
        for agent in (sample.AGENT, "a-2")
        for queue in (sample.QUEUE, sample.OTHER_QUEUE)
    }
    assert first[1] == {(sample.AGENT, "s-1"), (sample.AGENT, "s-2"), ("a-2", "s-1")}
    assert {one for one in store.memberships() if one[0] == sample.AGENT} == {(sample.AGENT, sample.OTHER_QUEUE, True)}
    assert {one for one in store.memberships() if one[0] == "a-2"} == {one for one in first[0] if one[0] == "a-2"}
    assert store.skills() == {("a-2", "s-1")}


def test_agents_of_another_account_keep_their_queues_and_skills(store: Store) -> None:
    listed: dict[str, Any] = {"queues": [{"id": sample.QUEUE}], "skills": ["s-1"]}
    theirs: dict[str, Any] = {"accountId": "acc-2"}
    store.bring(
        {
            "queues": [*QUEUES, {**QUEUES[0], **theirs}],
            "agents": [sample.agent(**listed), sample.agent(**listed, **theirs)],
        }
    )

    store.bring({"agents": [sample.agent(queues=[], skills=[])]})

    assert [row["account_id"] for row in store.rows(queue_agents)] == ["acc-2"]
    assert [row["account_id"] for row in store.rows(agent_skills)] == ["acc-2"]


def test_a_queue_that_the_org_has_not_is_told_with_its_line(store: Store) -> None:
    other_org = {**QUEUES[0], "orgId": "o-2"}
    agent = sample.agent(queues=[{"id": sample.QUEUE}])

    report = store.bring({"queues": [other_org], "agents": [sample.agent("a-1"), agent, sample.agent("a-3")]})

    assert report.errors == [f"line 3: agents: queues: org {sample.ORG} has no queue {sample.QUEUE}"]
    assert [row["agent_id"] for row in store.rows(agents)] == ["a-1", "a-3"]
    assert store.rows(queue_agents) == []


@pytest.mark.parametrize("field", ["userId", "emailId"])
@pytest.mark.parametrize("is_known", [True, False], ids=["in the store", "in the file"])
def test_a_second_agent_with_the_same_user_or_address_is_told_with_its_line(
    store: Store, field: str, *, is_known: bool
) -> None:
    first, second = (sample.agent(agent, **{field: "u-1"}) for agent in ("a-1", "a-2"))
    store.bring({"agents": [first] if is_known else []})

    report = store.bring({"agents": [first, second, sample.agent("a-3")]})

    assert report.errors == [f"line 2: agents: {field}: another agent of the org has it"]
    assert [row["agent_id"] for row in store.rows(agents)] == ["a-1", "a-3"]


def test_no_address_is_nobodys_and_another_org_is_another_matter(store: Store) -> None:
    entries = [sample.agent("a-1"), sample.agent("a-2"), sample.agent("a-3", userId="u-a-1", orgId="o-2")]

    assert store.bring({"agents": entries}).errors == []


def test_a_conversation_of_another_session_is_told_with_its_line(store: Store) -> None:
    entries = [sample.session(f"s-{number}", conversationId=f"c-{number % 2}") for number in (1, 2, 3)]

    report = store.bring({"sessions": entries})

    assert report.errors == ["line 3: sessions: conversationId: another session of the account has it"]
    assert report.written == {"sessions": 2}


def test_an_app_of_another_account_is_told_with_its_line(store: Store) -> None:
    report = store.bring({"apps": [sample.app(), sample.app(accountId="acc-2")]})

    assert report.errors == ["line 2: apps: appId: another account has an app with this id"]


def test_a_row_that_stands_twice_in_a_file_is_renewed_by_its_second(store: Store) -> None:
    entries = [
        sample.session(source="rtm"),
        sample.session("s-2"),
        sample.session(language="de"),
        sample.session("s-2", source="sms"),
    ]
    store.bring({"sessions": entries})

    assert [(row["session_id"], row["source"], row["language"]) for row in store.rows(sessions)] == [
        (sample.SESSION, "rtm", "de"),
        ("s-2", "sms", None),
    ]


def test_while_many_rows_come_in_postgres_learns_how_they_are_spread(postgres_url: str) -> None:
    """Or it plans as for tables that are empty, and a thousand agents take seconds once there are ten thousand."""
    listed: dict[str, Any] = {"skills": ["s-1", "s-2"], "queues": [{"id": sample.QUEUE}]}
    many = [sample.agent(f"a-{number}", **listed) for number in range(1_500)]
    with closing(Store(Settings(database_url=postgres_url))) as store:
        store.bring({"queues": QUEUES, "agents": many})
        engine = open_store(store.settings)
        with engine.begin() as connection:
            seen = connection.exec_driver_sql("SELECT tablename FROM pg_stats WHERE attname = 'account_id'")
            looked_at = set(seen.scalars())
        engine.dispose()

    assert looked_at == {"agents", "queue_agents", "agent_skills"}


def test_a_value_that_postgres_cannot_take_is_the_rows_own_fault(postgres_url: str) -> None:
    names = ("account_id", "stream_id", "org_id", "name")
    with closing(open_directory_writer(Settings(database_url=postgres_url))) as writer, pytest.raises(Unwritable):
        writer.upsert("streams", [dict.fromkeys(names, "\0")])


def secrets(store: Store, app_id: str = sample.APP) -> list[str]:
    opened = open_apps(store.settings)
    with closing(opened.store):
        return [secret.fingerprint for secret in opened.get(app_id).secrets]


@pytest.mark.parametrize(
    "left_out", [sample.app(secrets=[]), {k: v for k, v in sample.app().items() if k != "secrets"}]
)
def test_a_known_app_keeps_its_secrets_and_a_new_one_is_given_one(store: Store, left_out: dict[str, Any]) -> None:
    store.bring({"apps": [sample.app(secrets=["n" * 64, sample.SECRET])]})

    report = store.bring({"apps": [{**left_out, "name": "Renamed"}, {**left_out, "appId": "cs-2"}]})

    (made,) = report.secrets
    assert (made.app_id, made.account_id) == ("cs-2", sample.ACCOUNT)
    assert secrets(store, "cs-2") == [fingerprint(made.secret)]
    assert secrets(store) == [fingerprint("n" * 64), fingerprint(sample.SECRET)]
    assert made.secret not in repr(report)


def test_an_app_that_goes_over_to_public_keys_has_no_secrets_left(store: Store) -> None:
    store.bring({"apps": [sample.app()]})
    store.bring({"apps": [sample.app(secrets=[], algorithms=["ES256"], publicKeys=[public_key()])]})

    assert secrets(store) == []


def test_secrets_that_are_kept_must_do_for_the_algorithms(store: Store) -> None:
    store.bring({"apps": [sample.app(secrets=["x" * 32])]})

    report = store.bring({"apps": [sample.app(secrets=[], algorithms=["HS512"])]})

    assert report.errors == [
        "line 1: apps: secrets: those that the app has will not do: each of secrets needs 64 bytes or more"
    ]


@pytest.mark.parametrize(
    ("section", "entry", "sentence"),
    [
        ("agents", sample.agent(queues=[{"isPreferredAgent": True}]), "queues.0.id: required."),
        ("agents", sample.agent(queues=[{"id": "qu-1", "name": "x"}]), "queues.0.name: no such field."),
        ("agents", sample.agent(skills=["no skill!"]), "skills.0: "),
        ("agents", sample.agent(profile=[]), "profile: "),
        ("agents", sample.agent(onlineStatusType=None, statusExpiresAt=1), "statusExpiresAt needs onlineStatusType"),
        ("queues", {**QUEUES[0], "agents": []}, "agents: no such field."),
        ("sessions", sample.session(state="agent"), "state: no such field."),
        ("sessions", sample.session(startTime="yesterday"), "startTime: "),
        ("sessions", sample.session(startTime=1 << 63), "startTime: "),
        ("sessions", sample.session(conversationId=""), "conversationId: "),
        ("sessions", sample.session(source="\ud800"), "source: "),
        ("sessions", sample.session(profile={"x": float("nan")}), "profile: numbers must be finite."),
        ("sessions", sample.session(language="en us"), "language: "),
        ("queues", {**QUEUES[0], "profile": {"x": ["\0"]}}, "profile: text must be Unicode without U+0000"),
        ("agents", sample.agent(firstName="\0"), "firstName: text must be Unicode without U+0000"),
        ("apps", sample.app(requireJti="often"), "requireJti: "),
        ("bots", {}, "no such section; there are apps, streams, queues, agents, sessions"),
    ],
)
def test_an_entry_that_cannot_be_is_told_with_its_field(
    sqlite_url: str, section: str, entry: dict[str, Any], sentence: str
) -> None:
    with closing(Store(Settings(database_url=sqlite_url))) as store:
        (error,) = store.bring({section: [entry]}).errors

    assert error.startswith(f"line 1: {section}: {sentence}")
