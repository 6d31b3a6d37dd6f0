"""Logs: one event a line, for people on a console or as JSON for machines.

Modules log with the standard library; values go into `extra`, never into the text, and never a token or a body.
"""

import logging
import sys
from typing import Final, Literal

import structlog


def _without_color_message(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Drop what uvicorn adds for its own formatter."""
    event.pop("color_message", None)
    return event


_SHARED: Final = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    _without_color_message,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logs(log_format: Literal["console", "json"], level: str) -> None:
    """Send every log line to standard error in the format, from `level` up. For a whole process, once."""
    renderer: structlog.typing.Processor
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        # Plain tracebacks: the prettier ones show local variables, and with them tokens and bodies.
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "json":
        last.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=[*last, renderer]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Alembic tells at INFO which of its own plugins it loads.
    logging.getLogger("alembic").setLevel(logging.WARNING)
