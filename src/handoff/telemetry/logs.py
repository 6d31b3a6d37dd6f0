"""Logs: one event a line, for people on a console or as JSON for machines.

Modules log with the standard library; values go into `extra`, never into the text, and never a token or a body.
"""

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from importlib import import_module
from typing import Any, Final, Literal

from handoff.domain.encoding import as_json
from handoff.service.ports import Clock

# What every record has; what it has besides is what was said. uvicorn adds a text for its own formatter.
_RECORDS_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: `timestamp`, `level`, `logger`, `event`, the extras, `exception`."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._second_told = ""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields = {name: value for name, value in vars(record).items() if name not in _RECORDS_OWN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        at_ms = int(record.created * 1_000)
        return self.line(at_ms, record.levelname.lower(), record.name, record.getMessage(), fields)

    def line(self, at_ms: int, level: str, logger: str, event: str, fields: Mapping[str, Any]) -> str:
        """The same, of its parts."""
        second, ms = divmod(at_ms, 1_000)
        if second != self._second:  # most lines share it with the one before
            self._second_told = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        timestamp = f"{self._second_told}.{ms:03d}Z"
        members = {"timestamp": timestamp, "level": level, "logger": logger, "event": event, **fields}
        return as_json(members, str).decode()


class JsonHandler(logging.StreamHandler[Any]):
    """Writes JSON lines to standard error."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._json = JsonFormatter()
        self.setFormatter(self._json)

    def write(self, at_ms: int, level: str, logger: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write a line of its parts, with no record between. A line that cannot be written is lost."""
        line = self._json.line(at_ms, level, logger, event, fields)
        with self.lock or nullcontext():
            try:
                self.stream.write(line + self.terminator)
                self.stream.flush()
            except (OSError, ValueError):  # closed, or full: no reason to fail the request
                pass


class Teller:
    """Logs what is told all the time.

    Where the process logs JSON as `configure_logs` sets it up, it does so without a LogRecord, whose making and
    passing on costs more than the line itself. Anywhere else it is an ordinary INFO of the logger.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, log: logging.Logger, event: str, fields: Mapping[str, Any]) -> None:
        """Log the event. The caller has asked whether the logger is enabled for INFO."""
        handlers = logging.root.handlers
        if len(handlers) == 1 and isinstance(handlers[0], JsonHandler):
            handlers[0].write(self._clock.now_ms(), "info", log.name, event, fields)
        else:
            log.info(event, extra=fields)


def configure_logs(log_format: Literal["console", "json"], level: str) -> None:
    """Send every log line to standard error in the format, from `level` up. For a whole process, once."""
    root = logging.getLogger()
    if log_format == "json":
        root.handlers[:] = [JsonHandler()]
    else:  # what draws for people, and no machine has a use for, is imported there
        root.handlers[:] = [import_module("handoff.telemetry.console").console_handler()]
    root.setLevel(level)
    # Alembic tells at INFO which of its own plugins it loads.
    logging.getLogger("alembic").setLevel(logging.WARNING)
