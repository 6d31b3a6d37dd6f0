import hashlib

import pytest

from handoff.domain.credentials import fingerprint, needs_secret, refuse_secret
from handoff.system import fresh_secret


@pytest.mark.parametrize(("algorithm", "shortest"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_secret_has_the_bytes_of_the_hash(algorithm: str, shortest: int) -> None:
    assert refuse_secret("x" * shortest, [algorithm]) is None
    assert refuse_secret("x" * (shortest - 1), [algorithm]) == f"each of secrets needs {shortest} bytes or more"
    assert refuse_secret("ö" * (shortest // 2), [algorithm]) is None


def test_the_longest_hash_of_several_counts_and_other_algorithms_do_not() -> None:
    assert refuse_secret("x" * 48, ["HS256", "HS384", "RS256"]) is None
    assert refuse_secret("x" * 48, ["HS256", "HS512"]) is not None
    assert refuse_secret("", ["RS256"]) is None


def test_a_public_key_is_no_secret() -> None:
    refusal = refuse_secret("-----BEGIN PUBLIC KEY-----" + "x" * 64, ["HS256"])

    assert refusal == "a public key belongs into publicKeys, never into secrets"


def test_only_hmac_needs_a_secret() -> None:
    assert needs_secret(["ES256", "HS256"])
    assert not needs_secret(["ES256", "RS256", "EdDSA"])


def test_a_fresh_secret_will_do_for_every_hash_and_is_another_each_time() -> None:
    made = {fresh_secret() for _ in range(100)}

    assert len(made) == 100
    assert [secret for secret in made if refuse_secret(secret, ["HS256", "HS384", "HS512"])] == []


def test_a_fingerprint_is_the_beginning_of_the_digest() -> None:
    assert fingerprint("größer") == hashlib.sha256("größer".encode()).hexdigest()[:8]
