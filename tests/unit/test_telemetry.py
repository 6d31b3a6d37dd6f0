import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from handoff.system import SystemClock
from handoff.telemetry.logs import JsonHandler, Teller, configure_logs

Format = Literal["console", "json"]
TOKEN = "a-token-that-nobody-may-see"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """What a test configures for the whole process ends with the test."""
    root, alembic = logging.getLogger(), logging.getLogger("alembic")
    handlers, levels = list(root.handlers), (root.level, alembic.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    alembic.setLevel(levels[1])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def only(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one line on standard error, which is JSON."""
    (line,) = lines(capsys)
    told: dict[str, Any] = json.loads(line)
    return told


def fail_with(token: str) -> None:
    held = {"auth": token}
    raise RuntimeError(f"the header of {len(held)} request is bad")


def log_a_failure() -> None:
    try:
        fail_with(TOKEN)
    except RuntimeError:
        logging.getLogger("handoff.test").exception("it went wrong", extra={"attempt": 1})


def test_a_json_line_tells_time_level_logger_event_and_extras(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "INFO")
    logging.getLogger("handoff.test").warning("callback %s", "dead", extra={"lane": "größer", "attempt": 3})
    told = only(capsys)

    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "event": "callback dead",
        "level": "warning",
        "logger": "handoff.test",
        "lane": "größer",
        "attempt": 3,
    }


def test_text_of_several_lines_is_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "INFO")
    logging.getLogger("handoff.test").info("one\ntwo", extra={"detail": 'a "quoted"\r\ntext'})
    told = only(capsys)

    assert (told["event"], told["detail"]) == ("one\ntwo", 'a "quoted"\r\ntext')


def test_a_value_that_is_no_json_is_logged_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "INFO")
    logging.getLogger("handoff.test").info("odd", extra={"value": {1, 2}})

    assert only(capsys)["value"] == "{1, 2}"


def test_a_console_line_tells_level_logger_event_and_extras(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("console", "INFO")
    logging.getLogger("handoff.test").warning("callback %s", "dead", extra={"attempt": 3})
    (line,) = lines(capsys)

    assert "\x1b" not in line
    for part in ("warning", "[handoff.test]", "callback dead", "attempt=3"):
        assert part in line


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_below_the_level_nothing_is_told(log_format: Format, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(log_format, "WARNING")
    logging.getLogger("handoff.test").info("quiet")
    logging.getLogger("handoff.test").warning("loud")
    (line,) = lines(capsys)

    assert "loud" in line


def test_configuring_twice_tells_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("console", "INFO")
    configure_logs("json", "INFO")
    logging.getLogger("handoff.test").info("once")

    assert only(capsys)["event"] == "once"


def test_the_migrations_own_chatter_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "DEBUG")
    logging.getLogger("alembic.runtime").info("setting up a plugin")

    assert lines(capsys) == []


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_where_it_happened_and_no_values(
    log_format: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(log_format, "INFO")
    log_a_failure()
    said = "\n".join(lines(capsys))

    assert "RuntimeError: the header of 1 request is bad" in said
    assert "in fail_with" in said
    assert TOKEN not in said


def test_a_traceback_is_part_of_its_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "INFO")
    log_a_failure()
    told = only(capsys)

    assert (told["event"], told["level"], told["attempt"]) == ("it went wrong", "error", 1)
    assert told["exception"].startswith("Traceback (most recent call last):\n")
    assert "exc_info" not in told


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_what_is_told_all_the_time_looks_like_any_other_line(
    log_format: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(log_format, "INFO")
    log = logging.getLogger("handoff.test")
    Teller(SystemClock())(log, "request", {"status": 200, "app_id": "größer"})
    log.info("request", extra={"status": 200, "app_id": "größer"})
    told, logged = (re.sub(r"\d+-\d+-\d+T[\d:.]+Z", "now", line) for line in lines(capsys))

    assert told == logged
    assert "größer" in told


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    configure_logs("json", "INFO")
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, JsonHandler)
    handler.setStream(io.StringIO())
    handler.stream.close()

    Teller(SystemClock())(logging.getLogger("handoff.test"), "request", {"status": 200})
