"""What `docs/operations.md` says of logs and metrics is what is logged and exported."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.metrics_core import Metric

from handoff import Settings, create_app, load_directory
from handoff.domain.retry import Again, Attempt, Dead, DeadReason, Delivered, ErrorClass, Verdict
from handoff.service.attempt_log import tell_attempt, tell_plainly
from handoff.service.meter import OutboxDepth
from handoff.store.engine import open_writer
from handoff.telemetry.metrics import CODES
from rigs import facts, sample
from rigs.metrics import Depths, metrics

DOCUMENT = (Path(__file__).parents[2] / "docs/operations.md").read_text()
_RECORDS_OWN = vars(logging.makeLogRecord({})).keys() | {"message", "taskName"}
_EVERY_LINE = {"timestamp", "level", "logger", "event"}


def section(title: str) -> str:
    _, _, rest = DOCUMENT.partition(f"{title}\n")
    return re.split(r"^##+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]


def documented_fields(event: str) -> set[str]:
    return {row[0].strip("`") for row in rows(section(f"### `{event}`"))}


def example(event: str) -> dict[str, Any]:
    (line,) = re.findall(r"^```json\n(.*)\n```$", section(f"### `{event}`"), re.MULTILINE)
    told: dict[str, Any] = json.loads(line)
    return told


def logged_fields(caplog: pytest.LogCaptureFixture, event: str) -> set[str]:
    """Every field of every line of the event."""
    records = [record for record in caplog.records if record.message == event]
    return {name for record in records for name in vars(record)} - _RECORDS_OWN


@pytest.fixture
def exported() -> list[Metric]:
    return list(metrics(Depths(OutboxDepth(pending=1, sending=1, oldest_due_at=1))).collect())


@pytest.fixture
def client(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> Iterator[TestClient]:
    settings = Settings(database_url=sqlite_url, dispatcher="off")
    load_directory(settings, sample.directory())
    with caplog.at_level(logging.INFO), TestClient(create_app(settings)) as made:
        yield made


def test_the_table_of_metrics_is_what_is_exported(exported: list[Metric]) -> None:
    documented = {(name.strip("`"), kind, labels.strip("`")) for name, kind, labels, *_ in rows(section("## Metrics"))}

    assert documented == {
        (
            metric.name + ("_total" if metric.type == "counter" else ""),
            metric.type,
            "".join({name for sample in metric.samples for name in sample.labels} - {"le"}),
        )
        for metric in exported
    }


def test_every_metric_is_named_after_this_service_and_described(exported: list[Metric]) -> None:
    assert [metric.name for metric in exported if not metric.name.startswith("handoff_")] == []
    assert [metric.name for metric in exported if not metric.documentation.endswith(".")] == []


def test_the_codes_that_the_metrics_know_are_those_of_the_document_and_of_the_refusals() -> None:
    told = set(re.findall(r"`(\w+)`", next(row[1] for row in rows(section("### `request`")) if row[0] == "`outcome`")))

    assert told - {"ok", "code"} <= set(CODES)


def test_the_documented_fields_of_a_request_are_those_that_are_logged(
    client: TestClient, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.post(sample.PATH, headers=sample.headers(), json=sample.body())
    engine = open_writer(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE callbacks")
    engine.dispose()
    client.post(sample.PATH, headers=sample.headers(), json=sample.body(botSessionId="none"))

    assert logged_fields(caplog, "request") == documented_fields("request")


def test_the_documented_fields_of_an_attempt_are_those_that_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    ends: list[tuple[Attempt, Verdict]] = [
        (Attempt(started_at=1, duration_ms=1, status=204), Delivered()),
        (Attempt(started_at=1, duration_ms=1, error=ErrorClass.DNS), Again(2)),
        (Attempt(started_at=1, duration_ms=1, status=410), Dead(DeadReason.GONE)),
    ]
    with caplog.at_level(logging.INFO):
        for attempt, verdict in ends:
            tell_attempt(tell_plainly, facts.CLAIMED, attempt, verdict)

    assert logged_fields(caplog, "callback") == documented_fields("callback")


def test_the_example_of_a_request_is_one_that_is_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    client.post(sample.PATH, headers=sample.headers(), json=sample.body())
    shown = example("request")
    (record,) = [record for record in caplog.records if record.message == "request"]

    assert shown.keys() - _EVERY_LINE == vars(record).keys() - _RECORDS_OWN
    assert (shown["logger"], shown["level"]) == (record.name, record.levelname.lower())
    assert all(shown[name] == getattr(record, name) for name in ("method", "route", "status", "outcome"))


def test_the_example_of_an_attempt_is_one_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    shown = example("callback")
    with caplog.at_level(logging.INFO):
        attempt = Attempt(started_at=1, duration_ms=shown["duration_ms"], status=shown["status"])
        tell_attempt(tell_plainly, facts.CLAIMED, attempt, Again(shown["due_at"]))
    (record,) = caplog.records

    assert shown.keys() - _EVERY_LINE == vars(record).keys() - _RECORDS_OWN
    assert (shown["event"], shown["logger"], shown["level"]) == (record.message, record.name, record.levelname.lower())
