"""What the commands share: the settings, and mistakes told in a sentence instead of a traceback."""

import functools
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, ParamSpec, TypeVar

import click

from handoff.service.directory_file import DirectoryFileError
from handoff.service.ports import StoreError
from handoff.settings import Settings, SettingsError, unknown_variables
from handoff.system import CannotListen
from handoff.telemetry.logs import configure_logs

Params = ParamSpec("Params")
Value = TypeVar("Value")

USAGE_ERROR: Final = 2
STORE_ERROR: Final = 3

log = logging.getLogger("handoff")


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
        except (SettingsError, CannotListen, DirectoryFileError) as error:
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


def shown_time(at_ms: int) -> str:
    """Epoch milliseconds for people: date and time in UTC, to the second."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
