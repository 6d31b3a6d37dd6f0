"""JSON that is kept as it was sent: only what every store can hold and every answer can tell again."""

import math
from typing import Any, Final

from pydantic import BaseModel, model_validator

# Far more than any documented body has.
_MOST_NESTED: Final = 16


class KeptBody(BaseModel):
    """A body some of which is kept as it was sent."""

    @model_validator(mode="before")
    @classmethod
    def _can_be_kept(cls, body: object) -> object:
        require_tellable(body)
        return body


def require_tellable(value: object) -> None:
    """Raise ValueError where JSON has text that is no Unicode, a number that is none, or is nested without end."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, str):
            _require_text(one)
        elif isinstance(one, float) and not math.isfinite(one):
            raise ValueError("numbers must be finite")
        elif isinstance(one, (dict, list)):
            if depth == _MOST_NESTED:
                raise ValueError(f"objects and arrays may be nested {_MOST_NESTED} deep at most")
            parts = [*one, *one.values()] if isinstance(one, dict) else one
            waiting += [(part, depth + 1) for part in parts]


def _require_text(text: str) -> None:
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("text must be Unicode without U+0000 and lone surrogates")
