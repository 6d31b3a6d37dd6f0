"""Who may call: tokens of other libraries and of attackers, apps, scopes, streams, and time."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import jwt
import pytest
from httpx2 import Response
from starlette.datastructures import Headers

from handoff import Settings, load_directory
from handoff.api.auth import Authenticator
from handoff.api.problems import Refuse
from handoff.service.directory import Directory
from handoff.service.worker import Worker
from handoff.stores import open_directory
from rigs import sample
from rigs.api import Api, refusal, serving
from rigs.sample import ACCOUNT, APP, ORG, SECRET, STREAM

VECTORS = Path(__file__).parent.parent / "vectors"
TOKENS = json.loads((VECTORS / "tokens.json").read_text())
ATTACKS = json.loads((VECTORS / "attacks.json").read_text())
RSA_KEY = next(one["key"]["publicKey"] for one in TOKENS if one["algorithm"] == "RS256")
MISSING, INVALID, EXPIRED = (401, "token_missing"), (401, "token_invalid"), (401, "token_expired")
FORGED = jwt.encode({"appId": APP}, SECRET + "!", "HS256")
FOREIGN = "650d9eb6da96d0bc0d23yyyy"

# The documented sample's token, joined over its line break; the page masks the end of its signature.
DOCUMENTED = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    ".eyJhcHBJZCI6ImNzLTUwZmViYWEzLTc0M2YtNTViMy04OTU2LTcxOGU5NmY2YmI5MCJ9"
    ".W42GSwz5ibjk_vAx5Ukr_Q5Q4-O_zGn_jPmZuN8xxxx"
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One service for all, which trusts nothing for longer than a request."""
    url = f"sqlite:///{tmp_path_factory.mktemp('tokens')}/handoff.db"
    settings = Settings(database_url=url, dispatcher="off", token_cache_seconds=0)
    load_directory(settings, sample.directory())
    load_directory(settings, {"streams": [stream("st-second"), stream("st-foreign", accountId=FOREIGN)]})
    with serving(settings) as api:
        yield api


@pytest.fixture
def api(running: Api) -> Api:
    """The service, with the app as the sample has it."""
    set_app(running)
    return running


def stream(stream_id: str, **changes: Any) -> dict[str, Any]:
    return {"streamId": stream_id, "orgId": ORG, "accountId": ACCOUNT, **changes}


def set_app(api: Api, **changes: Any) -> None:
    load_directory(api.settings, {"apps": [sample.app(**changes)]})


def set_key(api: Api, vector: dict[str, Any]) -> None:
    """The app with the algorithm and the one key of a vector."""
    secrets, keys = ([vector["key"][name]] if name in vector["key"] else [] for name in ("secret", "publicKey"))
    set_app(api, algorithms=[vector["algorithm"]], secrets=secrets, publicKeys=keys)


def call(api: Api, token: str) -> int | tuple[int, str]:
    """200, or how the token is refused."""
    response = api.assign(headers={"auth": token})
    return 200 if response.status_code == 200 else refusal(response)


def signed(claims: str, *, header: str = '{"alg":"HS256"}', secret: str = SECRET) -> str:
    """A token of any text at all under an honest signature: no library would make most of them."""
    text = b".".join(urlsafe_b64encode(part.encode()).rstrip(b"=") for part in (header, claims))
    signature = hmac.digest(secret.encode(), text, hashlib.sha256)
    return (text + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()


def in_stream(api: Api, name: str) -> Response:
    return api.post(path=sample.PATH.replace(STREAM, name), json=sample.body())


@pytest.mark.parametrize(
    "vector", TOKENS, ids=lambda one: f"{one['minted_by']}-{one['algorithm']}-{'-'.join(one['claims'])}"
)
def test_a_token_of_another_library_counts_within_its_time(api: Api, vector: dict[str, Any]) -> None:
    set_key(api, vector)
    has_expired = vector["claims"].get("exp", time.time()) < 1_600_000_000
    expected = EXPIRED if has_expired else INVALID if "nbf" in vector["claims"] else 200

    assert call(api, vector["token"]) == expected


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: str(one["name"]))
def test_an_attackers_token_is_refused_or_counts_for_what_was_signed_alone(api: Api, attack: dict[str, Any]) -> None:
    set_key(api, attack)
    set_app(api, appId="cs-first", enabled=False, secrets=[attack["key"].get("secret", SECRET)])

    outcome = call(api, attack["token"])

    if attack["if_accepted"] is None:
        assert outcome == (EXPIRED if attack["name"] == "exp_negative" else INVALID)
    else:
        assert outcome in (200, INVALID)


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        *((headers, MISSING) for headers in ({}, {"auth": ""}, {"authorization": "Bearer "})),
        ({"authorization": f"Basic {sample.token()}"}, MISSING),
        ({"auth": "", "authorization": f"Bearer {sample.token()}"}, MISSING),
        ({"auth": "x", "authorization": f"Bearer {sample.token()}"}, INVALID),
        ({"auth": f"Bearer {sample.token()}"}, INVALID),
        ({"auth": "\u00ff.\u00ff.\u00ff".encode("latin-1")}, INVALID),
        ({"auth": sample.token(note="x" * 8_192)}, INVALID),
        ({"auth": sample.token(exp=1)}, EXPIRED),
    ],
)
def test_a_call_without_a_good_token_is_challenged(api: Api, headers: dict[str, Any], outcome: tuple[int, str]) -> None:
    answer = api.assign(headers=headers)

    error = "" if outcome == MISSING else ', error="invalid_token"'
    assert refusal(answer) == outcome
    assert answer.headers["www-authenticate"] == f'Bearer realm="handoff"{error}'


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {sample.token()}"},
        {"authorization": f"bearer  {sample.token()}"},
        {"auth": sample.token(), "authorization": "Bearer x"},
        {"AUTH": f" {sample.token()} "},
    ],
    ids=["bearer", "lower case", "auth wins", "blanks"],
)
def test_a_bearer_token_counts_where_auth_is_absent(api: Api, headers: dict[str, str]) -> None:
    assert api.assign(headers=headers).status_code == 200


def test_the_documented_token_names_the_app_and_only_its_masked_signature_fails(api: Api) -> None:
    header, claims, _ = DOCUMENTED.split(".")
    texts = [urlsafe_b64decode(part + "==").decode() for part in (header, claims)]

    outcomes = [call(api, DOCUMENTED), call(api, signed(texts[1], header=texts[0]))]

    assert [json.loads(text) for text in texts] == [{"alg": "HS256", "typ": "JWT"}, {"appId": APP}]
    assert outcomes == [INVALID, 200]


def test_an_unknown_app_is_told_the_same_as_a_wrong_secret(api: Api) -> None:
    unknown = api.assign(headers={"auth": sample.token(appId="cs-unknown")})
    wrong = api.assign(headers={"auth": FORGED})

    assert unknown.json() == wrong.json()
    assert refusal(wrong) == INVALID


def test_while_secrets_rotate_both_count_and_a_dropped_one_no_longer(api: Api) -> None:
    old, new = sample.token(), jwt.encode({"appId": APP}, "n" * 64, "HS256")
    before = [call(api, token) for token in (old, new)]
    set_app(api, secrets=["n" * 64, SECRET])
    both = [call(api, token) for token in (old, new)]
    set_app(api, secrets=["n" * 64])
    after = [call(api, token) for token in (old, new)]

    assert before == [200, INVALID]
    assert both == [200, 200]
    assert after == [INVALID, 200]


@pytest.mark.parametrize("of_app", ["HS256", "HS384", "HS512"])
def test_only_the_apps_own_algorithm_counts(api: Api, of_app: str) -> None:
    set_app(api, algorithms=[of_app])

    outcomes = {name: call(api, jwt.encode({"appId": APP}, SECRET, name)) for name in ("HS256", "HS384", "HS512")}

    assert outcomes == dict.fromkeys(outcomes, INVALID) | {of_app: 200}


def test_a_public_key_is_never_taken_for_a_secret_even_where_the_app_has_both(api: Api) -> None:
    set_app(api, algorithms=["RS256", "HS256"], publicKeys=[RSA_KEY])
    claims = json.dumps({"appId": APP})

    outcomes = [call(api, signed(claims, secret=secret)) for secret in (RSA_KEY, RSA_KEY.strip(), SECRET)]

    assert outcomes == [INVALID, INVALID, 200]


def test_an_app_may_require_that_its_tokens_expire(api: Api) -> None:
    set_app(api, requireExp=True)

    outcomes = [call(api, sample.token()), call(api, sample.token(exp=time.time() + 60))]

    assert outcomes == [INVALID, 200]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"enabled": False}, (401, "app_disabled")),
        *(({"scopes": scopes}, (403, "scope_missing")) for scopes in ([], ["Configuration"], ["routing"])),
    ],
    ids=str,
)
def test_an_app_that_may_not_call_is_told_so_when_its_token_is_good(
    api: Api, changes: dict[str, Any], outcome: tuple[int, str]
) -> None:
    set_app(api, **changes)

    assert [call(api, sample.token()), call(api, FORGED)] == [outcome, INVALID]


def test_the_account_header_may_be_absent_and_must_not_name_another_account(api: Api) -> None:
    answers = [api.assign(headers={"auth": sample.token(), "accountid": name}) for name in (FOREIGN, "", ACCOUNT)]

    assert [refusal(answer) for answer in answers[:2]] == [(403, "account_mismatch")] * 2
    assert answers[2].status_code == call(api, sample.token()) == 200


@pytest.mark.parametrize("streams", [[], [STREAM], "*"], ids=["none", "one", "all"])
def test_a_foreign_stream_and_an_unknown_one_get_the_same_answer(api: Api, streams: list[str] | str) -> None:
    set_app(api, streams=streams)
    names = ["st-foreign", "st-unknown", "st%00", *(["st-second"] if streams != "*" else [])]

    answers = [in_stream(api, name) for name in names]

    assert {refusal(answer) for answer in answers} == {(403, "stream_forbidden")}
    assert len({answer.content for answer in answers}) == 1
    assert in_stream(api, STREAM).status_code == (200 if streams else 403)


def test_a_stream_that_no_store_can_name_is_as_unknown_as_any(settings: Settings) -> None:
    load_directory(settings, {"apps": [sample.app(streams="*")]})
    with serving(settings) as api:
        assert refusal(in_stream(api, "st%00")) == (403, "stream_forbidden")


@pytest.mark.parametrize(("claim", "sign", "late"), [("exp", -1, EXPIRED), ("nbf", 1, INVALID), ("iat", 1, INVALID)])
def test_clocks_may_differ_by_half_a_minute(api: Api, claim: str, sign: int, late: tuple[int, str]) -> None:
    outcomes = [call(api, sample.token(**{claim: time.time() + sign * seconds})) for seconds in (10, 60)]

    assert outcomes == [200, late]


@pytest.mark.parametrize(
    "text",
    ["true", '"4102444800"', "null", "[]", "{}", "NaN", "Infinity", "-Infinity", "1e400", "9" * 400],
    ids=lambda one: one[:11],
)
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_a_time_that_is_no_finite_number_is_refused(api: Api, claim: str, text: str) -> None:
    assert call(api, signed(f'{{"appId":"{APP}","{claim}":{text}}}')) == INVALID


class SetClock:
    """A clock that stands where a test sets it."""

    now_s = 1_000_000.0

    def now_ms(self) -> int:
        return int(self.now_s * 1_000)


@pytest.mark.anyio
async def test_a_remembered_token_is_trusted_for_its_time_and_never_past_its_exp(api: Api) -> None:
    clock, store = SetClock(), open_directory(api.settings)
    lasting, ending = (Headers({"auth": sample.token(**claims)}) for claims in ({}, {"exp": clock.now_s + 10}))
    with closing(store), ThreadPoolExecutor(1) as executor:
        directory = Directory(store, worker=Worker(executor), trust_s=0)
        authenticator = Authenticator(directory, clock, elapsed_s=lambda: clock.now_s, trust_s=60, leeway_s=30)
        found = [await authenticator.authenticate(headers) for headers in (lasting, ending)]
        set_app(api, secrets=["n" * 64])
        clock.now_s += 39.999
        found += [await authenticator.authenticate(headers) for headers in (lasting, ending)]
        clock.now_s += 0.001
        found += [await authenticator.authenticate(lasting)]
        with pytest.raises(Refuse) as past_exp:
            await authenticator.authenticate(ending)
        clock.now_s += 20
        with pytest.raises(Refuse) as past_trust:
            await authenticator.authenticate(lasting)

    assert {verified.app.app_id for verified in found} == {APP}
    assert [error.value.refusal.code for error in (past_exp, past_trust)] == ["token_invalid"] * 2


def remembered_by(authenticator: Authenticator) -> Mapping[bytes, object]:
    return authenticator._verified  # noqa: SLF001 (nothing else shows it)


@pytest.mark.anyio
async def test_what_is_remembered_of_a_token_cannot_be_used_as_one(api: Api) -> None:
    token, store = sample.token(), open_directory(api.settings)
    with closing(store), ThreadPoolExecutor(1) as executor:
        directory = Directory(store, worker=Worker(executor), trust_s=60)
        authenticator = Authenticator(directory, SetClock(), elapsed_s=lambda: 0.0, trust_s=60, leeway_s=30)
        await authenticator.authenticate(Headers({"auth": token}))

    told = repr(remembered_by(authenticator))
    assert "App(" in told
    assert [part for part in token.split(".") if part in told] == []


@pytest.mark.anyio
async def test_ten_thousand_tokens_are_remembered_at_the_most_and_the_newest_of_them_longest(api: Api) -> None:
    store = open_directory(api.settings)
    heads = [Headers({"auth": sample.token(iat=number)}) for number in range(10_001)]
    with closing(store), ThreadPoolExecutor(1) as executor:
        remembering, forgetful = (Directory(store, worker=Worker(executor), trust_s=trust_s) for trust_s in (600, 0))
        authenticator = Authenticator(remembering, SetClock(), elapsed_s=lambda: 0.0, trust_s=60, leeway_s=30)
        for headers in heads[:-1]:
            await authenticator.authenticate(headers)
        all_of_them = len(remembered_by(authenticator))
        await authenticator.authenticate(heads[-1])
        set_app(api, secrets=["n" * 64])
        authenticator._directory = forgetful  # noqa: SLF001 (from here on what is not remembered is refused)
        newest = await authenticator.authenticate(heads[-1])
        with pytest.raises(Refuse) as oldest:
            await authenticator.authenticate(heads[0])

    assert all_of_them == 10_000
    assert 9_000 <= len(remembered_by(authenticator)) <= 10_000
    assert newest.app.app_id == APP
    assert oldest.value.refusal.code == "token_invalid"


@pytest.mark.anyio
async def test_a_clock_that_is_set_back_lengthens_no_trust_in_a_remembered_token(api: Api) -> None:
    clock, elapsed, store = SetClock(), SetClock(), open_directory(api.settings)
    headers = Headers({"auth": sample.token()})
    with closing(store), ThreadPoolExecutor(1) as executor:
        directory = Directory(store, worker=Worker(executor), trust_s=0)
        authenticator = Authenticator(directory, clock, elapsed_s=lambda: elapsed.now_s, trust_s=60, leeway_s=30)
        await authenticator.authenticate(headers)
        set_app(api, secrets=["n" * 64])
        clock.now_s -= 86_400
        elapsed.now_s += 59
        trusted = await authenticator.authenticate(headers)
        elapsed.now_s += 1
        with pytest.raises(Refuse) as past_trust:
            await authenticator.authenticate(headers)

    assert trusted.app.app_id == APP
    assert past_trust.value.refusal.code == "token_invalid"
