"""Log lines for people."""

import logging
import sys

import structlog


def console_handler() -> logging.Handler:
    """Writes lines to standard error, in colours on a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = structlog.stdlib.ProcessorFormatter(
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
    handler.setFormatter(formatter)
    return handler


def _without_color_message(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Drop what uvicorn adds for its own formatter."""
    event.pop("color_message", None)
    return event
