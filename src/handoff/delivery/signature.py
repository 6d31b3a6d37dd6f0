"""Signed callbacks, by the Standard Webhooks specification 1.0 (scheme v1: HMAC-SHA256)."""

import base64
import binascii
import functools
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"
_MIN_SECRET_BYTES = 24  # both bounds are the specification's
_MAX_SECRET_BYTES = 64
_NO_SALT = bytes(32)  # RFC 5869, 2.2: a block of zeros as long as the hash
_FIRST_BLOCK = b"\x01"  # 2.3: the output of SHA-256 is as long as a secret of ours, so one block is all
_KEPT_APPS = 4096  # a few hundred bytes each: about 1 MiB when an installation has that many apps


def parse_secret(text: str) -> bytes:
    """The bytes of a secret written as `whsec_` and padded base64 of 24 to 64 bytes.

    Raises ValueError for anything else; its message never repeats the secret.
    """
    if not text.startswith(_PREFIX):
        raise ValueError(f"a signing secret starts with {_PREFIX}")
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a signing secret is {_PREFIX} and padded base64") from None
    if not _MIN_SECRET_BYTES <= len(secret) <= _MAX_SECRET_BYTES:
        raise ValueError(f"a signing secret has {_MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES} bytes, not {len(secret)}")
    return secret


def show_secret(secret: bytes) -> str:
    """A secret as receivers enter it: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secret).decode("ascii")


def app_secret(master: bytes, app_id: str) -> bytes:
    """The 32-byte secret of one app, by HKDF-SHA256 (RFC 5869, no salt) over its id.

    One receiver's secret tells nothing about another's or about the master.
    """
    extracted = hmac.digest(_NO_SALT, master, "sha256")
    return hmac.digest(extracted, b"handoff callback v1:" + app_id.encode() + _FIRST_BLOCK, "sha256")


def sign(secret: bytes, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """One signature, `v1,` and base64 of the HMAC over `id.timestamp.body`; the time is Unix seconds."""
    signed = f"{webhook_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode("ascii")


class Signer:
    """Makes the headers of callbacks from the live master secrets, newest first; without any, leaves them unsigned.

    Rotation: prepend a master, wait until every receiver has its new secret, drop the old master.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._masters = tuple(secrets)
        self._secrets_of = functools.lru_cache(_KEPT_APPS)(self._derive)

    def headers(self, *, app_id: str, webhook_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
        """`webhook-id`, `webhook-timestamp` (Unix seconds of this attempt) and one signature per live secret."""
        headers = {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp_s)}
        if self._masters:
            secrets = self._secrets_of(app_id)
            headers["webhook-signature"] = " ".join(sign(key, webhook_id, timestamp_s, body) for key in secrets)
        return headers

    def _derive(self, app_id: str) -> tuple[bytes, ...]:
        return tuple(app_secret(master, app_id) for master in self._masters)
