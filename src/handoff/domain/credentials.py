"""What an app shows for itself: how it may sign and what it may do; secrets, how long and by what name."""

import hashlib
from collections.abc import Iterable
from typing import Final

HMAC_ALGORITHMS: Final = ("HS256", "HS384", "HS512")
PUBLIC_KEY_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")

# What an app may be allowed to call, by the vendor's names.
SCOPES: Final = ("Routing", "Configuration", "SmartAssist Analytics")

# RFC 7518, 3.2: an HMAC key is at least as long as the hash's output.
_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
# Base64 of so many bytes has 64 characters: enough for each of the three.
FRESH_SECRET_BYTES: Final = 48

# 32 bits of a digest: enough to tell a few secrets apart, useless for finding one of 32 bytes or more.
_FINGERPRINT_DIGITS: Final = 8


def needs_secret(algorithms: Iterable[str]) -> bool:
    """Whether one of these algorithms signs with a secret."""
    return any(name in HMAC_ALGORITHMS for name in algorithms)


def refuse_secret(secret: str, algorithms: Iterable[str]) -> str | None:
    """Why the secret cannot sign by every one of the HMAC algorithms among these, or None."""
    if "-----BEGIN" in secret:
        return "a public key belongs into publicKeys, never into secrets"
    shortest = max((_SECRET_BYTES[name] for name in algorithms if name in _SECRET_BYTES), default=0)
    return f"each of secrets needs {shortest} bytes or more" if len(secret.encode()) < shortest else None


def fingerprint(secret: str) -> str:
    """What a secret is called where it must not be shown: the first 8 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()[:_FINGERPRINT_DIGITS]
