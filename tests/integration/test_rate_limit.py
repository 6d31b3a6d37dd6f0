"""How often an account may call: who counts, what costs nothing, and what callers are told."""

import json
import re
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import jwt
import pytest
from httpx2 import Response

from handoff import Settings, load_directory
from handoff.service.ports import StoreUnavailable
from handoff.store import tables
from handoff.stores import open_transfer_store
from rigs import sample
from rigs.api import Api, refusal, routes, serving, to_agent, to_queue
from rigs.sample import ACCOUNT, AGENT, OTHER_AGENT, QUEUE

EXCEEDED = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."
CALLBACKS = sample.PATH.replace("assign-conversation", "callbacks")
FOREIGN = "650d9eb6da96d0bc0d23yyyy"
LIMITED = (429, "rate_limited")

Serve = Callable[..., Api]


@pytest.fixture
def serve(sqlite_url: str) -> Iterator[Serve]:
    """Start the service with a rate limit: `serve("60/minute")`."""
    with ExitStack() as stack:

        def start(rate: str | None, **more: Any) -> Api:
            settings = Settings(database_url=sqlite_url, dispatcher="off", rate_limit=rate, **more)
            load_directory(settings, sample.directory())
            return stack.enter_context(serving(settings))

        yield start


def sessions(api: Api, count: int) -> list[str]:
    """So many sessions with the bot."""
    names = [f"s-{number}" for number in range(count)]
    load_directory(api.settings, {"sessions": [sample.session(name) for name in names]})
    return names


def budget(answer: Response) -> tuple[str, int, int]:
    """The budget that an answer tells of: its name, the calls left in it, and the seconds until there is one more."""
    found = re.fullmatch(r'"(\w+)";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert found is not None
    return found[1], int(found[2]), int(found[3])


def test_without_a_rate_limit_nobody_is_told_of_one(serve: Serve) -> None:
    answer = serve(None).assign()

    assert answer.status_code == 200
    assert [name for name in answer.headers if name.startswith("ratelimit") or name == "retry-after"] == []


def test_past_the_limit_a_call_is_refused_with_the_vendors_sentence_and_leaves_nothing(serve: Serve) -> None:
    api = serve("2/minute")
    first, second, third = (api.assign(botSessionId=name) for name in sessions(api, 3))

    assert [answer.status_code for answer in (first, second)] == [200, 200]
    assert refusal(third) == LIMITED
    assert third.json()["detail"] == EXCEEDED
    assert third.json()["errors"] == [{"msg": EXCEEDED, "code": 429}]
    assert api.counts() == {"transfers": 2, "callbacks": 2, "idempotency_keys": 0}


def test_every_answer_tells_of_the_budget_and_a_refused_one_when_to_come_again(serve: Serve) -> None:
    api = serve("2/minute")
    answers = [api.assign(aId="a-nobody") for _ in range(3)]

    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"transfers";q=2;w=60'}
    assert [budget(answer)[:2] for answer in answers] == [("transfers", 1), ("transfers", 0), ("transfers", 0)]
    assert [answer.headers.get("retry-after") for answer in answers[:2]] == [None, None]
    assert answers[2].headers["retry-after"] == str(budget(answers[2])[2])
    assert 30 <= int(answers[2].headers["retry-after"]) <= 60


def test_another_period_is_told_as_it_is(serve: Serve) -> None:
    api = serve("1/hour")
    api.assign()
    answer = api.assign(aId=OTHER_AGENT)

    assert answer.json()["detail"].startswith("You've exceeded the per-hour rate limit.")
    assert answer.headers["ratelimit-policy"] == '"transfers";q=1;w=3600'


def test_after_the_time_that_was_told_the_call_goes_through(serve: Serve) -> None:
    api = serve("1/second")
    for name in sessions(api, 50):  # where the first takes a second, another comes too soon
        answer = api.assign(**to_queue(QUEUE), botSessionId=name)
        if answer.status_code == 429:
            break
    time.sleep(int(answer.headers["retry-after"]))

    assert refusal(answer) == LIMITED
    assert api.assign(**to_queue(QUEUE), botSessionId=name).status_code == 200


@pytest.mark.parametrize("key", [None, "k-1"], ids=["without a key", "with a key"])
def test_a_repeat_gets_its_answer_and_costs_nothing(serve: Serve, key: str | None) -> None:
    api = serve("2/minute")
    headers = sample.headers(**({"idempotency-key": key} if key else {}))
    first = api.assign(headers=headers)
    repeats = [api.assign(headers=headers) for _ in range(5)]
    last = api.assign(**to_agent(OTHER_AGENT))

    assert {(answer.status_code, answer.content) for answer in repeats} == {(200, first.content)}
    assert [budget(answer)[1] for answer in (first, *repeats)] == [1] * 6
    assert (refusal(last), budget(last)[1]) == ((409, "session_already_assigned"), 0)


def test_a_keyed_repeat_of_a_refusal_costs_nothing_either(serve: Serve) -> None:
    api = serve("2/minute")
    headers = sample.headers(**{"idempotency-key": "k-1"})
    answers = [api.assign(headers=headers, aId="a-nobody") for _ in range(4)]

    assert {refusal(answer) for answer in answers} == {(404, "agent_not_found")}
    assert [budget(answer)[1] for answer in answers] == [1] * 4


def test_opening_and_closing_once_more_costs_nothing(serve: Serve) -> None:
    api = serve("2/minute")
    load_directory(api.settings, {"apps": [sample.app(scopes=["Configuration"])]})
    conversations = sample.PATH.replace("assign-conversation", "conversations")
    opened = [api.post(path=conversations, json={"botSessionId": "s-new"}) for _ in range(3)]
    closed = [api.post(path=f"{conversations}/sessions/s-new/close", json={}) for _ in range(3)]

    assert [answer.status_code for answer in (*opened, *closed[:1])] == [201, 200, 200, 200]
    assert [budget(answer)[1] for answer in (*opened, *closed[:1])] == [1, 1, 1, 0]
    assert [refusal(answer) for answer in closed[1:]] == [LIMITED] * 2


def test_a_refused_call_that_is_decided_anew_costs_its_unit(serve: Serve) -> None:
    api = serve("2/minute")
    answers = [api.assign(aId="a-nobody") for _ in range(3)]

    assert [refusal(answer) for answer in answers] == [(404, "agent_not_found")] * 2 + [LIMITED]


def test_even_a_repeat_needs_a_unit_that_is_free_while_it_is_under_way(serve: Serve) -> None:
    api = serve("1/minute")
    api.assign()

    assert refusal(api.assign()) == LIMITED


def test_calls_that_transfer_and_all_others_have_a_budget_each(serve: Serve) -> None:
    api = serve("1/minute")
    answers = [
        api.assign(),
        api.client.get(CALLBACKS, headers=sample.headers()),
        api.client.get(CALLBACKS, headers=sample.headers()),
        api.assign(aId=OTHER_AGENT),
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert [answer.headers["ratelimit-policy"] for answer in answers] == [
        '"transfers";q=1;w=60',
        '"others";q=1;w=60',
        '"others";q=1;w=60',
        '"transfers";q=1;w=60',
    ]


def test_every_route_counts_against_one_of_the_two(serve: Serve) -> None:
    api = serve("1000/minute")
    told = {path: budget(api.client.request(method, path, headers=sample.headers()))[0] for method, path in routes(api)}

    assert {path for path, name in told.items() if name == "transfers"} == {sample.PATH}
    assert {name for path, name in told.items() if path != sample.PATH} == {"others"}


def test_the_apps_of_an_account_share_its_budget_and_accounts_share_none(serve: Serve) -> None:
    api = serve("1/minute")
    stream = {"streamId": "st-foreign", "orgId": sample.ORG, "accountId": FOREIGN}
    foreign = sample.app(appId="cs-foreign", accountId=FOREIGN, streams="*")
    load_directory(api.settings, {"apps": [sample.app(appId="cs-2"), foreign], "streams": [stream]})
    tokens = [jwt.encode({"appId": app}, sample.SECRET, "HS256") for app in (sample.APP, "cs-2", "cs-foreign")]
    elsewhere = sample.PATH.replace(sample.STREAM, "st-foreign")

    own, other = (api.assign(headers={"auth": token}) for token in tokens[:2])
    foreign_answer = api.post(headers={"auth": tokens[2]}, path=elsewhere, json=sample.body())

    assert own.status_code == 200
    assert refusal(other) == LIMITED
    assert refusal(foreign_answer) == (404, "session_not_found")


def test_calls_without_a_good_token_use_up_nobodys_budget(serve: Serve) -> None:
    api = serve("1/minute")
    forged = jwt.encode({"appId": sample.APP}, sample.SECRET + "!", "HS256")
    header, claims, _ = sample.token().split(".")
    unsigned = ".".join((urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("="), claims, ""))
    tokens = (forged, unsigned, f"{header}.{claims}.", "x", sample.token(exp=1))
    answers = [api.assign(headers={"auth": token}) for token in tokens]

    assert {answer.status_code for answer in answers} == {401}
    assert [answer for answer in answers if "ratelimit" in answer.headers] == []
    assert api.assign().status_code == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"headers": sample.headers(accountid=FOREIGN)}, 403),
        ({"path": sample.PATH.replace(sample.STREAM, "st-unknown")}, 403),
        ({"json": {}}, 422),
        ({"content": b"{"}, 422),
    ],
    ids=["another account", "another stream", "no fields", "no JSON"],
)
def test_what_a_known_app_may_not_do_or_does_wrong_counts(serve: Serve, request_: dict[str, Any], status: int) -> None:
    api = serve("1/minute")
    answer = api.post(**request_)

    assert (answer.status_code, budget(answer)[1]) == (status, 0)
    assert refusal(api.assign()) == LIMITED


def test_a_dry_run_costs_what_the_call_would(serve: Serve) -> None:
    api = serve("1/minute")

    assert api.assign(dryRun=True).status_code == 200
    assert refusal(api.assign()) == LIMITED


def test_a_flood_is_refused_before_it_reaches_the_store(serve: Serve) -> None:
    api = serve("20/minute")
    names = sessions(api, 100)
    with ThreadPoolExecutor(16) as callers:
        outcomes = Counter(callers.map(lambda name: api.assign(aId="a-nobody", botSessionId=name).status_code, names))

    assert outcomes == {404: 20, 429: 80}
    assert len(api.rows(tables.transfers)) == 20


def test_a_flood_of_repeats_is_answered_and_leaves_the_budget_whole(serve: Serve) -> None:
    api = serve("20/minute")
    first = api.assign()
    with ThreadPoolExecutor(16) as callers:
        repeats = list(callers.map(lambda _: api.assign(), range(200)))
    after = api.assign(aId="a-nobody")

    assert {(answer.status_code, answer.content) for answer in repeats} == {(200, first.content)}
    assert budget(after)[1] == 18


class Away:
    """A store of transfers that is not there."""

    def __init__(self, settings: Settings) -> None:
        self._store = open_transfer_store(settings)
        self.close = self._store.close
        self.abort = self._store.abort

    def begin(self) -> Any:
        raise StoreUnavailable("away")


def test_a_call_that_the_service_could_not_take_costs_nothing(sqlite_url: str) -> None:
    settings = Settings(database_url=sqlite_url, dispatcher="off", rate_limit="2/minute")
    load_directory(settings, sample.directory())
    with serving(settings, open_transfers=Away) as api:
        answers = [api.assign() for _ in range(5)]

    assert {refusal(answer) for answer in answers} == {(503, "store_unavailable")}
    assert [budget(answer)[1] for answer in answers] == [2] * 5


def test_the_account_is_the_tokens_and_never_the_headers(serve: Serve) -> None:
    api = serve("1/minute")
    answers = [api.assign(headers=sample.headers(accountid=name)) for name in (ACCOUNT, FOREIGN)]

    assert [answer.status_code for answer in answers] == [200, 429]
    assert json.loads(answers[0].content)["agentId"] == AGENT
