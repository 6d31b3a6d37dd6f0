"""What a token's claims say about its validity. The signature is somebody else's business."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from handoff.domain.ids import is_id
from handoff.domain.refusals import Refusal

_TIMES: Final = ("exp", "nbf", "iat")
# Some thirty million years: past it a float no longer counts seconds.
_LATEST_S: Final = 1e15
# How far away the end of a token may lie that can be used once only: so long it has to be remembered.
LONGEST_SINGLE_USE_S: Final = 3_600
# The vendor's documented text.
_TOO_LONG: Final = 'error verifying the jwt: if "jti" claim "exp" must be <= 1 hour(s)'


class BadClaims(Exception):  # noqa: N818 (a refusal)
    """The claims do not stand: {detail}."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal
        self.detail = detail


class TokenUse(NamedTuple):
    """A token that can be used once only: whose it is, a digest of its `jti`, and when nobody takes it any more.

    `expires_at` is epoch milliseconds.
    """

    account_id: str
    app_id: str
    jti_digest: str
    expires_at: int


def app_id_of(claims: Mapping[str, object]) -> str:
    """The one mandatory claim. Raises BadClaims where it is missing or can be no id."""
    app_id = claims.get("appId")
    if not isinstance(app_id, str) or not is_id(app_id):
        raise BadClaims(Refusal.TOKEN_INVALID, "The token's claim appId must name the app, spelled exactly so.")
    return app_id


def check_times(claims: Mapping[str, object], *, now_s: float, leeway_s: float, require_exp: bool) -> float | None:
    """Check `exp`, `nbf` and `iat` (RFC 7519, 4.1) where present; when the token expires, in epoch seconds, or None.

    Raises BadClaims. `now_s` is epoch seconds, and clocks may differ by `leeway_s` seconds.
    """
    times = {name: _number(claims, name) for name in _TIMES if name in claims}
    if require_exp and "exp" not in times:
        raise BadClaims(Refusal.TOKEN_INVALID, "This app's tokens must have the claim exp.")
    if times.get("exp", math.inf) <= now_s - leeway_s:
        raise BadClaims(Refusal.TOKEN_EXPIRED, "The token has expired: make a new one.")
    for name in ("nbf", "iat"):
        if times.get(name, -math.inf) > now_s + leeway_s:
            raise BadClaims(Refusal.TOKEN_INVALID, f"The token's claim {name} lies in the future: check the clock.")
    return times.get("exp")


def jti_digest(
    claims: Mapping[str, object], expires_s: float | None, *, now_s: float, leeway_s: float, require_jti: bool
) -> str | None:
    """The digest of the claim `jti` (RFC 7519, 4.1.7), which makes a token one for a single use; None without it.

    Such a token has to expire within an hour. Times are as for `check_times`, whose answer is `expires_s`. Raises
    BadClaims.
    """
    if "jti" not in claims:
        if require_jti:
            raise BadClaims(Refusal.TOKEN_INVALID, "This app's tokens must have the claim jti.")
        return None
    jti = claims["jti"]
    if not isinstance(jti, str) or not jti:
        raise BadClaims(Refusal.TOKEN_INVALID, "The token's claim jti must be a text that is not empty.")
    if expires_s is None or expires_s > now_s + leeway_s + LONGEST_SINGLE_USE_S:
        raise BadClaims(Refusal.TOKEN_INVALID, _TOO_LONG)
    # As JSON, since a text may hold what cannot be encoded.
    return hashlib.sha256(json.dumps(jti).encode()).hexdigest()


def _number(claims: Mapping[str, object], name: str) -> float:
    value = claims[name]
    # Written so that NaN fails the comparison, and so that no huge integer becomes a float before it.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LATEST_S <= value <= _LATEST_S:
        raise BadClaims(Refusal.TOKEN_INVALID, f"The token's claim {name} must be a number of seconds.")
    return float(value)
