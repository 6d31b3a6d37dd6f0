"""Tokens are taken apart as PyJWT takes them apart, whichever of the two does it."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import jwt
from hypothesis import example, given
from hypothesis import strategies as st
from jwt.api_jws import PyJWS

from handoff.api.keys import parts_of

PYJWT = PyJWS()
VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "typ", "kid", "crit", "b64", "x"]), VALUES | st.lists(VALUES, max_size=2)
)
SEGMENTS = (
    HEADERS.map(lambda header: json.dumps(header).encode())
    | st.binary(max_size=12)
    | st.sampled_from([b'{"alg":"HS256"}', b"[]", b"null", b"{", b"[" * 5_000])
)


def in_base64(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


@st.composite
def tokens(draw: st.DrawFn) -> str:
    """Three parts, mostly, and mostly unharmed."""
    token = ".".join(in_base64(draw(SEGMENTS)) for _ in range(draw(st.sampled_from([3, 3, 3, 3, 2, 4]))))
    place = draw(st.integers(0, len(token)))
    return (
        token[:place]
        + draw(st.sampled_from(["", "", "", "", "=", "==", "A", "+", "/", "\n", ".", "é"]))
        + token[place:]
    )


def by_pyjwt(token: str) -> tuple[Any, bytes, bytes] | None:
    try:
        parts = PYJWT.decode_complete(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return None
    return parts["header"], parts["payload"], parts["signature"]


@given(tokens())
@example(f"{in_base64(b'{}')}.{in_base64(b'a')}.{in_base64(b'ab')}")
@example(f"{in_base64(b'{}')}.YR.YWI")  # as before, with a bit that means nothing
@example("e30.YQ==.YWI=")
@example("e30.YQ.")
@example(f"{in_base64(json.dumps({'kid': 1}).encode())}.YQ.YWI")
def test_a_token_has_the_parts_that_it_has_by_pyjwt(token: str) -> None:
    try:
        found = parts_of(token)
    except jwt.InvalidTokenError:
        found = None

    assert found == by_pyjwt(token)
