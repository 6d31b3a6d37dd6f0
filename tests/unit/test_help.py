"""The help of `handoff`: true, and there at once."""

import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from handoff.cli import main

CONTEXT = click.Context(main)
NAMES = main.list_commands(CONTEXT)
# What a command needs, and the help does not.
HEAVY = ("alembic", "aiohttp", "fastapi", "psycopg", "pydantic", "sqlalchemy", "structlog")


def listed() -> dict[str, str]:
    """The lines of the list of commands, joined where they are broken."""
    shown = CliRunner().invoke(main, ["--help"], terminal_width=200).output
    return dict(re.findall(r"^  ([a-z]+)  +(\S.*)$", shown.partition("Commands:")[2], re.MULTILINE))


@pytest.mark.parametrize("name", NAMES)
def test_the_list_says_of_each_command_what_it_says_of_itself(name: str) -> None:
    command = main.get_command(CONTEXT, name)

    assert command is not None
    assert command.name == name
    assert listed()[name] == command.get_short_help_str(limit=200)


def test_a_command_that_is_none_is_told_and_lists_nothing_else() -> None:
    run = CliRunner().invoke(main, ["import_"])

    assert run.exit_code == 2
    assert "No such command 'import_'" in run.output


def test_the_help_imports_nothing_that_a_command_needs() -> None:
    program = f"""
import sys
from handoff.cli import main
main(["--help"], standalone_mode=False)
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert shown.splitlines()[-1] == "[]"


def test_a_command_on_the_store_imports_no_web_framework() -> None:
    program = "import sys, handoff.cli.apps, handoff.cli.callbacks, handoff.cli.directory, handoff.cli.store\n"
    program += "print([name for name in ('fastapi', 'aiohttp', 'uvicorn') if name in sys.modules])"

    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert shown == "[]\n"
