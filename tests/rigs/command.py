"""The command in the test's own process."""

import logging
from typing import Any

from click.testing import CliRunner, Result

from handoff.cli import main


def handoff(*arguments: str, url: str, stdin: str | None = None, **settings: Any) -> Result:
    """Run `handoff` with these settings, and leave nothing of them behind."""
    ours = {"HANDOFF_DATABASE_URL": url} | {f"HANDOFF_{name.upper()}": str(value) for name, value in settings.items()}
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return CliRunner().invoke(main, arguments, env=ours, input=stdin)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
