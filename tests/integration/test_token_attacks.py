"""What attackers send in place of a token: refused each time, for the same work, without a word of it in the log.

Further attacks, made by other libraries, are in `tests/vectors/attacks.json`.
"""

import hashlib
import hmac
import json
import logging
import statistics
import sys
import time
import zlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from types import FrameType
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.datastructures import Headers

from handoff import Settings, load_directory
from handoff.api.auth import Authenticator
from handoff.api.problems import Refuse
from handoff.domain.refusals import Refusal
from handoff.service.directory import Directory
from handoff.service.worker import Worker
from handoff.stores import open_directory
from handoff.system import SystemClock
from rigs import sample
from rigs.api import Api, refusal, serving
from rigs.receiver import Receiver
from rigs.sample import APP, SECRET

INVALID = (401, "token_invalid")
GUESSES = 10_000
RSA_KEY = rsa.generate_private_key(65_537, 2_048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
NO_TEXT = [None, True, False, 7, 7.5, [], ["x"], {}, {"x": "x"}]
NO_TIME: list[object] = [None, True, "1", "4102444800", "", [4102444800], {}]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    url = f"sqlite:///{tmp_path_factory.mktemp('attacks')}/handoff.db"
    settings = Settings(database_url=url, dispatcher="off", token_cache_seconds=0)
    load_directory(settings, sample.directory())
    with serving(settings) as api:
        yield api


@pytest.fixture
def api(running: Api) -> Iterator[Api]:
    """The service; whatever a test sends, nothing of it may have been recorded."""
    load_directory(running.settings, {"apps": [sample.app()]})
    yield running
    assert set(running.counts().values()) == {0}


def encoded(part: bytes | str | dict[str, Any]) -> str:
    text = json.dumps(part) if isinstance(part, dict) else part
    return urlsafe_b64encode(text.encode() if isinstance(text, str) else text).decode().rstrip("=")


def signed(claims: bytes | str | dict[str, Any], header: str | dict[str, Any], secret: str = SECRET) -> str:
    """A token of any claims and header at all, under an honest HS256 signature."""
    text = f"{encoded(header)}.{encoded(claims)}"
    return f"{text}.{encoded(hmac.digest(secret.encode(), text.encode(), hashlib.sha256))}"


def call(api: Api, token: str) -> int | tuple[int, str]:
    answer = api.assign(headers={"auth": token})
    return 200 if answer.status_code == 200 else refusal(answer)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize(
    "name", ["none", "None", "NONE", "nOnE", "", "HS1", "HS256 ", "hs256", "HS3840", "ES256K", "*"]
)
def test_no_algorithm_but_the_apps_own_is_tried_however_it_is_spelled(api: Api, name: str) -> None:
    honest = signed({"appId": APP}, {"alg": name})
    unsigned = honest.rpartition(".")[0] + "."

    assert [call(api, honest), call(api, unsigned)] == [INVALID] * 2


@pytest.mark.parametrize("key", [RSA_KEY, EC_KEY], ids=["RS256", "ES256"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_in_any_writing_is_no_secret(
    api: Api, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, algorithm: str
) -> None:
    own = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    load_directory(
        api.settings, {"apps": [sample.app(algorithms=[own, algorithm], publicKeys=[pem(key)], secrets=[SECRET])]}
    )
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    writings = [pem(key).encode(), pem(key).strip().encode(), pem(key).replace("\n", "\r\n").encode(), der]
    body = f"{encoded({'alg': algorithm})}.{encoded({'appId': APP})}"
    digests = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}

    tokens = [f"{body}.{encoded(hmac.digest(one, body.encode(), digests[algorithm]))}" for one in writings]

    assert {call(api, token) for token in tokens} == {INVALID}


def injected(url: str) -> dict[str, dict[str, Any]]:
    """Headers that point a careless verifier to the attacker's own key."""
    rsa_key: dict[str, Any] = RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)
    ec_key: dict[str, Any] = ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True)
    octets = {"kty": "oct", "k": encoded("k" * 32), "alg": "HS256"}
    return {
        "jwk of RSA": {"jwk": rsa_key},
        "jwk of EC": {"jwk": ec_key},
        "jwk of octets": {"jwk": octets},
        "jku": {"jku": url, "kid": "1"},
        "x5u": {"x5u": url},
        "x5c": {"x5c": [encoded("not a certificate")]},
        "kid with a path": {"kid": "../../../../dev/null"},
        "kid with SQL": {"kid": "1' UNION SELECT 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"},
        "kid with a command": {"kid": "| whoami"},
        "kid of another app": {"kid": "cs-2"},
        "kid that is no text": {"kid": {"a": 1}},
        "x5t": {"x5t": encoded("t" * 20), "x5t#S256": encoded("t" * 32)},
    }


@pytest.mark.parametrize("name", injected(""))
@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256"])
def test_a_key_that_the_token_brings_or_names_is_neither_used_nor_fetched(api: Api, name: str, algorithm: str) -> None:
    keys: dict[str, Any] = {"HS256": "k" * 32, "RS256": RSA_KEY, "ES256": EC_KEY}
    with Receiver() as receiver:
        header = injected(receiver.url("/keys.json"))[name]
        if isinstance(header.get("kid", ""), str):
            token = jwt.encode({"appId": APP}, keys[algorithm], algorithm, headers=header)
        else:
            token = signed({"appId": APP}, {"alg": "HS256", **header}, "k" * 32)
        outcome = call(api, token)
        time.sleep(0.01)
        asked = receiver.received

    assert outcome == INVALID
    assert asked == []


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"HS256","alg":"none"}',
        '{"alg":"HS256","ALG":"none","alg":"HS512"}',
        '{"alg":["HS256"]}',
        '{"alg":{"HS256":1}}',
        '{"alg":"HS256\\u0000"}',
        '{"Alg":"HS256"}',
        '{"alg":"HS256"',
        '{"alg":"HS256"}{}',
        "[]",
        '"HS256"',
        "",
        "[" * 3_000,
    ],
    ids=lambda one: one[:30],
)
def test_a_header_that_can_be_read_in_two_ways_or_none_is_refused(api: Api, header: str) -> None:
    assert call(api, signed({"appId": APP}, header)) == INVALID


@pytest.mark.parametrize(
    "claims",
    [
        f'{{"appId":"{APP}","appId":"{APP}"}}',
        f'{{"appId":"cs-nobody","appId":"{APP}"}}',
        f'{{"appId":"{APP}","exp":1,"exp":4102444800}}',
        f'{{"appId":"{APP}","exp":4102444800,"exp":1}}',
        f'{{"appId":"{APP}","nbf":4102444800,"nbf":1}}',
        f'{{"appId":"{APP}","iat":4102444800,"iat":1}}',
        f'{{"appId":"{APP}","jti":"a","jti":"b"}}',
        f'{{"appId":"{APP}","sub":"a","sub":"b"}}',
        f'{{"appId":"{APP}","more":{{"a":1,"a":2}}}}',
        f'{{"appId":"{APP}","a\\u0070pId":"cs-nobody"}}',
    ],
)
def test_a_claim_that_stands_twice_is_refused_anywhere(api: Api, claims: str) -> None:
    assert call(api, signed(claims, {"alg": "HS256"})) == INVALID


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_claims_in_another_encoding_than_utf_8_are_refused(api: Api, encoding: str) -> None:
    assert call(api, signed(json.dumps({"appId": APP}).encode(encoding), {"alg": "HS256"})) == INVALID


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        *(
            ("appId", value)
            for value in [*NO_TEXT, "", " ", f" {APP}", f"{APP}\n", f"{APP}\u0000", "x" * 129, "\uff43s-1"]
        ),
        *(("jti", value) for value in [*NO_TEXT, ""]),
        *((name, value) for name in ("exp", "nbf", "iat") for value in NO_TIME),
    ],
    ids=ascii,
)
def test_a_claim_of_a_wrong_type_is_refused(api: Api, claim: str, value: object) -> None:
    claims = {"appId": APP, "exp": time.time() + 600, "jti": "j-1", claim: value}

    assert call(api, signed(claims, {"alg": "HS256"})) == INVALID


@pytest.mark.parametrize("claim", ["appid", "AppId", "appID", "APPID", "app_id", "iss", "sub", "client_id"])
def test_no_other_claim_names_the_app(api: Api, claim: str) -> None:
    assert call(api, signed({claim: APP}, {"alg": "HS256"})) == INVALID


@pytest.mark.parametrize("size", [8_193, 100_000, 1_000_000])
def test_a_huge_token_is_refused_unread(api: Api, size: int) -> None:
    answer = api.post(
        headers={"auth": signed({"appId": APP, "note": "x" * size}, {"alg": "HS256"})}, json=sample.body()
    )

    assert refusal(answer) == INVALID
    assert answer.json()["detail"] == "The token is longer than 8192 characters."


def test_a_compressed_payload_is_not_unpacked(api: Api) -> None:
    bomb = zlib.compress(json.dumps({"appId": APP, "note": "x" * 10_000_000}).encode())[2:-4]
    small = bomb[:3_000]

    assert call(api, signed(small, {"alg": "HS256", "zip": "DEF"})) == INVALID


@pytest.mark.parametrize("parts", [1, 2, 4, 5, 50])
def test_a_token_of_another_number_of_parts_is_refused(api: Api, parts: int) -> None:
    header, claims, signature = sample.token().split(".")
    whole = [header, claims, signature, *["AAAA"] * 50]

    assert call(api, ".".join(whole[:parts])) == INVALID


class Front:
    """The part of the service that looks at tokens, by itself."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def refuse(self, token: str) -> Refusal:
        with pytest.raises(Refuse) as caught:
            await self._authenticator.authenticate(Headers({"auth": token}))
        return caught.value.refusal

    async def work(self, token: str) -> int:
        """How many functions are called until the token is refused."""
        calls = 0

        def count(_frame: FrameType, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event in {"call", "c_call"}

        headers = Headers({"auth": token})
        sys.setprofile(count)
        try:
            await self._authenticator.authenticate(headers)
        except Refuse:
            pass
        finally:
            sys.setprofile(None)
        return calls

    async def seconds(self, token: str) -> float:
        headers = Headers({"auth": token})
        began = time.perf_counter()
        with suppress(Refuse):
            await self._authenticator.authenticate(headers)
        return time.perf_counter() - began


@pytest.fixture
async def front(api: Api) -> AsyncIterator[Front]:
    with closing(open_directory(api.settings)) as store, ThreadPoolExecutor(1) as executor:
        directory = Directory(store, worker=Worker(executor), trust_s=600)
        yield Front(Authenticator(directory, SystemClock(), elapsed_s=time.monotonic, trust_s=600, leeway_s=30))


def guess(number: int, app_id: str = APP) -> str:
    return jwt.encode({"appId": app_id}, f"a guess at the secret, number {number:08}", "HS256")


@pytest.mark.anyio
async def test_ten_thousand_guesses_at_a_secret_are_refused_each_for_the_same_work(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await front.refuse(guess(0))
        first = await front.work(guess(1))
        outcomes = {await front.refuse(guess(number)) for number in range(2, GUESSES)}
        last = await front.work(guess(GUESSES))

    assert outcomes == {Refusal.TOKEN_INVALID}
    assert first == last
    assert "eyJ" not in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_an_unknown_app_takes_the_work_and_the_time_of_a_wrong_secret(
    api: Api, front: Front, algorithm: str
) -> None:
    load_directory(api.settings, {"apps": [sample.app(algorithms=[algorithm])]})
    wrong, unknown = (jwt.encode({"appId": app}, "g" * 64, algorithm) for app in (APP, APP[:-1] + "x"))
    for token in (wrong, unknown):
        await front.refuse(token)
    work = [await front.work(token) for token in (wrong, unknown)]
    times: dict[str, list[float]] = {wrong: [], unknown: []}
    for _ in range(1_000):
        for token, taken in times.items():
            taken.append(await front.seconds(token))
    medians = [statistics.median(taken) for taken in times.values()]

    assert work[0] == work[1]
    assert max(medians) < 2 * min(medians)


def test_nothing_of_an_attack_is_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    canary = "Zcanary"
    tokens = [
        canary,
        f"{canary}.{canary}.{canary}",
        signed({"appId": canary}, {"alg": "HS256"}),
        signed({"appId": APP, "exp": canary}, {"alg": "HS256"}),
        signed({"appId": APP, "jti": canary}, {"alg": "HS256"}),
        signed({"appId": APP}, {"alg": canary, "kid": canary}),
        signed(canary, {"alg": "HS256"}),
        guess(1),
    ]
    with caplog.at_level(logging.DEBUG):
        outcomes = {call(api, token) for token in tokens}
    said = " ".join(str(vars(record)) for record in caplog.records if record.name.startswith("handoff"))

    assert outcomes == {INVALID}
    assert [text for text in (canary, "eyJ", *tokens) if text in said] == []
    assert said
