"""The command `handoff`."""

from importlib import import_module
from typing import Final

import click

from handoff import __version__

# Each command's module is loaded when the command is used: `dispatch` stays small, and `token` quick.
_HOMES: Final = {
    "apps": "handoff.cli.apps",
    "callbacks": "handoff.cli.callbacks",
    "demo": "handoff.cli.demo",
    "dispatch": "handoff.cli.dispatch",
    "doctor": "handoff.cli.store",
    "import": "handoff.cli.store",
    "migrate": "handoff.cli.store",
    "purge": "handoff.cli.store",
    "serve": "handoff.cli.serve",
    "token": "handoff.cli.apps",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _HOMES:
            return None
        name = f"{cmd_name}_" if cmd_name == "import" else cmd_name
        command: click.Command = getattr(import_module(_HOMES[cmd_name]), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="handoff")
def main() -> None:
    """Assign bot conversations to human agents: exactly once, durably.

    Settings are environment variables HANDOFF_*, or lines of a file .env; .env.example lists them all.
    """
