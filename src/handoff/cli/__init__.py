"""The command `handoff`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from handoff import __version__


class LazyGroup(click.Group):
    """Commands by name, each with its module and its line in the help, imported when it is called.

    What a command needs takes most of a second to import; to list them needs none of it.
    """

    def __init__(self, *, lazy: Mapping[str, tuple[str, str]], **options: Any) -> None:  # noqa: ANN401 (click's own)
        super().__init__(**options)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, in the order of the help."""
        del ctx
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command: what its module calls by its name, with an underscore where that is a word of Python's."""
        del ctx
        if cmd_name not in self._lazy:
            return None
        module = import_module(self._lazy[cmd_name][0])
        command: click.Command = vars(module).get(cmd_name) or vars(module)[f"{cmd_name}_"]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in the help."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._lazy.items()])


# A test holds the lines to what the commands say of themselves.
_COMMANDS: Final = {
    "serve": ("handoff.cli.serve", "Serve the API, and deliver callbacks unless HANDOFF_DISPATCHER=off."),
    "dispatch": ("handoff.cli.dispatch", "Deliver callbacks only: any number of these may run beside `serve`."),
    "migrate": ("handoff.cli.store", "Bring the database to the revision that this version needs."),
    "import": (
        "handoff.cli.directory",
        "Bring apps, streams, queues, agents and sessions in from FILE (- for standard input).",
    ),
    "export": (
        "handoff.cli.directory",
        "Write the directory to FILE (- for standard output), as `handoff import` reads it.",
    ),
    "apps": ("handoff.cli.apps", "Apps: who may call, and with which secrets."),
    "streams": ("handoff.cli.streams", "Streams: the bots, and which org each belongs to."),
    "token": ("handoff.cli.tokens", "Make a token for APP_ID with its newest secret."),
    "agents": ("handoff.cli.agents", "Agents: who there is, who is there, and what they can take."),
    "sessions": ("handoff.cli.sessions", "Sessions: who has them, and what was tried with them."),
    "transfers": ("handoff.cli.transfers", "Transfers: every attempt to move a session, won or refused."),
    "callbacks": ("handoff.cli.callbacks", "Callbacks: which are waiting or dead, and what to do about them."),
    "doctor": (
        "handoff.cli.store",
        "Check the invariants I1 to I6, and the feed for gaps, in the stored rows; exit 1 on any violation.",
    ),
    "purge": (
        "handoff.cli.store",
        "Delete callbacks and events whose time is over, which dispatchers also do every ten minutes.",
    ),
    "demo": (
        "handoff.cli.demo",
        "Run the service with sample data, a callback receiver, and a request to paste.",
    ),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="handoff")
def main() -> None:
    """Assign bot conversations to human agents: exactly once, durably.

    Settings are environment variables HANDOFF_*, or lines of a file .env; .env.example lists them all.
    """
