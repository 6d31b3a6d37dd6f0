"""What every list is asked by: how many, from when on, and where to go on."""

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Query
from pydantic import BeforeValidator, Field, WithJsonSchema

from handoff.api.schemas import Id, WrittenCursor
from handoff.domain.ids import ID_PATTERN

# Times are at most those that a UUIDv7 can begin with.
LATEST_MS: Final = (1 << 48) - 1
MOST_SKIPPED: Final = 10_000
_PAGE: Final = 50


def _or(default: int) -> BeforeValidator:
    """The vendor's samples print every parameter, also those without a value: an empty one is not sent."""
    return BeforeValidator(lambda value: default if value == "" else value)


def _number_or_empty(least: int, most: int) -> WithJsonSchema:
    number = {"type": "integer", "minimum": least, "maximum": most}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "maxLength": 0}]})


def _words(values: object) -> object:
    """The words of a list that is sent as several values, as one with commas, or empty."""
    if not isinstance(values, Sequence):
        return values
    return [word for value in values for word in str(value).split(",") if word]


# An id to filter by; an empty one is not sent.
IdOrEmpty = Annotated[
    Id | None,
    BeforeValidator(lambda value: value or None),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^({ID_PATTERN})?$"}, {"type": "null"}]}),
]
Words: Final = BeforeValidator(_words)

Since = Annotated[int | None, Query(ge=0, le=LATEST_MS, description="Extension: only those from then on, epoch ms.")]
Limit = Annotated[
    int, Field(ge=1, le=200), _or(_PAGE), _number_or_empty(1, 200), Query(description="Results on a page.")
]
Skip = Annotated[
    int,
    Field(ge=0, le=MOST_SKIPPED),
    _or(0),
    _number_or_empty(0, MOST_SKIPPED),
    Query(description="Results to leave out; beyond that go on by cursor."),
]
Cursor = Annotated[WrittenCursor | None, Query(description="Extension: the nextCursor of the page before.")]
