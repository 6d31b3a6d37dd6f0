"""`handoff apps …` and `handoff streams …`, as an operator uses them."""

import json
import os
import re
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import Result
from sqlalchemy import text
from starlette.testclient import TestClient

from handoff import Settings, create_app, load_directory
from handoff.domain.credentials import fingerprint
from handoff.outboxes import open_store
from rigs import sample
from rigs.command import handoff
from rigs.keys import NEW, OLD, OTHER, public_key

OTHER_SECRET = "n" * 64


@pytest.fixture
def url(loaded_url: str) -> str:
    """A store with the sample's directory."""
    return loaded_url


def ran(*arguments: str, url: str, **options: Any) -> Result:
    run = handoff(*arguments, url=url, **options)
    assert run.exit_code == 0, run.stderr
    return run


def shown(url: str, app_id: str = sample.APP, **settings: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran("apps", "show", app_id, "--json", url=url, **settings).stdout)
    return found


def made(url: str, *options: str, **settings: Any) -> dict[str, Any]:
    """An app made with the options, its secret with it."""
    run = ran("apps", "create", "--account", "acc-1", "--stream", "*", "--json", *options, url=url, **settings)
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def key_file(folder: Path) -> str:
    """A file with a public key for ES256."""
    file = folder / "key.pem"
    file.write_text(public_key())
    return str(file)


def test_an_app_that_is_made_gets_an_id_and_a_secret_that_work(database_url: str) -> None:
    app = made(database_url, secret_keys=NEW)
    token = ran("token", app["appId"], url=database_url, secret_keys=NEW).stdout.strip()

    assert re.fullmatch(r"cs-[0-9a-f-]{36}", app["appId"])
    assert (app["scopes"], app["streams"], app["algorithms"]) == (["Routing"], "*", ["HS256"])
    assert jwt.decode(token, app["secret"], ["HS256"])["appId"] == app["appId"]


def test_its_secret_is_shown_once_and_is_sealed_in_the_store(database_url: str) -> None:
    run = ran("apps", "create", "--account", "acc-1", "--id", "cs-1", "--stream", "st-1", url=database_url)
    sentence, told = run.stdout.splitlines()
    secret = told.removeprefix("its new secret, shown this once: ")

    later = [
        ran(*command, url=database_url).stdout
        for command in (("apps", "list"), ("apps", "list", "--json"), ("apps", "show", "cs-1"), ("export",))
    ]

    assert sentence == "app cs-1 is made"
    assert len(secret) == 64
    assert [text for text in later if secret in text] == []
    assert [fingerprint(secret) in text for text in later] == [True, True, True, False]


def test_a_secret_that_is_given_is_taken_and_not_repeated(database_url: str) -> None:
    run = ran(
        *("apps", "create", "--account", "acc-1", "--id", "cs-1", "--stream", "*", "--secret-file", "-"),
        url=database_url,
        stdin=f"{sample.SECRET}\n",
    )

    assert run.stdout == "app cs-1 is made\n"
    assert shown(database_url, "cs-1")["secrets"] == [{"fingerprint": fingerprint(sample.SECRET), "sealed": False}]


def test_an_app_with_a_public_key_needs_no_secret(database_url: str, tmp_path: Path) -> None:
    app = made(database_url, "--algorithm", "ES256", "--public-key", key_file(tmp_path), "--require-exp")

    assert "secret" not in app
    assert (app["secrets"], app["requireExp"], len(app["publicKeys"])) == ([], True, 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--account", "acc-1"), "--stream '*'"),
        (("--stream", "*"), "--account"),
        (("--account", "acc-1", "--stream", "*", "--scope", "Everything"), "--scope"),
        (("--account", "no account!", "--stream", "*"), "accountId"),
        (("--account", "acc-1", "--stream", "no stream!"), "streams"),
        (("--account", "acc-1", "--stream", "*", "--algorithm", "ES256"), "ES256 needs an entry in publicKeys"),
        (("--account", "acc-1", "--stream", "*", "--secret-file", "-"), "32 bytes or more"),
        (("--account", "acc-1", "--stream", "*", "--id", sample.APP), f"there is an app {sample.APP} already"),
    ],
)
def test_an_app_that_cannot_be_made_is_told_why(url: str, options: tuple[str, ...], sentence: str) -> None:
    run = handoff("apps", "create", *options, url=url, stdin="short\n")

    assert run.exit_code == 2
    assert sentence in run.stderr


def test_apps_are_listed_as_a_table_for_people_and_as_json_for_machines(url: str) -> None:
    made(url, "--id", "cs-0", "--name", "Second")

    table = ran("apps", "list", url=url).stdout
    rows = json.loads(ran("apps", "list", "--json", url=url).stdout)
    one = json.loads(ran("apps", "list", "--account", "acc-1", "--json", url=url).stdout)
    first = json.loads(ran("apps", "list", "--limit", "1", "--json", url=url).stdout)

    heading, _, *lines = table.splitlines()
    assert heading.split()[:3] == ["app", "account", "name"]
    assert [line.split()[0] for line in lines] == [sample.APP, "cs-0"]
    assert [row["appId"] for row in rows] == [sample.APP, "cs-0"]
    assert [row["appId"] for row in one] == ["cs-0"]
    assert first == rows[:1]


def test_an_empty_store_has_no_apps_and_no_streams(database_url: str) -> None:
    assert ran("apps", "list", url=database_url).stdout == "no apps\n"
    assert ran("streams", "list", url=database_url).stdout == "no streams\n"


def test_an_app_is_shown_with_its_secrets_by_place(url: str) -> None:
    ran("apps", "secret", "add", sample.APP, "--secret-file", "-", url=url, stdin=OTHER_SECRET, secret_keys=NEW)

    def secrets(**settings: Any) -> list[str]:
        lines = ran("apps", "show", sample.APP, url=url, **settings).stdout.splitlines()
        return [" ".join(line.split()) for line in lines if line.startswith("secret")]

    in_clear = f"secret 2 {fingerprint(sample.SECRET)} (in clear)"
    assert secrets(secret_keys=NEW) == [f"secret 1 {fingerprint(OTHER_SECRET)}", in_clear]
    assert secrets() == ["secret 1 (sealed with another key)", in_clear]


def test_what_is_changed_takes_the_place_of_what_there_was_and_the_rest_stays(url: str) -> None:
    before = shown(url)
    ran(
        *("apps", "change", sample.APP, "--scope", "Routing", "--scope", "Configuration", "--stream", "*"),
        *("--name", "Renamed", "--require-exp", "--require-jti"),
        url=url,
    )

    assert shown(url) == before | {
        "scopes": ["Routing", "Configuration"],
        "streams": "*",
        "name": "Renamed",
        "requireExp": True,
        "requireJti": True,
    }
    assert [
        line.split() for line in ran("apps", "show", sample.APP, url=url).stdout.splitlines() if "require" in line
    ] == [
        ["require", "exp", "yes"],
        ["require", "jti", "yes"],
    ]


def test_an_app_can_come_to_ask_for_tokens_of_a_single_use_and_ask_no_more(database_url: str) -> None:
    app = made(database_url, "--require-jti")["appId"]
    lines = ran("apps", "show", app, url=database_url).stdout.splitlines()
    asking = shown(database_url, app)
    ran("apps", "change", app, "--name", "Renamed", url=database_url)
    renamed = shown(database_url, app)
    ran("apps", "change", app, "--no-require-jti", url=database_url)

    assert "require jti yes" in [" ".join(line.split()) for line in lines]
    assert (asking["requireJti"], asking["requireExp"]) == (True, False)
    assert renamed == asking | {"name": "Renamed"}
    assert shown(database_url, app) == renamed | {"requireJti": False}


def test_an_app_that_comes_to_need_a_secret_is_given_one(database_url: str, tmp_path: Path) -> None:
    app = made(database_url, "--algorithm", "ES256", "--public-key", key_file(tmp_path))

    run = ran("apps", "change", app["appId"], "--algorithm", "HS512", "--json", url=database_url)

    changed = json.loads(run.stdout)
    assert [one["fingerprint"] for one in changed["secrets"]] == [fingerprint(changed["secret"])]


def test_algorithms_that_its_secrets_are_too_short_for_are_refused(database_url: str) -> None:
    load_directory(Settings(database_url=database_url), {"apps": [sample.app(secrets=["x" * 32])]})

    run = handoff("apps", "change", sample.APP, "--algorithm", "HS512", url=database_url)

    assert run.exit_code == 2
    assert "64 bytes or more" in run.stderr
    assert shown(database_url)["algorithms"] == ["HS256"]


def test_a_disabled_app_is_refused_until_it_is_enabled(url: str) -> None:
    settings = Settings(database_url=url, dispatcher="off", token_cache_seconds=0)

    def status() -> int:
        with TestClient(create_app(settings)) as client:
            return client.post(sample.PATH, headers=sample.headers(), json=sample.body()).status_code

    ran("apps", "disable", sample.APP, url=url)
    disabled = status()
    ran("apps", "enable", sample.APP, url=url)

    assert (disabled, status()) == (401, 200)


def test_secrets_rotate_by_adding_one_and_dropping_the_older(url: str) -> None:
    run = ran("apps", "secret", "add", sample.APP, "--json", url=url)
    added = json.loads(run.stdout)["secret"]
    both = shown(url)["secrets"]

    ran("apps", "secret", "drop", sample.APP, "--older", url=url)

    assert [one["fingerprint"] for one in both] == [fingerprint(added), fingerprint(sample.SECRET)]
    assert [one["fingerprint"] for one in shown(url)["secrets"]] == [fingerprint(added)]
    assert jwt.decode(ran("token", sample.APP, url=url).stdout.strip(), added, ["HS256"])["appId"] == sample.APP


@pytest.mark.parametrize("which", ["1", fingerprint(OTHER_SECRET)])
def test_a_secret_is_dropped_by_place_or_fingerprint(url: str, which: str) -> None:
    ran("apps", "secret", "add", sample.APP, "--secret-file", "-", url=url, stdin=OTHER_SECRET)

    run = ran("apps", "secret", "drop", sample.APP, which, url=url)

    assert run.stdout == f"app {sample.APP} has 1 secrets\n"
    assert [one["fingerprint"] for one in shown(url)["secrets"]] == [fingerprint(sample.SECRET)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("drop", sample.APP, "1"), "add one first, or disable the app"),
        (("drop", sample.APP, "2"), "has no secret 2"),
        (("drop", sample.APP, "00000000"), "has no secret 00000000"),
        (("drop", sample.APP), "--older"),
        (("drop", sample.APP, "1", "--older"), "--older"),
        (("drop", "cs-nobody", "1"), "there is no app cs-nobody"),
        (("add", "cs-nobody"), "there is no app cs-nobody"),
        (("add", sample.APP, "--secret-file", "-"), "has this secret already"),
        (("add", sample.APP, "--secret-file", os.devnull), "each of secrets needs 32 bytes or more"),
    ],
)
def test_what_cannot_be_done_with_a_secret_is_told(url: str, arguments: tuple[str, ...], sentence: str) -> None:
    run = handoff("apps", "secret", *arguments, url=url, stdin=sample.SECRET)

    assert run.exit_code == 2
    assert sentence in run.stderr
    assert sample.SECRET not in run.output
    assert len(shown(url)["secrets"]) == 1


def test_an_app_with_a_public_key_is_given_no_secret(database_url: str, tmp_path: Path) -> None:
    app = made(database_url, "--algorithm", "ES256", "--public-key", key_file(tmp_path))

    run = handoff("apps", "secret", "add", app["appId"], url=database_url)

    assert (run.exit_code, "needs no secret" in run.stderr) == (2, True)


def test_a_secret_that_no_key_opens_is_replaced_by_place(url: str) -> None:
    ran("apps", "seal", url=url, secret_keys=OTHER)
    lost = handoff("token", sample.APP, url=url, secret_keys=NEW)

    ran("apps", "secret", "add", sample.APP, url=url, secret_keys=NEW)
    ran("apps", "secret", "drop", sample.APP, "2", url=url, secret_keys=NEW)

    assert lost.exit_code == 3
    assert "none of HANDOFF_SECRET_KEYS opens the secrets of app" in lost.stderr
    assert ran("token", sample.APP, url=url, secret_keys=NEW).stdout


def test_sealing_reports_what_it_did_and_names_what_it_could_not_open(url: str) -> None:
    made(url, "--id", "cs-lost", secret_keys=OTHER)

    first = handoff("apps", "seal", url=url, secret_keys=OLD)
    rotated = handoff("apps", "seal", "--json", url=url, secret_keys=f"{NEW},{OLD}")
    unset = handoff("apps", "seal", url=url)

    assert (first.exit_code, first.stdout) == (1, "1 secrets sealed with the newest key, 0 were so already\n")
    assert "opens the secrets of app cs-lost" in first.stderr
    assert rotated.exit_code == 1
    assert json.loads(rotated.stdout) == {"renewed": 1, "kept": 0, "unopenable": ["cs-lost"]}
    assert shown(url, secret_keys=NEW)["secrets"] == [{"fingerprint": fingerprint(sample.SECRET), "sealed": True}]
    assert (unset.exit_code, "set HANDOFF_SECRET_KEYS" in unset.stderr) == (2, True)


def test_the_calls_of_an_app_that_no_key_opens_are_503_and_those_of_others_go_on(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran("apps", "seal", url=url, secret_keys=OTHER)
    load_directory(Settings(database_url=url), {"apps": [sample.app(appId="cs-2", secrets=[OTHER_SECRET])]})

    with TestClient(create_app(Settings(database_url=url, dispatcher="off"))) as client:
        lost = client.post(sample.PATH, headers=sample.headers(), json=sample.body())
        token = jwt.encode({"appId": "cs-2"}, OTHER_SECRET, "HS256")
        other = client.post(sample.PATH, headers={"auth": token}, json=sample.body())

    (line,) = [one for one in caplog.records if one.message == "secrets cannot be opened"]
    assert (lost.status_code, lost.json()["code"]) == (503, "store_unavailable")
    assert "HANDOFF" not in lost.text
    assert other.status_code == 200
    assert (vars(line)["app_id"], vars(line)["setting"]) == (sample.APP, "HANDOFF_SECRET_KEYS")


def streams(url: str, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ran("streams", "list", "--json", *options, url=url).stdout)
    return found


def test_a_stream_is_made_changed_and_listed(database_url: str) -> None:
    make = ("streams", "create", "st-1", "--account", "acc-1", "--org", "o-1")

    first = ran(*make, "--name", "Support", url=database_url)
    second = ran(*make, "--name", "Sales", url=database_url)
    fresh = ran("streams", "create", "--account", "acc-2", "--org", "o-1", "--json", url=database_url)

    assert (first.stdout, second.stdout) == ("stream st-1 is made\n", "stream st-1 is changed\n")
    assert re.fullmatch(r"st-[0-9a-f-]{36}", json.loads(fresh.stdout)["streamId"])
    assert streams(database_url) == [
        {"streamId": "st-1", "accountId": "acc-1", "orgId": "o-1", "name": "Sales"},
        json.loads(fresh.stdout),
    ]
    assert streams(database_url, "--account", "acc-1", "--limit", "5") == streams(database_url, "--limit", "1")
    assert ran("streams", "list", url=database_url).stdout.splitlines()[2].split() == ["st-1", "acc-1", "o-1", "Sales"]


def test_a_stream_whose_ids_are_none_is_refused(database_url: str) -> None:
    run = handoff("streams", "create", "no stream!", "--account", "acc-1", "--org", "o-1", url=database_url)

    assert (run.exit_code, "streamId" in run.stderr) == (2, True)


def test_a_stream_is_deleted_once_all_its_sessions_are_closed(url: str) -> None:
    delete = ("streams", "delete", sample.STREAM, "--account", sample.ACCOUNT)

    busy = handoff(*delete, url=url)
    engine = open_store(Settings(database_url=url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE sessions SET state = 'closed'"))
    engine.dispose()
    done, again = handoff(*delete, url=url), handoff(*delete, url=url)

    assert (busy.exit_code, "has 1 sessions that are not closed" in busy.stderr) == (2, True)
    assert (done.exit_code, done.stdout) == (0, f"stream {sample.STREAM} is deleted\n")
    assert (again.exit_code, "has no stream" in again.stderr) == (2, True)
    assert streams(url) == []


def test_a_stream_of_another_account_is_left_alone(url: str) -> None:
    run = handoff("streams", "delete", sample.STREAM, "--account", "acc-2", url=url)

    assert (run.exit_code, "account acc-2 has no stream" in run.stderr) == (2, True)
    assert len(streams(url)) == 1
