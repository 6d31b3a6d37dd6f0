"""Whose rows a use case may see."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What belongs to an account, and within it to one stream (None: to any)."""

    account_id: str
    stream_id: str | None = None
