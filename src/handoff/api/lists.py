"""What every list is asked by: how many, from when on, and where to go on."""

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Query
from pydantic import BeforeValidator, Field

from handoff.api.cursors import WrittenCursor

# Times are at most those that a UUIDv7 can begin with.
LATEST_MS: Final = (1 << 48) - 1
MOST_SKIPPED: Final = 10_000
_PAGE: Final = 50


def _or(default: int) -> BeforeValidator:
    """The vendor's samples print every parameter, also those without a value: an empty one is not sent."""
    return BeforeValidator(lambda value: default if value == "" else value)


def _words(values: object) -> object:
    """The words of a list that is sent as several values, as one with commas, or empty."""
    if not isinstance(values, Sequence):
        return values
    return [word for value in values for word in str(value).split(",") if word]


NoneIfEmpty: Final = BeforeValidator(lambda value: value or None)
Words: Final = BeforeValidator(_words)

Since = Annotated[int | None, Query(ge=0, le=LATEST_MS, description="Extension: only those from then on, epoch ms.")]
Limit = Annotated[int, Field(ge=1, le=200), _or(_PAGE), Query(description="Results on a page.")]
Skip = Annotated[
    int,
    Field(ge=0, le=MOST_SKIPPED),
    _or(0),
    Query(description="Results to leave out; beyond that go on by cursor."),
]
Cursor = Annotated[WrittenCursor | None, Query(description="Extension: the nextCursor of the page before.")]
