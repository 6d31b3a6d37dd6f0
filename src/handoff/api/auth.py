"""Who calls: a JWT in the header `auth`, or `Authorization: Bearer` where `auth` is absent.

Which algorithms and keys are tried is fixed by the app that the token names, never by the token.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import jwt
from cachetools import TLRUCache

from handoff.api.keys import jws, verifies
from handoff.api.problems import Refuse
from handoff.domain.claims import BadClaims, app_id_of, check_times
from handoff.domain.credentials import HMAC_ALGORITHMS
from handoff.domain.model import App
from handoff.domain.refusals import Refusal
from handoff.service.directory import Directory
from handoff.service.ports import Clock

_BEARER: Final = "bearer "
_LONGEST_TOKEN: Final = 8_192
_KEPT_TOKENS: Final = 10_000
# Verified against where there is no such app, so that the answer takes as long as for a wrong secret.
_NOBODY: Final = App(
    account_id="",
    app_id="",
    name="",
    secrets=("no app has this secret, and no token can name it",),
    public_keys=(),
    algorithms=("HS256",),
    scopes=frozenset(),
    streams=frozenset(),
    require_exp=False,
    is_enabled=False,
)
_UNVERIFIABLE: Final = "The token's signature does not verify with a live secret of the app that appId names."


@dataclass(frozen=True, slots=True)
class _Verified:
    app: App
    trusted_until_s: float


class Authenticator:
    """Verifies tokens, and remembers each for `trust_s` seconds at most and never past its `exp`."""

    def __init__(self, directory: Directory, clock: Clock, *, trust_s: float, leeway_s: float) -> None:
        self._directory = directory
        self._clock = clock
        self._trust_s = trust_s
        self._leeway_s = leeway_s
        self._verified: TLRUCache[str, _Verified] = TLRUCache(
            _KEPT_TOKENS, ttu=lambda _token, verified, _now: verified.trusted_until_s, timer=self._now_s
        )

    async def authenticate(self, headers: Mapping[str, str]) -> App:
        """The app that the request's token speaks for. Raises Refuse (401) and StoreError."""
        token = token_in(headers)
        known = self._verified.get(token)
        if known is not None:
            return known.app
        verified = await self._verify(token)
        self._verified[token] = verified
        return verified.app

    async def _verify(self, token: str) -> _Verified:
        claims = _claims_in(token)
        try:
            app = await self._directory.find_app(app_id_of(claims))
            if not _is_signed_by(token, app or _NOBODY) or app is None:
                raise Refuse(Refusal.TOKEN_INVALID, _UNVERIFIABLE)
            expires_s = check_times(claims, now_s=self._now_s(), leeway_s=self._leeway_s, require_exp=app.require_exp)
        except BadClaims as bad:
            raise Refuse(bad.refusal, bad.detail) from None
        if not app.is_enabled:
            raise Refuse(Refusal.APP_DISABLED, f"App {app.app_id} is disabled.")
        trusted_until_s = self._now_s() + self._trust_s
        if expires_s is not None:
            trusted_until_s = min(trusted_until_s, expires_s + self._leeway_s)
        return _Verified(app, trusted_until_s)

    def _now_s(self) -> float:
        return self._clock.now_ms() / 1_000


def token_in(headers: Mapping[str, str]) -> str:
    """The token of a request. Raises Refuse where there is none."""
    token = headers.get("auth")
    if token is None:
        authorization = headers.get("authorization", "")
        if authorization[: len(_BEARER)].lower() == _BEARER:
            token = authorization[len(_BEARER) :]
    token = (token or "").strip()
    if not token:
        raise Refuse(Refusal.TOKEN_MISSING, "Send a JWT in the header auth.")
    return token


def _claims_in(token: str) -> Mapping[str, object]:
    """The claims of a well-formed token, not to be believed yet."""
    if len(token) > _LONGEST_TOKEN:
        raise Refuse(Refusal.TOKEN_INVALID, f"The token is longer than {_LONGEST_TOKEN} characters.")
    try:
        payload = jws.decode_complete(token, options={"verify_signature": False})["payload"]
        claims = json.loads(payload, object_pairs_hook=_unambiguous)
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise Refuse(Refusal.TOKEN_INVALID, "The token is not a well-formed JWT.") from None
    if not isinstance(claims, dict):
        raise Refuse(Refusal.TOKEN_INVALID, "The token's payload must be a JSON object.")
    return claims


def _unambiguous(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"{name} stands twice")
        members[name] = value
    return members


def _is_signed_by(token: str, app: App) -> bool:
    try:
        algorithm = jwt.get_unverified_header(token).get("alg")
    except jwt.InvalidTokenError:
        return False
    if algorithm not in app.algorithms:
        return False
    keys = app.secrets if algorithm in HMAC_ALGORITHMS else app.public_keys
    return any(verifies(token, key, algorithm) for key in keys)
