"""`handoff import`: the directory file on its way in."""

import json
import sys
from typing import Final, TextIO

import click

from handoff.cli.common import USAGE_ERROR, load_settings, show_count, told_in_a_sentence
from handoff.directory import import_directory
from handoff.service.directory_file import entries
from handoff.service.importing import ImportReport

# More lines than this are told as a number: a file of the wrong shape is wrong in every line.
_ERRORS_SHOWN: Final = 20


@click.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
@told_in_a_sentence
def import_(file: TextIO, *, as_json: bool) -> None:
    """Bring apps, streams, agents, queues and sessions in from FILE (- for standard input).

    Rows that are there are renewed; who holds which session is left alone. Good rows are written even where others
    are not, and importing the same file again changes nothing.
    """
    report = import_directory(load_settings(), entries(file), _show_progress)
    if sys.stderr.isatty():
        click.echo(err=True)
    if as_json:
        click.echo(json.dumps({"written": report.written, "errors": report.errors}))
    else:
        _tell(report)
    if report.errors:
        sys.exit(USAGE_ERROR)


def _show_progress(report: ImportReport) -> None:
    show_count(sum(report.written.values()))


def _tell(report: ImportReport) -> None:
    for sentence in report.errors[:_ERRORS_SHOWN]:
        click.echo(sentence, err=True)
    if len(report.errors) > _ERRORS_SHOWN:
        click.echo(f"and {len(report.errors) - _ERRORS_SHOWN} more", err=True)
    written = ", ".join(f"{count} {section}" for section, count in report.written.items())
    click.echo(f"imported {written or 'nothing'}" + (f"; {len(report.errors)} rows refused" if report.errors else ""))
