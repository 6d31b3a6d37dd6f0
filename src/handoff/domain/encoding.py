"""JSON as it leaves and as it is stored: on one line, members in the order given, nothing escaped that need not be."""

import json
from collections.abc import Callable

import orjson


def as_json(value: object, default: Callable[[object], object] | None = None) -> bytes:
    """The value in UTF-8; `default` gives, for a part that JSON does not know, one that it does.

    Raises TypeError for such a part without it. A number that is not finite is written as null. What orjson does not
    take, such as integers past 64 bits, the standard encoder does, and takes ten times as long.
    """
    try:
        return orjson.dumps(value, default, orjson.OPT_PASSTHROUGH_DATACLASS)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":"), default=default).encode()
