"""Times as people write and read them."""

import re
from datetime import UTC, datetime
from typing import Any, Final

import click

from handoff.system import SystemClock

_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_is_age = re.compile(r"(\d{1,9})([smhd])").fullmatch


class When(click.ParamType[int]):
    """An age such as 24h, or an ISO date and time (UTC where it names no zone), as epoch milliseconds."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401
        """Epoch milliseconds of what was written."""
        age = _is_age(str(value))
        if age:
            return SystemClock().now_ms() - int(age[1]) * _UNITS_MS[age[2]]
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("use an age such as 30m, 24h or 7d, or a time such as 2026-11-25T08:00", param, ctx)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)


def shown_time(at_ms: int | None) -> str:
    """The time in UTC, to the second; nothing for none."""
    return "" if at_ms is None else datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
