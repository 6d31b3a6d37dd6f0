"""What the commands share: the settings, and mistakes told in a sentence instead of a traceback."""

import functools
import gc
import logging
import sys
import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import click

from handoff.service.apps import DirectoryRefusal
from handoff.service.directory_file import DirectoryFileError
from handoff.service.importing import RowError
from handoff.service.ports import StoreError
from handoff.settings import Settings, SettingsError, unknown_variables
from handoff.system import CannotListen
from handoff.telemetry.logs import configure_logs

Params = ParamSpec("Params")
Value = TypeVar("Value")

USAGE_ERROR: Final = 2
STORE_ERROR: Final = 3

# What is under way keeps many young objects alive; with the default thresholds the collector looks at them again and
# again, which costs `serve` a fifth of its throughput and most of its tail latency, and `dispatch` a quarter.
_GC_THRESHOLDS: Final = (50_000, 20, 50)
_PROGRESS_S: Final = 0.25

log = logging.getLogger("handoff")


json_option: Final = click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
account_option: Final = click.option("--account", help="Of this account only.")
limit_option: Final = click.option(
    "--limit", type=click.IntRange(1), default=1_000, show_default=True, help="How many at the most."
)


class _Mistake(click.ClickException):
    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self._code = exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override] # click has a class attribute, one code for all
        return self._code


def told_in_a_sentence(command: Callable[Params, Value]) -> Callable[Params, Value]:
    """Let a command end with a sentence: 2 for settings and input, 3 for a store that cannot be used."""

    @functools.wraps(command)
    def told(*args: Params.args, **kwargs: Params.kwargs) -> Value:
        try:
            return command(*args, **kwargs)
        except (SettingsError, CannotListen, DirectoryFileError, DirectoryRefusal, RowError) as error:
            raise _Mistake(str(error), USAGE_ERROR) from None
        except StoreError as error:
            raise _Mistake(str(error), STORE_ERROR) from None

    return told


def load_settings(**values: object) -> Settings:
    """The settings of this environment, with logs set up as they say."""
    settings = Settings.load(**values)
    configure_logs(settings.log_format, settings.log_level)
    for sentence in unknown_variables():
        log.warning(sentence)
    return settings


def calm_collector() -> None:
    """Have the garbage collector look less often, and never at what was loaded up to now. Once a process is ready."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


class Progress:
    """Rows so far and rows per second on standard error, where somebody watches a terminal."""

    def __init__(self) -> None:
        self._is_watched = sys.stderr.isatty()
        self._began = time.perf_counter()
        self._next_at = 0.0

    def __call__(self, count: int) -> None:
        """Tell how many rows are done, four times a second at the most."""
        seconds = time.perf_counter() - self._began
        if self._is_watched and seconds >= self._next_at:
            self._next_at = seconds + _PROGRESS_S
            click.echo(f"\r{count:>12,} rows {count / max(seconds, _PROGRESS_S):>9,.0f}/s", nl=False, err=True)

    def end(self) -> None:
        """Begin a new line behind what was told."""
        if self._is_watched:
            click.echo(err=True)
