"""The OpenAPI document against the service: what it describes is sent, and what it forbids.

schemathesis makes the calls and holds the answers against the document; `programs/told_in_words.py` tells it what is
particular to this service.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from handoff import Settings, load_directory
from programs.told_in_words import AGENTS, SESSIONS
from rigs import sample
from rigs.conversations import SCOPES
from rigs.service import Service, environment

HOOKS = Path(__file__).parents[1] / "programs/told_in_words.py"
OPERATIONS = [
    operation
    for item in json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text())["paths"].values()
    for operation in item
]
# For every check of schemathesis but two, which the program of hooks has in a form that fits.
OPTIONS = ["--checks", "all", "--exclude-checks", "positive_data_acceptance,allow_header_conformance"]
CONFIGURATION = f"""
hooks = "{HOOKS}"
seed = 1
request-timeout = 20
continue-on-failure = true
[generation]
database = "none"
deterministic = true
[headers]
Accept = "application/json, application/problem+json"
auth = "{sample.token()}"
[parameters]
"path.streamId" = "{sample.STREAM}"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 410]
"""


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The service, with plenty of agents and sessions and an app that may do everything; nothing is delivered."""
    directory = sample.directory(
        agents=[sample.agent(agent) for agent in AGENTS], sessions=[sample.session(session) for session in SESSIONS]
    )
    load_directory(Settings(database_url=database_url), directory | {"apps": [sample.app(scopes=SCOPES)]})
    with Service(database_url, folder=tmp_path, settings={"dispatcher": "off"}) as service:
        yield service.url


def schemathesis(url: str, folder: Path, *, phases: str, examples: int) -> tuple[int, str]:
    """Its exit code and what it says; the answers that came are in `calls.ndjson`."""
    configuration = folder / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    report = ["--report", "ndjson", "--report-ndjson-path", str(folder / "calls.ndjson")]
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)]
    said = subprocess.run(
        [
            *program,
            "run",
            f"{url}/openapi.json",
            *OPTIONS,
            "--phases",
            phases,
            "--max-examples",
            f"{examples}",
            *report,
        ],
        env=environment("sqlite://"),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.returncode, said.stdout + said.stderr


def answered(report: Path) -> set[tuple[str, str, int]]:
    """Method, path and status of every answer that came."""
    lines = [json.loads(line).get("ScenarioFinished") for line in report.read_text().splitlines()]
    return {seen for line in lines if line is not None for seen in _answers(line["recorder"])}


def _answers(recorder: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    for case, interaction in recorder.get("interactions", {}).items():
        called = recorder["cases"][case]["value"]
        if interaction["response"]:
            yield called["method"], called["path"], interaction["response"]["status_code"]


@pytest.mark.timeout(3_600)
def test_the_service_answers_as_its_document_says(url: str, tmp_path: Path, *, is_long: bool) -> None:
    phases = "examples,coverage,fuzzing" + (",stateful" if is_long else "")

    code, said = schemathesis(url, tmp_path, phases=phases, examples=300 if is_long else 10)

    assert code == 0, said
    taken = {(method, path) for method, path, status in answered(tmp_path / "calls.ndjson") if status in {200, 201}}
    if is_long:
        print(f"{len(taken)} operations taken; {', '.join(re.findall(r'^ +(.+ generated,.+)$', said, re.MULTILINE))}")
    assert len(taken) == len(OPERATIONS)
    assert re.search(rf"Tested: {len(OPERATIONS)}$", said, re.MULTILINE)
