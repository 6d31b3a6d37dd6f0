"""Apps' keys: which algorithms there are, and verifying with each."""

from functools import lru_cache
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import get_default_algorithms
from jwt.api_jws import PyJWS

from handoff.domain.credentials import HMAC_ALGORITHMS, PUBLIC_KEY_ALGORITHMS

jws: Final = PyJWS(algorithms=[*HMAC_ALGORITHMS, *PUBLIC_KEY_ALGORITHMS])
_algorithms: Final = get_default_algorithms()


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
