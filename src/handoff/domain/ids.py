"""Ids: opaque text of the caller's, and the shapes of our own."""

import hashlib
import re

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
_is_id = re.compile(ID_PATTERN).fullmatch
# Ids of ours that are made from a caller's are some characters longer.
_is_row_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,191}").fullmatch

# 64 bits of a digest: one transfer has a handful of receivers at the most.
_COPY_DIGITS = 16


def is_id(text: str) -> bool:
    """Whether `text` can name anything here: 1 to 128 of `A-Za-z0-9_-`, a letter or digit first."""
    return _is_id(text) is not None


def is_row_id(text: str) -> bool:
    """Whether `text` can be the id of a row: anybody's, or one of ours."""
    return _is_row_id(text) is not None


def transfer_id(fresh: str) -> str:
    """The id of a transfer, `tr_` and a UUIDv7, so that ids grow with time and indexes stay dense."""
    return f"tr_{fresh}"


def app_id(fresh: str) -> str:
    """The id of an app in the vendor's shape: `cs-` and a UUID."""
    return f"cs-{fresh}"


def stream_id(fresh: str) -> str:
    """The id of a stream in the vendor's shape: `st-` and a UUID."""
    return f"st-{fresh}"


def conversation_id(fresh: str) -> str:
    """The id of a conversation in the vendor's shape, `c-` and a UUID short of its first digit; it grows with time.

    A UUIDv7's first digit is 0 until the year 2527.
    """
    return f"c-{fresh[1:]}"


def agent_id(fresh: str) -> str:
    """The id of an agent in the vendor's shape, like that of a conversation but with `a-`."""
    return f"a-{fresh[1:]}"


def queue_id(fresh: str) -> str:
    """The id of a queue in the vendor's shape, like that of a conversation but with `qu-`."""
    return f"qu-{fresh[1:]}"


def user_id(fresh: str) -> str:
    """The id of the user who an agent is, `u-` and a whole UUID."""
    return f"u-{fresh}"


def callback_id(transfer: str, copy_for_url: str | None = None) -> str:
    """The id of the one callback of a transfer, `msg_` and the transfer's UUID.

    A repeat of the request with another `callbackUrl` gets a copy, whose id also names that URL by a
    digest: so the primary key alone keeps any URL from being told twice.
    """
    first = f"msg_{transfer.removeprefix('tr_')}"
    if copy_for_url is None:
        return first
    return f"{first}_{hashlib.sha256(copy_for_url.encode()).hexdigest()[:_COPY_DIGITS]}"


def callback_id_at(at_ms: int) -> str:
    """The least that an id made at or after `at_ms` (epoch milliseconds) can be: a UUIDv7 begins with its time."""
    return f"msg_{_time(at_ms)}"


def transfer_id_at(at_ms: int) -> str:
    """The same for a transfer's id."""
    return f"tr_{_time(at_ms)}"


def conversation_id_at(at_ms: int) -> str:
    """The same for a conversation's id."""
    return f"c-{_time(at_ms)[1:]}"


def _time(at_ms: int) -> str:
    digits = f"{max(0, at_ms):012x}"
    return f"{digits[:8]}-{digits[8:]}"
