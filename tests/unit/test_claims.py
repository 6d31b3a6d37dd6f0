import math
from collections.abc import Mapping

import pytest

from handoff.domain.claims import BadClaims, app_id_of, check_times, jti_digest
from handoff.domain.refusals import Refusal

NOW_S = 1_700_000_000
LEEWAY_S = 30


def checked(claims: Mapping[str, object], *, require_exp: bool = False) -> float | None:
    return check_times(claims, now_s=NOW_S, leeway_s=LEEWAY_S, require_exp=require_exp)


def refused(claims: Mapping[str, object], *, require_exp: bool = False) -> BadClaims:
    with pytest.raises(BadClaims) as caught:
        checked(claims, require_exp=require_exp)
    return caught.value


def test_the_app_is_named_by_its_claim() -> None:
    assert app_id_of({"appId": "cs-1", "sub": "someone"}) == "cs-1"


@pytest.mark.parametrize(
    "claims",
    [{}, {"appid": "cs-1"}, {"appId": None}, {"appId": 7}, {"appId": ["cs-1"]}, {"appId": ""}, {"appId": "cs 1"}],
    ids=str,
)
def test_a_token_that_names_no_app_is_invalid(claims: Mapping[str, object]) -> None:
    with pytest.raises(BadClaims) as caught:
        app_id_of(claims)

    assert caught.value.refusal is Refusal.TOKEN_INVALID
    assert str(caught.value) == "The token's claim appId must name the app, spelled exactly so."


def test_a_token_without_times_never_expires() -> None:
    assert checked({"appId": "cs-1"}) is None


def test_other_times_alone_do_not_make_a_token_expire() -> None:
    assert checked({"nbf": NOW_S, "iat": NOW_S}) is None


@pytest.mark.parametrize("exp", [NOW_S + 60, NOW_S, NOW_S - LEEWAY_S + 1, NOW_S + 0.5])
def test_a_token_lasts_until_exp_and_the_leeway_are_over(exp: float) -> None:
    assert checked({"exp": exp}, require_exp=True) == exp


@pytest.mark.parametrize("exp", [NOW_S - LEEWAY_S, NOW_S - LEEWAY_S - 1, 0, -1])
def test_a_token_has_expired_when_exp_and_the_leeway_are_over(exp: int) -> None:
    bad = refused({"exp": exp})

    assert bad.refusal is Refusal.TOKEN_EXPIRED
    assert bad.detail == "The token has expired: make a new one."


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_from_within_the_leeway_is_valid(name: str) -> None:
    assert checked({name: NOW_S + LEEWAY_S, "exp": NOW_S + 60}) == NOW_S + 60


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_from_the_future_is_invalid(name: str) -> None:
    bad = refused({name: NOW_S + LEEWAY_S + 1})

    assert bad.refusal is Refusal.TOKEN_INVALID
    assert bad.detail == f"The token's claim {name} lies in the future: check the clock."


def test_an_app_that_requires_exp_refuses_a_token_without() -> None:
    bad = refused({"iat": NOW_S}, require_exp=True)

    assert bad.refusal is Refusal.TOKEN_INVALID
    assert bad.detail == "This app's tokens must have the claim exp."


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [None, True, False, "1700000000", [NOW_S], math.nan, math.inf, -math.inf], ids=repr)
def test_a_time_that_is_no_number_is_refused(name: str, value: object) -> None:
    bad = refused({name: value})

    assert bad.refusal is Refusal.TOKEN_INVALID
    assert bad.detail == f"The token's claim {name} must be a number of seconds."


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_a_time_of_hundreds_of_digits_is_refused_and_not_a_fault(name: str) -> None:
    assert refused({name: 10**400}).refusal is Refusal.TOKEN_INVALID


@pytest.mark.parametrize("furthest_s", [1e15, -1e15, 10**15])
def test_a_time_counts_while_a_float_can_tell_its_seconds(furthest_s: float) -> None:
    assert refused({"nbf": 1e15}).detail.endswith("check the clock.")
    assert refused({"exp": -1e15}).refusal is Refusal.TOKEN_EXPIRED
    assert refused({"exp": furthest_s + math.copysign(1, furthest_s)}).detail.endswith("must be a number of seconds.")


def test_a_token_is_judged_expired_before_it_is_judged_early() -> None:
    assert refused({"exp": 0, "nbf": NOW_S + 3_600}).refusal is Refusal.TOKEN_EXPIRED


def digest(claims: Mapping[str, object], expires_s: float | None, *, require_jti: bool = False) -> str | None:
    return jti_digest(claims, expires_s, now_s=NOW_S, leeway_s=LEEWAY_S, require_jti=require_jti)


def test_a_token_without_a_jti_is_for_any_number_of_uses_unless_its_app_requires_one() -> None:
    with pytest.raises(BadClaims) as caught:
        digest({}, NOW_S + 60, require_jti=True)

    assert digest({}, None) is None
    assert caught.value.refusal is Refusal.TOKEN_INVALID
    assert caught.value.detail == "This app's tokens must have the claim jti."


@pytest.mark.parametrize("require_jti", [True, False])
def test_a_jti_is_known_by_a_digest_that_others_do_not_share(*, require_jti: bool) -> None:
    digests = [digest({"jti": jti}, NOW_S + 60, require_jti=require_jti) for jti in ("a", "b", "A", "\ud800", "a")]

    assert digests[0] == digests[-1]
    assert len(set(digests)) == 4
    assert {len(str(one)) for one in digests} == {64}


@pytest.mark.parametrize("expires_s", [NOW_S + 3_600 + LEEWAY_S, NOW_S + 1, NOW_S - LEEWAY_S + 1])
def test_a_token_with_a_jti_may_end_up_to_an_hour_and_the_leeway_from_now(expires_s: float) -> None:
    assert digest({"jti": "a"}, expires_s) is not None


@pytest.mark.parametrize("expires_s", [None, NOW_S + 3_600 + LEEWAY_S + 0.001, NOW_S + 86_400])
def test_one_that_ends_later_or_never_is_refused_in_the_vendors_words(expires_s: float | None) -> None:
    with pytest.raises(BadClaims) as caught:
        digest({"jti": "a"}, expires_s)

    assert caught.value.refusal is Refusal.TOKEN_INVALID
    assert caught.value.detail == 'error verifying the jwt: if "jti" claim "exp" must be <= 1 hour(s)'


@pytest.mark.parametrize("jti", [None, True, 7, 7.5, [], ["a"], {}, ""], ids=repr)
def test_a_jti_that_is_no_text_or_an_empty_one_is_refused(jti: object) -> None:
    with pytest.raises(BadClaims) as caught:
        digest({"jti": jti}, NOW_S + 60)

    assert caught.value.refusal is Refusal.TOKEN_INVALID
    assert caught.value.detail == "The token's claim jti must be a text that is not empty."
