"""Logs: one event a line, for people on a console or as JSON for machines.

Modules log with the standard library; values go into `extra`, never into the text, and never a token or a body.
"""

import json
import logging
import sys
import time
from typing import Final, Literal

import structlog

# What every record has; what it has besides is what was said. uvicorn adds a text for its own formatter.
_RECORDS_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: `timestamp`, `level`, `logger`, `event`, the extras, `exception`.

    Of our own, since a line stands for each request: it costs a fifth of what a chain of processors costs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
        self._second = 0
        self._second_told = ""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told = {
            "timestamp": self._timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _RECORDS_OWN},
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return self._encode(told)

    def _timestamp(self, record: logging.LogRecord) -> str:
        """UTC in ISO 8601, to the microsecond. Most lines share their second with the one before."""
        second = int(record.created)
        if second != self._second:
            self._second_told = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._second_told}.{int((record.created - second) * 1_000_000):06d}Z"


def configure_logs(log_format: Literal["console", "json"], level: str) -> None:
    """Send every log line to standard error in the format, from `level` up. For a whole process, once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else _console_formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Alembic tells at INFO which of its own plugins it loads.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _console_formatter() -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=(
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            _without_color_message,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Plain tracebacks: the prettier ones show local variables, and with them tokens and bodies.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
    )


def _without_color_message(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Drop what uvicorn adds for its own formatter."""
    event.pop("color_message", None)
    return event
