"""Who calls: a JWT in the header `auth`, or `Authorization: Bearer` where `auth` is absent.

Which algorithms and keys are tried is fixed by the app that the token names, never by the token.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from math import ceil, inf
from typing import Final, NamedTuple

import jwt

from handoff.api.keys import parts_of, verifies
from handoff.api.problems import Refuse
from handoff.domain.claims import BadClaims, TokenUse, app_id_of, check_times, jti_digest
from handoff.domain.credentials import HMAC_ALGORITHMS
from handoff.domain.model import App
from handoff.domain.refusals import Refusal
from handoff.service.directory import Directory
from handoff.service.ports import Clock

_BEARER: Final = "bearer "
_LONGEST_TOKEN: Final = 8_192
_KEPT_TOKENS: Final = 10_000
# So many that a dict's first entry is found fast: it is looked for behind all that were deleted.
_FORGOTTEN_AT_ONCE: Final = 1_000
# Verified against where there is no such app, so that the answer takes as long as for a wrong secret.
_NOBODY: Final = App(
    account_id="",
    app_id="",
    name="",
    secrets=("no app has this secret, and no token can name it",),
    public_keys=(),
    algorithms=HMAC_ALGORITHMS,
    scopes=frozenset(),
    streams=frozenset(),
    require_exp=False,
    require_jti=False,
    is_enabled=False,
)
_UNVERIFIABLE: Final = "The token's signature does not verify with a live secret of the app that appId names."


class Verified(NamedTuple):
    """The app that a token speaks for, and the use that the token is for, if it can be used once only."""

    app: App
    use: TokenUse | None


@dataclass(frozen=True, slots=True)
class _Remembered:
    """`trusted_until_s` is by the clock that never goes back, `expires_s` epoch seconds with the leeway in them."""

    app: App
    trusted_until_s: float
    expires_s: float


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A well-formed token, not to be believed yet: its algorithm and claims, and what is signed with the signature."""

    algorithm: object
    claims: Mapping[str, object]
    signed: bytes
    signature: bytes


class Authenticator:
    """Verifies tokens, and remembers each for `trust_s` seconds at most and never past its `exp`.

    `elapsed_s` is a clock in seconds that never goes back: by one that was set back, tokens would be trusted until it
    has caught up. A token that can be used once only is not worth it: whether this is its one use, the store tells.
    A token is known by its SHA-256, which nobody can use as one, and which takes less room.
    """

    def __init__(
        self, directory: Directory, clock: Clock, *, elapsed_s: Callable[[], float], trust_s: float, leeway_s: float
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._elapsed_s = elapsed_s
        self._trust_s = trust_s
        self._leeway_s = leeway_s
        self._verified: dict[bytes, _Remembered] = {}  # by digest, the longest remembered first

    async def authenticate(self, headers: Mapping[str, str]) -> Verified:
        """Whom the request's token speaks for. Raises Refuse (401) and StoreError."""
        token = token_in(headers)
        digest = sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None and known.trusted_until_s > self._elapsed_s() and known.expires_s > self._now_s():
            return Verified(known.app, None)
        verified, expires_s = await self._verify(token)
        if verified.use is None:
            self._remember(digest, _Remembered(verified.app, self._elapsed_s() + self._trust_s, expires_s))
        return verified

    def _remember(self, digest: bytes, found: _Remembered) -> None:
        self._verified.pop(digest, None)
        if len(self._verified) == _KEPT_TOKENS:
            for oldest in tuple(islice(self._verified, _FORGOTTEN_AT_ONCE)):
                del self._verified[oldest]
        self._verified[digest] = found

    async def _verify(self, token: str) -> tuple[Verified, float]:
        """Whom the token speaks for, and when it expires: epoch seconds with the leeway in them."""
        parsed = _parse(token)
        try:
            app = await self._directory.find_app(app_id_of(parsed.claims))
            if not _is_signed_by(parsed, app or _NOBODY) or app is None:
                raise Refuse(Refusal.TOKEN_INVALID, _UNVERIFIABLE)
            return self._checked(parsed.claims, app)
        except BadClaims as bad:
            raise Refuse(bad.refusal, bad.detail) from None

    def _checked(self, claims: Mapping[str, object], app: App) -> tuple[Verified, float]:
        """What is to be believed of a token that the app signed, as in `_verify`. Raises BadClaims and Refuse."""
        now_s, leeway_s = self._now_s(), self._leeway_s
        expires_s = check_times(claims, now_s=now_s, leeway_s=leeway_s, require_exp=app.require_exp)
        digest = jti_digest(claims, expires_s, now_s=now_s, leeway_s=leeway_s, require_jti=app.require_jti)
        if not app.is_enabled:
            raise Refuse(Refusal.APP_DISABLED, f"App {app.app_id} is disabled.")
        use = None
        if expires_s is not None and digest is not None:
            use = TokenUse(app.account_id, app.app_id, digest, ceil((expires_s + leeway_s) * 1_000))
        ends_s = inf if expires_s is None else expires_s + leeway_s
        return Verified(app, use), ends_s

    def _now_s(self) -> float:
        return self._clock.now_ms() / 1_000


def token_in(headers: Mapping[str, str]) -> str:
    """The token of a request. Raises Refuse where there is none, or one that is longer than any good one."""
    token = headers.get("auth")
    if token is None:
        authorization = headers.get("authorization", "")
        if authorization[: len(_BEARER)].lower() == _BEARER:
            token = authorization[len(_BEARER) :]
    token = (token or "").strip()
    if not token:
        raise Refuse(Refusal.TOKEN_MISSING, "Send a JWT in the header auth.")
    if len(token) > _LONGEST_TOKEN:
        raise Refuse(Refusal.TOKEN_INVALID, f"The token is longer than {_LONGEST_TOKEN} characters.")
    return token


def _parse(token: str) -> _Parsed:
    """The parts of a well-formed token. Raises Refuse."""
    try:
        header, payload, signature = parts_of(token)
        claims = _CLAIMS.decode(payload.decode())
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise Refuse(Refusal.TOKEN_INVALID, "The token is not a well-formed JWT.") from None
    if not isinstance(claims, dict):
        raise Refuse(Refusal.TOKEN_INVALID, "The token's payload must be a JSON object.")
    signed = token.rpartition(".")[0].encode()  # RFC 7515, 5.2
    return _Parsed(header.get("alg"), claims, signed, signature)


def _unambiguous(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"{name} stands twice")
        members[name] = value
    return members


# Made once: making it takes longer than reading a token's claims with it.
_CLAIMS: Final = json.JSONDecoder(object_pairs_hook=_unambiguous)


def _is_signed_by(token: _Parsed, app: App) -> bool:
    algorithm = token.algorithm
    if not isinstance(algorithm, str) or algorithm not in app.algorithms:
        return False
    keys = app.secrets if algorithm in HMAC_ALGORITHMS else app.public_keys
    return any(verifies(token.signed, token.signature, key, algorithm) for key in keys)
