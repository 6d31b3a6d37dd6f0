"""JSON objects as they leave: on one line, members in the order given, nothing escaped that need not be."""

import json
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from math import isfinite
from typing import Final

_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


def as_json(members: Mapping[str, object]) -> bytes:
    """The object in UTF-8. Its names are our own: letters, digits and underscores."""
    return json_text(members).encode()


def json_text(members: Mapping[str, object], encode: Callable[[object], str] = _encode) -> str:
    """The object as text; `encode` is for members that are neither text nor numbers.

    The standard encoder is set up anew for each object, which takes several times as long as writing down the few
    members that most of ours have.
    """
    written = [
        f'"{name}":{encode_basestring(member) if type(member) is str else _other(member, encode)}'
        for name, member in members.items()
    ]
    return "{" + ",".join(written) + "}"


def _other(member: object, encode: Callable[[object], str]) -> str:
    is_number = type(member) is int or (type(member) is float and isfinite(member))
    return repr(member) if is_number else encode(member)
