"""The command `handoff`."""

import click

from handoff import __version__
from handoff.cli.agents import agents
from handoff.cli.apps import apps, token
from handoff.cli.callbacks import callbacks
from handoff.cli.demo import demo
from handoff.cli.serve import dispatch, serve
from handoff.cli.store import doctor, import_, migrate, purge


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="handoff")
def main() -> None:
    """Assign bot conversations to human agents: exactly once, durably.

    Settings are environment variables HANDOFF_*, or lines of a file .env; .env.example lists them all.
    """


for _command in (serve, dispatch, migrate, demo, import_, token, apps, agents, callbacks, doctor, purge):
    main.add_command(_command)
