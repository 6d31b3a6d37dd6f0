"""`handoff import` and `handoff export`: what goes in comes out, on either store and between them."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, text

from conftest import StartService
from handoff import Settings, load_directory
from handoff.directory import export_directory
from handoff.migrating import migrate_store
from handoff.outboxes import open_store
from handoff.store import tables
from rigs import sample
from rigs.command import handoff
from rigs.keys import NEW, OTHER, public_key
from rigs.service import environment

Directory = dict[str, list[dict[str, Any]]]

WHOLE: Directory = {
    "apps": [
        sample.app(streams="*", scopes=["Routing", "Configuration"], requireExp=True, requireJti=True, enabled=False),
        sample.app(appId="cs-2", secrets=["n" * 64, "o" * 64], algorithms=["HS512"]),
    ],
    "streams": [{"streamId": sample.STREAM, "orgId": sample.ORG, "accountId": sample.ACCOUNT, "name": "Größe"}],
    "queues": [
        {"id": sample.QUEUE, "orgId": sample.ORG, "accountId": sample.ACCOUNT, "name": "Billing"},
        {"id": "qu-2", "orgId": sample.ORG, "accountId": sample.ACCOUNT, "profile": {"hours": [None, 1.5]}},
    ],
    "agents": [
        sample.agent(
            firstName="Jane",
            lastName='"Doe"\n',
            emailId="jane@example.com",
            customId="1111",
            queues=[{"id": sample.QUEUE, "isPreferredAgent": True}, {"id": "qu-2"}],
            skills=["s-1", "s-2"],
            statusExpiresAt=4_000_000_000_000,
            profile={"roleId": "r-1", "none": None},
        ),
        sample.agent("a-2", maxChatSupport=0, onlineStatusType="AWAY"),
    ],
    "sessions": [
        sample.session(conversationId="c-1", source="rtm", language="en", startTime=5, profile={"x": {"y": None}}),
        sample.session("s-2"),
    ],
}


def ran(*arguments: str, url: str, **options: Any) -> Result:
    run = handoff(*arguments, url=url, **options)
    assert run.exit_code == 0, run.stderr
    return run


def exported(url: str, *options: str, **more: Any) -> Directory:
    found: Directory = json.loads(ran("export", *options, url=url, **more).stdout)
    return found


def key_of(entry: dict[str, Any]) -> str:
    key: str = next(entry[name] for name in ("appId", "botSessionId", "id", "streamId") if name in entry)
    return key


@pytest.fixture
def url(database_url: str) -> str:
    """A store with a directory that has something of everything."""
    load_directory(Settings(database_url=database_url), WHOLE)
    return database_url


@pytest.fixture(params=["sqlite", "postgres"])
def other_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Another fresh store, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/other.db"
        return
    server = request.getfixturevalue("postgres")
    made: str = server.create_database(like=request.getfixturevalue("migrated_postgres_url"))
    yield made
    server.drop_database(made)


def test_what_was_brought_in_comes_out(url: str) -> None:
    found = exported(url, "--with-secrets")

    assert list(found) == ["apps", "streams", "queues", "agents", "sessions"]
    for section, entries in WHOLE.items():
        by_key = {key_of(entry): entry for entry in found[section]}
        for entry in entries:
            said = {name: value for name, value in entry.items() if name != "queues"}
            assert {name: by_key[key_of(entry)][name] for name in said} == said
    (jane,) = [agent for agent in found["agents"] if agent["id"] == sample.AGENT]
    assert {one["id"]: one["isPreferredAgent"] for one in jane["queues"]} == {sample.QUEUE: True, "qu-2": False}


def test_what_comes_out_makes_the_same_directory_in_a_fresh_store_of_either_kind(url: str, other_url: str) -> None:
    out = ran("export", "--with-secrets", url=url)

    report = ran("import", "-", "--json", url=other_url, stdin=out.stdout)
    again = ran("export", "--with-secrets", url=other_url)

    assert json.loads(report.stdout) == {
        "written": {"apps": 2, "streams": 1, "queues": 2, "agents": 2, "sessions": 2},
        "secrets": [],
        "refused": 0,
        "errors": [],
    }
    assert again.stdout == out.stdout
    assert out.stderr == "exported 2 apps, 1 streams, 2 queues, 2 agents, 2 sessions\n"


names = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,6}\Z")
profiles = st.none() | st.dictionaries(
    names,
    st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | names, st.lists, max_leaves=4),
    min_size=1,
    max_size=3,
)


@st.composite
def directories(draw: st.DrawFn) -> Directory:
    """Any directory of two accounts whose references exist."""
    places = st.fixed_dictionaries({"accountId": st.sampled_from(["acc-1", "acc-2"]), "orgId": st.just("o-1")})

    def some(id_name: str, **fields: st.SearchStrategy[Any]) -> list[dict[str, Any]]:
        entry = st.tuples(places, st.fixed_dictionaries({id_name: ids, **fields})).map(lambda pair: pair[0] | pair[1])
        made = draw(st.lists(entry, max_size=4, unique_by=lambda one: (one["accountId"], one[id_name])))
        return [{name: value for name, value in one.items() if value is not None} for one in made]

    queues = some("id", name=names, profile=profiles)
    agents = some(
        "id",
        firstName=names,
        lastName=names,
        customId=st.none() | names,
        maxChatSupport=st.integers(0, 10_000),
        onlineStatusType=st.sampled_from(["AVAILABLE", "AWAY", "BUSY", "OFFLINE"]),
        statusExpiresAt=st.none() | st.integers(0, 2**53),
        skills=st.lists(ids, max_size=3),
        profile=profiles,
    )
    for agent in agents:
        agent["userId"] = f"u-{agent['id']}"
        of_account = [queue["id"] for queue in queues if queue["accountId"] == agent["accountId"]]
        served = draw(st.lists(st.sampled_from(of_account), unique=True)) if of_account else []
        agent["queues"] = [{"id": queue, "isPreferredAgent": draw(st.booleans())} for queue in served]
    sessions = some(
        "botSessionId",
        streamId=ids,
        source=st.none() | ids,
        language=st.none() | ids,
        startTime=st.none() | st.integers(0, 2**53),
        profile=profiles,
    )
    return {"queues": queues, "agents": agents, "sessions": sessions}


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> list[Settings]:
    """A store of each kind."""
    made = [Settings(database_url=url) for url in (f"sqlite:///{tmp_path}/a.db", postgres_url)]
    for one in made:
        migrate_store(one)
    return made


def emptied(settings: Settings) -> None:
    engine = open_store(settings)
    with engine.begin() as connection:
        for table in tables.metadata.sorted_tables:
            connection.execute(delete(table))
    engine.dispose()


def text_of(settings: Settings) -> str:
    pieces: list[str] = []
    export_directory(settings, pieces.append)
    return "".join(pieces)


@given(directory=directories())
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_directory_goes_from_one_store_to_the_other_and_back(pair: list[Settings], directory: Directory) -> None:
    first, second = pair
    for one in pair:
        emptied(one)
    load_directory(first, directory)
    out = text_of(first)

    load_directory(second, json.loads(out))
    emptied(first)
    there = text_of(second)
    load_directory(first, json.loads(there))

    assert [json.loads(there), json.loads(text_of(first))] == [json.loads(out)] * 2


def test_an_export_names_no_secret_unless_it_is_asked_to(url: str) -> None:
    plain = ran("export", url=url).stdout
    listed = exported(url, "--with-secrets")

    assert [secret for secret in (sample.SECRET, "n" * 64, '"secrets"') if secret in plain] == []
    assert [app["secrets"] for app in listed["apps"]] == [["n" * 64, "o" * 64], [sample.SECRET]]


def test_apps_that_come_without_secrets_are_given_some_that_work_and_are_told_once(url: str, sqlite_url: str) -> None:
    target = sqlite_url.replace("handoff.db", "target.db")
    ran("apps", "enable", sample.APP, url=url)
    file = ran("export", url=url).stdout

    told = ran("import", "-", url=target, stdin=file, secret_keys=NEW).stdout
    again = json.loads(ran("import", "-", "--json", url=target, stdin=file, secret_keys=NEW).stdout)

    given = dict(line.split(" was given a secret, shown this once: ") for line in told.splitlines()[:-1])
    token = ran("token", sample.APP, url=target, secret_keys=NEW).stdout.strip()
    assert given.keys() == {f"app {sample.APP}", "app cs-2"}
    assert jwt.decode(token, given[f"app {sample.APP}"], ["HS256"])["appId"] == sample.APP
    assert again["secrets"] == []


def test_sections_and_an_account_narrow_an_export(url: str) -> None:
    load_directory(
        Settings(database_url=url), {"streams": [{"streamId": "st-2", "orgId": "o-2", "accountId": "acc-2"}]}
    )

    both = exported(url, "--sections", "streams,queues")
    one = exported(url, "--account", "acc-2")
    wrong = handoff("export", "--sections", "streams,bots", url=url)

    assert list(both) == ["streams", "queues"]
    assert [stream["accountId"] for stream in both["streams"]] == [sample.ACCOUNT, "acc-2"]
    assert {section: len(entries) for section, entries in one.items()} == {
        "apps": 0,
        "streams": 1,
        "queues": 0,
        "agents": 0,
        "sessions": 0,
    }
    assert (wrong.exit_code, "apps,streams,queues,agents,sessions" in wrong.stderr) == (2, True)


def test_closed_sessions_and_holders_stay_behind(url: str, start_service: StartService) -> None:
    engine = open_store(Settings(database_url=url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE sessions SET state = 'closed' WHERE session_id = 's-2'"))
    engine.dispose()
    ran("apps", "enable", sample.APP, url=url)
    ran("apps", "change", sample.APP, "--no-require-exp", "--no-require-jti", url=url)
    service = start_service(url, settings={"dispatcher": "off"})
    won = httpx.post(service.url + sample.PATH, headers=sample.headers(), json=sample.body(), timeout=60)

    found = exported(url)["sessions"]

    assert won.status_code == 200
    assert found == [WHOLE["sessions"][0]]


def test_more_rows_than_a_page_come_out_each_once(database_url: str) -> None:
    many = [sample.session(f"s-{number:05d}", accountId=f"acc-{number % 3}") for number in range(4_500)]
    agents = [sample.agent(f"a-{number:05d}", skills=[f"s-{number}"]) for number in range(1_500)]
    load_directory(Settings(database_url=database_url), {"agents": agents, "sessions": many})

    found = exported(database_url)

    ids = [session["botSessionId"] for session in found["sessions"]]
    assert sorted(ids) == [session["botSessionId"] for session in many]
    assert [agent["skills"] for agent in found["agents"]] == [agent["skills"] for agent in agents]


def test_a_file_is_for_its_owner_alone_and_there_once_it_is_whole(url: str, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    file.write_text("before")
    file.chmod(0o644)

    failed = handoff("export", str(file), "--with-secrets", "--sections", "agents,bots", url=url)
    before = file.read_text()
    done = ran("export", str(file), "--json", url=url)

    assert (failed.exit_code, before) == (2, "before")
    assert json.loads(done.stdout)["written"]["agents"] == 2
    assert json.loads(file.read_text()) == exported(url)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("out*")] == ["out.json"]


def test_secrets_that_no_key_opens_end_an_export_that_asks_for_them_and_leave_no_file(url: str, tmp_path: Path) -> None:
    ran("apps", "seal", url=url, secret_keys=OTHER)

    run = handoff("export", str(tmp_path / "out.json"), "--with-secrets", url=url, secret_keys=NEW)

    assert (run.exit_code, "none of HANDOFF_SECRET_KEYS opens" in run.stderr) == (3, True)
    assert list(tmp_path.glob("out*")) == []
    assert ran("export", str(tmp_path / "out.json"), url=url, secret_keys=NEW).exit_code == 0


def test_a_file_that_cannot_be_written_is_told(url: str, tmp_path: Path) -> None:
    run = handoff("export", str(tmp_path / "nowhere" / "out.json"), url=url)

    assert (run.exit_code, "cannot write" in run.stderr) == (2, True)


def test_an_app_with_a_public_key_comes_out_with_it(database_url: str) -> None:
    app = sample.app(secrets=[], algorithms=["ES256"], publicKeys=[public_key()])
    load_directory(Settings(database_url=database_url), {"apps": [app]})

    (found,) = exported(database_url)["apps"]

    assert (found["publicKeys"], found["algorithms"]) == (app["publicKeys"], ["ES256"])


def test_a_file_of_which_every_row_is_wrong_is_told_by_number(sqlite_url: str) -> None:
    wrong = json.dumps({"sessions": [{"botSessionId": "s-1"}] * 10_050})

    run = handoff("import", "-", url=sqlite_url, stdin=wrong)
    told = json.loads(handoff("import", "-", "--json", url=sqlite_url, stdin=wrong).stdout)

    assert run.exit_code == 2
    assert run.stdout == "imported nothing; 10050 rows refused\n"
    assert run.stderr.splitlines()[-1] == "and 10030 more"
    assert (told["refused"], len(told["errors"])) == (10_050, 10_000)


def test_progress_is_shown_on_a_terminal_and_nowhere_else(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "directory.json"
    file.write_text(json.dumps({"sessions": [sample.session(f"s-{number}") for number in range(3_000)]}))
    command = [sys.executable, "-m", "handoff", "import", str(file)]
    controller, terminal = pty.openpty()
    shown: list[bytes] = []
    reading = threading.Thread(target=lambda: shown.append(os.read(controller, 65_536)))
    reading.start()

    subprocess.run(command, env=environment(sqlite_url), stderr=terminal, check=True)
    reading.join(10)
    os.close(terminal)
    os.close(controller)
    plain = subprocess.run(command, env=environment(sqlite_url), stderr=subprocess.PIPE, check=True)

    assert b"rows" in b"".join(shown)
    assert b"/s" in b"".join(shown)
    assert plain.stderr == b""
