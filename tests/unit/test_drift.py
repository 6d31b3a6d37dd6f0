"""What the documents say is so. `HANDOFF_WRITE_DOCS=1` rewrites those that are made from the code."""

import json
import os
import re
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal, get_args, get_origin

import click
import pytest
from annotated_types import Ge, Gt, Le
from fastapi.testclient import TestClient
from pydantic.fields import FieldInfo
from standardwebhooks import Webhook, WebhookVerificationError

from handoff import Settings, __version__, create_app, load_directory
from handoff.cli import main
from handoff.delivery.signature import Signer, app_secret, show_secret
from handoff.settings import PREFIX

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]

IS_WRITING = "HANDOFF_WRITE_DOCS" in os.environ
EXAMPLE_HEAD = """\
# Every setting of Handoff. Copy this file to .env, and take the # from the lines that are to say something else.
# The environment goes before the file. A line that keeps its # means the default.
"""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def expect_file(name: str, wanted: str) -> None:
    """Compare a file that is made from the code, or make it anew when asked to."""
    path = ROOT / name
    if IS_WRITING:
        path.write_text(wanted)
    is_current = path.exists() and path.read_text() == wanted

    assert is_current, f"{name} is out of date: run HANDOFF_WRITE_DOCS=1 .venv/bin/pytest tests/unit/test_drift.py"


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def block(language: str, holding: str) -> str:
    """The one block of the README that holds a text."""
    (found,) = [text for text in blocks(language) if holding in text]
    return found


def shell_texts(text: str) -> list[str]:
    """Whatever a document tells to type: blocks of shell, their lines joined, and code within sentences."""
    joined = [part.replace("\\\n", " ") for part in blocks("sh", text)]
    return joined + re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def commands(text: str) -> list[list[str]]:
    """The arguments of every `handoff …` that a document tells to type, in a container or not."""
    called = re.compile(r"(?<![\w@:/.-])(?:\.venv/bin/)?handoff ([a-z][^|<>)\"\n#]*)")
    found = [shlex.split(match) for shell in shell_texts(text) for match in called.findall(shell)]
    return [words[1:] if words[0] == "handoff" else words for words in found]


def resolve(words: list[str]) -> list[str]:
    """Find the command and parse its options; what is left over. Raises for what does not exist."""
    command: click.Command = main
    while isinstance(command, click.Group):
        name, *words = words
        found = command.get_command(click.Context(command), name)
        if found is None:
            raise click.NoSuchOption(name)
        command = found
    _, left_over, _ = command.make_parser(click.Context(command)).parse_args(words)
    return left_over


def sample_directory() -> dict[str, list[dict[str, Any]]]:
    """The directory file that the README has its reader write."""
    written = re.search(r"<<END\n(.*?)^END$", README, re.DOTALL | re.MULTILINE)
    assert written is not None
    directory: dict[str, list[dict[str, Any]]] = json.loads(
        written[1].replace("$(openssl rand -base64 32)", "0123456789abcdef0123456789abcdef0123456789a=")
    )
    return directory


def example_entry(name: str, field: FieldInfo) -> str:
    """One setting of `.env.example`: what it means, its default, and which values it may have."""
    default = shown(field.default)
    lines = [*wrap(str(field.description), 116), f"Default: {default or 'not set'}{allowed(field)}"]
    return "\n".join(["", *(f"# {line}" for line in lines), f"# {PREFIX}{name.upper()}={default}", ""])


def allowed(field: FieldInfo) -> str:
    """The values that a setting may have, where not every one of its type will do."""
    if get_origin(field.annotation) is Literal:
        return f" (one of {', '.join(get_args(field.annotation))})"
    bounds = {type(bound): bound for bound in field.metadata}
    words = {Ge: "at least {0.ge}", Gt: "more than {0.gt}", Le: "at most {0.le}"}
    said = [word.format(bounds[kind]) for kind, word in words.items() if kind in bounds]
    return f" ({', '.join(said)})" if said else ""


def shown(default: object) -> str:
    if default is None or default == ():
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without `.env`, in an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    return tmp_path


def headings(document: Path) -> set[str]:
    """What a document's headings are linked to by."""
    return {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)}


@pytest.fixture
def vector() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(block("json", "webhook-signature"))
    return found


def defined(code: str, name: str) -> Any:
    """Run a block of the README; what it calls `name`."""
    names: dict[str, Any] = {}
    exec(code, names)
    return names[name]


@pytest.mark.usefixtures("empty_folder")
def test_the_openapi_document_is_the_one_that_is_served() -> None:
    served = TestClient(create_app(Settings())).get("/openapi.json").json()

    expect_file("docs/openapi.json", json.dumps(served, indent=2, ensure_ascii=False) + "\n")


def test_the_example_of_settings_tells_each_one_with_meaning_and_default() -> None:
    fields = Settings.model_fields

    assert all(field.description for field in fields.values())
    expect_file(".env.example", EXAMPLE_HEAD + "".join(example_entry(*setting) for setting in fields.items()))


def test_the_example_of_settings_uncommented_changes_nothing(empty_folder: Path) -> None:
    lines = re.findall(r"^# (HANDOFF_\w+=.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    (empty_folder / ".env").write_text("\n".join(lines))

    assert Settings() == Settings(_env_file=None)
    assert len(lines) > 10


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "Dockerfile"], ids=named)
def test_every_setting_that_a_document_names_exists(document: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}

    assert set(re.findall(r"HANDOFF_[A-Z_]+", document.read_text())) - {"HANDOFF_WRITE_DOCS"} <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_that_a_document_names_exists_with_its_options(document: Path) -> None:
    assert [words for words in commands(document.read_text()) if resolve(words)] == []


def test_the_readme_names_every_command() -> None:
    told = {words[0] for words in commands(README)}

    assert told == set(main.list_commands(click.Context(main)))


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = {target for text in shell_texts(document.read_text()) for target in re.findall(r"\bmake ([a-z-]+)", text)}

    assert told <= targets


def test_the_readmes_verifier_accepts_its_vector_and_nothing_else(vector: dict[str, Any]) -> None:
    is_genuine = defined(block("python", "is_genuine"), "is_genuine")
    secret, headers, body = vector["secret"], vector["headers"], vector["body"].encode()
    now_s = int(headers["webhook-timestamp"])
    two = headers | {"webhook-signature": f"v1,bm9uZQ== {headers['webhook-signature']}"}

    assert is_genuine(secret, headers, body, now_s)
    assert is_genuine(secret, two, body, now_s)
    assert not is_genuine(secret, headers, body + b" ", now_s)
    assert not is_genuine(secret, headers | {"webhook-id": "msg_02"}, body, now_s)
    assert not is_genuine(secret, headers | {"webhook-signature": "v1,größer"}, body, now_s)
    assert not is_genuine(show_secret(bytes(32)), headers, body, now_s)
    assert not is_genuine(secret, headers, body, now_s + 301)


def test_the_readmes_vector_is_what_the_service_sends_and_the_public_package_computes(vector: dict[str, Any]) -> None:
    headers, body = vector["headers"], vector["body"]
    sent = Signer([bytes(range(32))]).headers(
        app_id="app-1",
        webhook_id=headers["webhook-id"],
        timestamp_s=int(headers["webhook-timestamp"]),
        body=body.encode(),
    )
    moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)

    assert sent == headers
    assert Webhook(vector["secret"]).sign(headers["webhook-id"], moment, body) == headers["webhook-signature"]
    assert vector["secret"] == show_secret(app_secret(bytes(range(32)), "app-1"))


def test_the_readmes_use_of_the_public_package_accepts_a_callback_and_refuses_a_changed_one() -> None:
    verified = defined(block("python", "standardwebhooks"), "verified")
    secret = show_secret(app_secret(bytes(32), "app-1"))
    headers = Signer([bytes(32)]).headers(app_id="app-1", webhook_id="m", timestamp_s=int(time.time()), body=b'{"a":1}')

    assert verified(secret, headers, b'{"a":1}') == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        verified(secret, headers, b'{"a":2}')


def test_the_readmes_example_of_a_test_runs_as_written(empty_folder: Path) -> None:
    (empty_folder / "directory.json").write_text(json.dumps(sample_directory()))

    answer = defined(block("python", "TestClient"), "answer")

    assert answer.json()["agentId"] == sample_directory()["agents"][0]["id"]


@pytest.mark.usefixtures("empty_folder")
def test_the_readmes_directory_file_can_be_imported() -> None:
    load_directory(Settings(), sample_directory())


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_file_that_a_document_links_to_or_names_exists(document: Path) -> None:
    text = document.read_text()
    linked = [document.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", text)]
    told = [ROOT / name for name in re.findall(r"`((?:src|tests|docs|requirements)/[\w./-]+)`", text)]

    assert [str(path) for path in linked + told if not path.exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_heading_that_a_document_links_to_exists(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text())

    assert [link for link in links if link[1] not in headings(document.parent / link[0] if link[0] else document)] == []


def test_the_changelogs_newest_version_is_this_one() -> None:
    versions = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert versions[0] == __version__


@pytest.mark.parametrize("decision", DECISIONS, ids=named)
def test_every_decision_names_what_enforces_it(decision: Path) -> None:
    _, _, enforcement = decision.read_text().partition("## Enforced by\n")
    files = re.findall(r"`([\w./-]+\.(?:py|toml))`", enforcement)

    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []
