"""Secrets at rest: sealed with Fernet (AES-128-CBC and HMAC-SHA256) by the newest of the operator's keys.

In a row's list of secrets each is a text in clear, from before there were keys, or an object `{"sealed": token}`. What
is sealed names its account and its app, so that a token in another app's row opens nothing.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from handoff.service.ports import StoreUnavailable

SETTING: Final = "HANDOFF_SECRET_KEYS"
_SEALED: Final = "sealed"

# As it stands in the row, which is JSON.
StoredSecret = str | Mapping[str, str]


class Unopenable(StoreUnavailable):
    """A secret of app {app_id} cannot be opened: none of HANDOFF_SECRET_KEYS fits, or it is another app's."""

    def __init__(self, app_id: str) -> None:
        super().__init__(f"none of {SETTING} opens the secrets of app {app_id}")
        self.app_id = app_id


class Seals:
    """Seals secrets with the first of `keys` and opens them with any; without keys they are kept in clear."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._newest = Fernet(keys[0]) if keys else None
        self._any = MultiFernet([Fernet(key) for key in keys]) if keys else None

    @property
    def are_set(self) -> bool:
        """Whether there is a key."""
        return self._newest is not None

    def seal(self, account_id: str, app_id: str, secret: str) -> StoredSecret:
        """The app's secret as it is stored."""
        if self._newest is None:
            return secret
        words = json.dumps({"account": account_id, "app": app_id, "secret": secret})
        return {_SEALED: self._newest.encrypt(words.encode()).decode("ascii")}

    def open(self, account_id: str, app_id: str, stored: StoredSecret) -> str:
        """The secret in clear. Raises Unopenable."""
        if isinstance(stored, str):
            return stored
        try:
            words: dict[str, Any] = json.loads(self._any.decrypt(stored[_SEALED])) if self._any else {}
        except InvalidToken:
            words = {}
        if words.get("account") != account_id or words.get("app") != app_id:
            raise Unopenable(app_id)
        secret: str = words["secret"]
        return secret

    def peek(self, account_id: str, app_id: str, stored: StoredSecret) -> str | None:
        """The secret in clear; None where it cannot be opened."""
        try:
            return self.open(account_id, app_id, stored)
        except Unopenable:
            return None

    def is_newest(self, stored: StoredSecret) -> bool:
        """Whether it is as it would be stored now: sealed with the newest key, or in clear where there are none."""
        if isinstance(stored, str) or self._newest is None:
            return isinstance(stored, str) and self._newest is None
        try:
            self._newest.decrypt(stored[_SEALED])
        except InvalidToken:
            return False
        return True


def is_sealed(stored: StoredSecret) -> bool:
    """Whether it is anything but clear text."""
    return not isinstance(stored, str)
