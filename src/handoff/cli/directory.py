"""`handoff import` and `handoff export`: the directory file on its way in and out."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import click

from handoff.cli.common import USAGE_ERROR, Progress, account_option, json_option, load_settings, told_in_a_sentence
from handoff.directory import export_directory, import_directory
from handoff.service.directory_file import entries
from handoff.service.exporting import SECTIONS
from handoff.service.importing import ImportReport
from handoff.settings import SettingsError

# More lines than this are told as a number: a file of the wrong shape is wrong in every line.
_ERRORS_SHOWN: Final = 20
_STANDARD: Final = "-"


@click.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@json_option
@told_in_a_sentence
def import_(file: TextIO, *, as_json: bool) -> None:
    """Bring apps, streams, queues, agents and sessions in from FILE (- for standard input).

    Rows that are there are renewed; who holds which session is left alone. Good rows are written even where others
    are not, and importing the same file again changes nothing: one that was broken off is begun again.
    """
    progress = Progress()
    report = import_directory(load_settings(), entries(file), lambda report: progress(report.rows))
    progress.end()
    if as_json:
        click.echo(json.dumps(_as_json(report)))
    else:
        _tell(report)
    if report.refused:
        sys.exit(USAGE_ERROR)


def _as_json(report: ImportReport) -> dict[str, Any]:
    secrets = [{"appId": one.app_id, "accountId": one.account_id, "secret": one.secret} for one in report.secrets]
    return {"written": report.written, "secrets": secrets, "refused": report.refused, "errors": report.errors}


def _tell(report: ImportReport) -> None:
    for sentence in report.errors[:_ERRORS_SHOWN]:
        click.echo(sentence, err=True)
    if report.refused > _ERRORS_SHOWN:
        click.echo(f"and {report.refused - _ERRORS_SHOWN} more", err=True)
    for one in report.secrets:
        click.echo(f"app {one.app_id} was given a secret, shown this once: {one.secret}")
    written = ", ".join(f"{count} {section}" for section, count in report.written.items())
    click.echo(f"imported {written or 'nothing'}" + (f"; {report.refused} rows refused" if report.refused else ""))


class _Sections(click.ParamType[tuple[str, ...]]):
    name = "sections"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ANN401
        """The sections of a list separated by commas."""
        chosen = tuple(part.strip() for part in str(value).split(","))
        if not set(chosen) <= set(SECTIONS):
            self.fail(f"name some of {','.join(SECTIONS)}", param, ctx)
        return chosen


@click.command()
@click.argument("file", default=_STANDARD)
@account_option
@click.option("--sections", type=_Sections(), default=",".join(SECTIONS), help="Only these, separated by commas.")
@click.option("--with-secrets", is_flag=True, help="With the apps' secrets, in clear.")
@json_option
@told_in_a_sentence
def export(file: str, *, account: str | None, sections: tuple[str, ...], with_secrets: bool, as_json: bool) -> None:
    """Write the directory to FILE (- for standard output), as `handoff import` reads it.

    Sessions that are closed are left out, and who holds the others: they come in with the bot. Apps come without their
    secrets unless these are asked for. A file is readable for its owner alone, and there only once it is whole.
    """
    progress = Progress()
    settings = load_settings()
    with _opened(file) as out:
        written = export_directory(
            settings,
            out.write,
            sections=sections,
            account_id=account,
            with_secrets=with_secrets,
            on_progress=progress,
        )
    progress.end()
    counts = ", ".join(f"{count} {section}" for section, count in written.items())
    click.echo(json.dumps({"written": written}) if as_json else f"exported {counts}", err=file == _STANDARD)


@contextmanager
def _opened(name: str) -> Iterator[TextIO]:
    """Where to write. A file is written beside its place and put there at the end."""
    if name == _STANDARD:
        yield sys.stdout
        return
    part = Path(f"{name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)  # it may hold secrets
        with part.open("w", encoding="utf-8") as out:
            yield out
        part.replace(name)
    except OSError as error:
        raise SettingsError(f"cannot write {name}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
