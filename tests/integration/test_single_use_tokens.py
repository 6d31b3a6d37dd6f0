"""Tokens with a jti: used once, by one of any number of callers, in whatever process, across restarts."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from httpx2 import Response

from conftest import StartService
from handoff import Settings, load_directory
from handoff.service.ports import StoreUnavailable
from handoff.store import tables
from handoff.store.engine import open_writer
from handoff.stores import open_transfer_store
from rigs import sample
from rigs.api import Api, new_store, refusal, routes, serving
from rigs.callers import callers
from rigs.command import handoff

REPLAYED, INVALID, EXPIRED = (401, "token_replayed"), (401, "token_invalid"), (401, "token_expired")
POSSIBLY_A_REPLAY = "error verifying the jwt: possibly a replay"
TOO_LONG = 'error verifying the jwt: if "jti" claim "exp" must be <= 1 hour(s)'
CALLBACKS = sample.PATH.replace("assign-conversation", "callbacks")
FOREIGN = "650d9eb6da96d0bc0d23yyyy"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One service for each kind of store; what an app is told by the directory is never remembered."""
    settings = new_store(request, tmp_path_factory)
    with serving(settings.model_copy(update={"token_cache_seconds": 0})) as api:
        yield api


@pytest.fixture
def api(running: Api) -> Api:
    """The service with nothing but the sample's directory."""
    running.reset()
    return running


def once(jti: Any = "j-1", *, lasts_s: float = 600, secret: str = sample.SECRET, **claims: Any) -> str:
    """A token for a single use."""
    return jwt.encode({"appId": sample.APP, "jti": jti, "exp": time.time() + lasts_s, **claims}, secret, "HS256")


def call(api: Api, token: str, **changes: Any) -> int | tuple[int, str]:
    """200, or how the call is refused."""
    answer = api.assign(headers={"auth": token}, **changes)
    return 200 if answer.status_code == 200 else refusal(answer)


def read(api: Api, token: str) -> Response:
    return api.client.get(CALLBACKS, headers={"auth": token})


def require_jti(api: Api, **changes: Any) -> None:
    load_directory(api.settings, {"apps": [sample.app(requireJti=True, **changes)]})


def test_a_token_with_a_jti_counts_once_and_is_then_refused_in_the_vendors_words(api: Api) -> None:
    token = once()
    first, second = (api.assign(headers={"auth": token}) for _ in range(2))

    assert first.status_code == 200
    assert refusal(second) == REPLAYED
    assert second.json()["errors"] == [{"msg": POSSIBLY_A_REPLAY, "code": 401}]
    assert second.headers["www-authenticate"] == 'Bearer realm="handoff", error="invalid_token"'
    assert api.counts() == {"transfers": 1, "callbacks": 1, "idempotency_keys": 0}


def test_a_token_without_a_jti_counts_again_and_again(api: Api) -> None:
    token = sample.token(exp=time.time() + 600)

    assert [call(api, token) for _ in range(3)] == [200] * 3
    assert api.rows(tables.used_tokens) == []


def test_an_app_may_require_a_jti(api: Api) -> None:
    require_jti(api)
    without = api.assign(headers={"auth": sample.token(exp=time.time() + 600)})

    assert refusal(without) == INVALID
    assert without.json()["detail"] == "This app's tokens must have the claim jti."
    assert [call(api, once()), call(api, once())] == [200, REPLAYED]


@pytest.mark.parametrize(
    ("claims", "outcome"),
    [
        ({"exp": 3_600}, 200),
        ({"exp": 3_620}, 200),
        ({"exp": 3_640}, INVALID),
        ({"exp": 86_400}, INVALID),
        ({}, INVALID),
        ({"exp": -60}, EXPIRED),
        ({"exp": 1_800, "iat": -7_200}, 200),
    ],
    ids=str,
)
def test_a_token_with_a_jti_expires_within_an_hour_from_now_give_or_take_the_leeway(
    api: Api, claims: dict[str, float], outcome: int | tuple[int, str]
) -> None:
    token = sample.token(jti="j-1", **{name: time.time() + seconds for name, seconds in claims.items()})

    assert call(api, token) == outcome


@pytest.mark.parametrize("exp", [None, 7_200])
def test_one_that_lasts_longer_or_for_ever_is_refused_in_the_vendors_words(api: Api, exp: int | None) -> None:
    claims = {} if exp is None else {"exp": time.time() + exp}
    answer = api.assign(headers={"auth": sample.token(jti="j-1", **claims)})

    assert refusal(answer) == INVALID
    assert answer.json()["errors"] == [{"msg": TOO_LONG, "code": 401}]


@pytest.mark.parametrize("jti", [None, 7, 7.5, True, [], ["j-1"], {}, {"a": 1}, ""], ids=repr)
def test_a_jti_that_is_no_text_is_refused(api: Api, jti: object) -> None:
    assert call(api, sample.token(jti=jti, exp=time.time() + 60)) == INVALID


@pytest.mark.parametrize("jti", ["\u0000", "\ud800", "Zoë", "j" * 4_000, "'; DROP TABLE apps; --"], ids=ascii)
def test_any_text_will_do_for_a_jti(api: Api, jti: str) -> None:
    assert [call(api, once(jti)), call(api, once(jti))] == [200, REPLAYED]


def test_what_counts_is_the_jti_and_not_the_token(api: Api) -> None:
    tokens = [once(lasts_s=600), once(lasts_s=601), once("j-2", lasts_s=600)]

    assert [call(api, token) for token in tokens] == [200, REPLAYED, 200]


def test_a_forged_token_uses_no_jti_up(api: Api) -> None:
    assert [call(api, once(secret=sample.SECRET + "!")), call(api, once())] == [INVALID, 200]


def test_a_jti_belongs_to_its_app(api: Api) -> None:
    other = sample.app(appId="cs-2")
    foreign = sample.app(appId="cs-3", accountId=FOREIGN, streams="*")
    load_directory(api.settings, {"apps": [other, foreign]})
    tokens = [once(appId=app) for app in (sample.APP, "cs-2", "cs-3")]

    outcomes = [call(api, token) for token in tokens]
    again = [call(api, token) for token in tokens]

    assert outcomes == [200, 200, (403, "stream_forbidden")]
    assert again == [REPLAYED] * 3
    assert {(row["account_id"], row["app_id"]) for row in api.rows(tables.used_tokens)} == {
        (sample.ACCOUNT, sample.APP),
        (sample.ACCOUNT, "cs-2"),
        (FOREIGN, "cs-3"),
    }


def test_it_holds_for_every_call_and_across_calls(api: Api) -> None:
    outcomes = [read(api, once()), read(api, once()), read(api, once("j-2"))]

    assert [answer.status_code for answer in outcomes] == [200, 401, 200]
    assert refusal(outcomes[1]) == REPLAYED
    assert call(api, once("j-2")) == REPLAYED


def test_there_is_no_route_that_takes_a_token_twice(api: Api) -> None:
    twice = []
    for method, path in (every := routes(api)):
        headers = {"auth": once(f"{method} {path}")}
        first, second = (api.client.request(method, path, headers=headers) for _ in range(2))
        if first.status_code == 401 or second.json().get("code") != "token_replayed":
            twice.append(f"{method} {path}")

    assert len(every) > 20
    assert twice == []


def test_a_call_that_is_refused_for_what_it_says_uses_its_token_up(api: Api) -> None:
    outcomes = [call(api, once(), orgId="no id!"), call(api, once()), call(api, once("j-2"), dryRun=True)]

    assert outcomes == [(422, "invalid_request"), REPLAYED, 200]
    assert call(api, once("j-2")) == REPLAYED


def test_a_repeat_by_its_key_needs_a_token_of_its_own(api: Api) -> None:
    answers = [api.assign(headers={"auth": token, "idempotency-key": "k-1"}) for token in (once(), once(), once("j-2"))]

    assert [answer.status_code for answer in answers] == [200, 401, 200]
    assert answers[0].content == answers[2].content


def test_what_is_kept_of_a_token_is_a_digest_and_when_it_ends(api: Api) -> None:
    ends_s = time.time() + 600
    call(api, once("a jti that nobody must find", exp=ends_s))
    (row,) = api.rows(tables.used_tokens)

    assert set(row) == {"account_id", "app_id", "jti_digest", "expires_at"}
    assert len(row["jti_digest"]) == 64
    assert "nobody" not in str(row)
    assert row["expires_at"] == pytest.approx((ends_s + 30) * 1_000, abs=2)


class Away:
    """A store of transfers that is not there."""

    def __init__(self, settings: Settings) -> None:
        store = open_transfer_store(settings)
        self.close, self.abort = store.close, store.abort

    def begin(self) -> Any:
        raise StoreUnavailable("away")


def test_a_call_that_the_service_could_not_take_leaves_its_token_good(settings: Settings) -> None:
    with serving(settings, open_transfers=Away) as api:
        outcomes = [call(api, once()) for _ in range(3)]
    with serving(settings) as api:
        outcomes += [call(api, once()) for _ in range(2)]

    assert outcomes == [*[(503, "store_unavailable")] * 3, 200, REPLAYED]


def test_a_call_that_comes_too_soon_leaves_its_token_good(settings: Settings) -> None:
    limited = settings.model_copy(update={"rate_limit": "1/second"})
    tokens = [once(f"j-{number}") for number in range(50)]
    with serving(limited) as api:
        # Where the first takes a second, another comes too soon.
        refused = next(token for token in tokens if call(api, token, aId="a-nobody") == (429, "rate_limited"))
        time.sleep(1.1)
        outcome = call(api, refused)

    assert outcome == 200


def test_a_replay_uses_up_nobodys_budget(settings: Settings) -> None:
    limited = settings.model_copy(update={"rate_limit": "2/minute"})
    with serving(limited) as api:
        outcomes = [call(api, once()) for _ in range(6)]
        outcomes.append(call(api, once("j-2"), aId="a-nobody"))

    assert outcomes == [200, *[REPLAYED] * 5, (404, "agent_not_found")]


def test_a_store_that_cannot_record_the_use_lets_nobody_in(settings: Settings) -> None:
    engine = open_writer(settings.database_url)
    with serving(settings) as api:
        first = call(api, sample.token())
        tables.used_tokens.drop(engine)
        engine.dispose()
        outcomes = [call(api, once(), aId="a-nobody"), call(api, sample.token())]

    assert first == 200
    assert outcomes == [(503, "store_unavailable"), 200]


@pytest.fixture(params=[("sqlite", 2), ("postgres", 3)], ids=lambda param: f"{param[0]}-{param[1]}")
def many(request: pytest.FixtureRequest) -> tuple[str, int]:
    """A store, and how many processes serve on it."""
    kind, processes = request.param
    return request.getfixturevalue(f"{kind}_url"), processes


@pytest.mark.anyio
async def test_of_many_simultaneous_uses_in_several_processes_one_counts(
    many: tuple[str, int], start_service: StartService
) -> None:
    url, processes = many
    rounds, uses = 15, 12
    names = [f"s-{number}" for number in range(rounds)]
    load_directory(Settings(database_url=url), sample.directory(sessions=[sample.session(name) for name in names]))
    services = [start_service(url, settings={"dispatcher": "off"}) for _ in range(processes)]
    outcomes: list[Counter[str]] = []

    async with callers([service.url for service in services]) as group:
        for name in names:
            bodies = [sample.body(botSessionId=name, aId="a-nobody")] * uses
            answers = await group.call_at_once(bodies, headers={"auth": once(name)})
            outcomes.append(Counter(answer.json()["code"] for answer in answers))

    assert outcomes == [Counter(agent_not_found=1, token_replayed=uses - 1)] * rounds


def test_a_used_token_stays_used_when_the_process_is_killed(database_url: str, start_service: StartService) -> None:
    load_directory(Settings(database_url=database_url), sample.directory())
    service = start_service(database_url, settings={"dispatcher": "off"})
    token = once()

    def status() -> int:
        return httpx.post(
            service.url + sample.PATH, headers={"auth": token}, json=sample.body(), timeout=60
        ).status_code

    first = status()
    service.kill()
    service.start()

    assert [first, status()] == [200, 401]


def test_the_command_makes_tokens_that_such_an_app_may_use(settings: Settings) -> None:
    load_directory(settings, {"apps": [sample.app(requireJti=True)]})
    url = settings.database_url
    tokens = [handoff("token", sample.APP, url=url).stdout.strip() for _ in range(2)]
    refused = [handoff("token", sample.APP, "--expires-in", text, url=url) for text in ("0", "3601")]
    with serving(settings) as api:
        outcomes = [call(api, token) for token in (*tokens, tokens[0])]

    assert outcomes == [200, 200, REPLAYED]
    assert [run.exit_code for run in refused] == [2, 2]
    assert "expire within an hour" in refused[0].stderr
