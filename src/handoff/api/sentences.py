"""What pydantic finds wrong, in sentences."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

_SENTENCES: Final = {
    "string_pattern_mismatch": "1 to 128 of A-Z a-z 0-9 _ -, a letter or digit first",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "missing": "required",
    "extra_forbidden": "no such field",
    "model_type": "must be a JSON object",
}


def sentence_of(error: ValidationError) -> str:
    """Every field that is wrong and what it must be; nothing of what was sent, which may be anything."""
    return sentence_of_all(error.errors(include_url=False, include_input=False, include_context=False))


def sentence_of_all(problems: Iterable[Any]) -> str:
    """The same for pydantic's error details."""
    return "; ".join(_located(problem) for problem in problems) + "."


def _located(problem: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    if problem["type"] == "json_invalid":  # its place is a number of characters, or none
        return "the body is not JSON: " + str(problem["msg"]).removeprefix("Invalid JSON: ")
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {_said(problem)}" if place else _said(problem)


def _said(problem: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails)
    return _SENTENCES.get(problem["type"], str(problem["msg"]).removeprefix("Value error, "))
