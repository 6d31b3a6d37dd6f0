"""One line in the log for each attempt: whose it was, what came of it, and when the next one is due."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from handoff.domain.retry import Again, Attempt, Dead, Delivered, Verdict
from handoff.service.ports import ClaimedCallback

log = logging.getLogger(__name__)

# Logs an event with its fields at INFO. Who calls it has asked whether the logger is enabled for that.
Tell = Callable[[logging.Logger, str, Mapping[str, Any]], None]

_EVENT: Final = "callback"


def tell_plainly(logger: logging.Logger, event: str, fields: Mapping[str, Any]) -> None:
    """Log the event as any other."""
    logger.info(event, extra=fields)


def tell_attempt(tell: Tell, callback: ClaimedCallback, attempt: Attempt, verdict: Verdict) -> None:
    """Tell of the attempt, at WARNING where it leaves the callback dead."""
    level = logging.WARNING if isinstance(verdict, Dead) else logging.INFO
    if not log.isEnabledFor(level):
        return
    fields: dict[str, Any] = {
        "webhook_id": callback.callback_id,
        "transfer_id": callback.transfer_id,
        "lane": callback.lane,
        "attempt": callback.number,
        "status": attempt.status,
        "error": attempt.error.value if attempt.error else None,
        "duration_ms": attempt.duration_ms,
        **_outcome(verdict),
    }
    told = {name: value for name, value in fields.items() if value is not None}
    if level == logging.INFO:
        tell(log, _EVENT, told)
    else:
        log.log(level, _EVENT, extra=told)


def _outcome(verdict: Verdict) -> dict[str, Any]:
    match verdict:
        case Delivered():
            return {"outcome": "delivered"}
        case Again(due_at=due_at):
            return {"outcome": "again", "due_at": due_at}
        case Dead(reason=reason):
            return {"outcome": "dead", "reason": reason.value}
