"""Apps' keys: which algorithms there are, what a token is made of, and verifying with each key."""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import get_default_algorithms
from jwt.api_jws import PyJWS

from handoff.domain.credentials import HMAC_ALGORITHMS, PUBLIC_KEY_ALGORITHMS

_jws: Final = PyJWS(algorithms=[*HMAC_ALGORITHMS, *PUBLIC_KEY_ALGORITHMS])
_algorithms: Final = get_default_algorithms()
_is_plain = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)").fullmatch
# Of a header with these alone nothing but `alg` matters: no key is chosen by the token.
_PLAIN: Final = frozenset({"alg", "typ", "kid"})

Parts = tuple[Mapping[str, Any], bytes, bytes]


def parts_of(token: str) -> Parts:
    """Header, payload and signature of a well-formed token, not to be believed yet. Raises jwt.InvalidTokenError."""
    return _plain_parts(token) or _any_parts(token)


def _any_parts(token: str) -> Parts:
    parts = _jws.decode_complete(token, options={"verify_signature": False})
    return parts["header"], parts["payload"], parts["signature"]


def _plain_parts(token: str) -> Parts | None:
    """The same for an ordinary token, in a third of the time; None for one that has to be looked at more closely."""
    found = _is_plain(token)
    if found is None:
        return None
    try:
        header = _plain_header(found[1])
        return None if header is None else (header, _decoded(found[2]), _decoded(found[3]))
    except (ValueError, RecursionError):
        return None


@lru_cache(256)
def _plain_header(text: str) -> Mapping[str, Any] | None:
    """The header, if nothing but its algorithm matters. An issuer's tokens mostly have the same."""
    header = json.loads(_decoded(text))
    is_plain = isinstance(header, dict) and header.keys() <= _PLAIN and isinstance(header.get("kid", ""), str)
    return header if is_plain else None


def _decoded(text: str) -> bytes:
    """What stands in base64url without padding. Raises ValueError, also where the last character says too much."""
    decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if urlsafe_b64encode(decoded).rstrip(b"=") != text.encode():
        raise ValueError("not the one way to write it")
    return decoded


def verifies(signed: bytes, signature: bytes, key: str, algorithm: str) -> bool:
    """Whether the bytes are signed with this key by this algorithm."""
    try:
        return _algorithms[algorithm].verify(signed, _prepared(key, algorithm), signature)
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError):
        return False


def is_public_key(key: str, algorithm: str) -> bool:
    """Whether the PEM text holds a public key that the algorithm can verify with."""
    try:
        _prepared(key, algorithm)
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError):
        return False
    return "PRIVATE KEY" not in key


@lru_cache(1_024)
def _prepared(key: str, algorithm: str) -> Any:  # noqa: ANN401 (a key of any of PyJWT's kinds)
    """The key as the algorithm wants it: parsing a public key costs more than verifying with it."""
    return _algorithms[algorithm].prepare_key(key)
