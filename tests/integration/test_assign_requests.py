"""How a request may be written, and what is said to one that may not; nothing of those is recorded."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from conftest import StartService
from handoff import Settings, load_directory
from handoff.store import tables
from rigs import sample
from rigs.api import Api, refusal, serving, to_queue
from rigs.sample import AGENT, OTHER_AGENT, QUEUE

LIMIT = 64 * 1024
URL = "http://localhost:8011/told?by=us"
INVALID = (422, "invalid_request")
FIELDS = ("callbackUrl", "orgId", "aId", "botSessionId", "expectedAgentId", "queueId", "transferredType")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One service for all: whatever is refused leaves no trace, and whatever wins has a session of its own."""
    settings = Settings(database_url=f"sqlite:///{tmp_path_factory.mktemp('requests')}/handoff.db", dispatcher="off")
    load_directory(settings, sample.directory(agents=[sample.agent(maxChatSupport=99)]))
    with serving(settings) as running:
        yield running


@pytest.fixture
def session_id(api: Api) -> str:
    """A fresh session."""
    name = f"s-{len(api.rows(tables.sessions))}"
    load_directory(api.settings, {"sessions": [sample.session(name)]})
    return name


def unrecorded(api: Api, **request: Any) -> httpx2.Response:
    """The answer to a request that must leave no trace in the store."""
    before = api.counts()

    response = api.post(**request)

    assert api.counts() == before
    return response


def with_field(name: str, value: object) -> dict[str, Any]:
    """A complete body, in the form that knows this field, with this value of it."""
    body = sample.body(**to_queue(QUEUE)) if name in FIELDS[5:] else sample.body()
    return body | {name: value}


@pytest.mark.parametrize("form", [{}, {"transferredType": "AGENT"}, to_queue(QUEUE)], ids=["agent", "typed", "queue"])
@pytest.mark.parametrize(
    ("in_body", "in_query"),
    [(FIELDS, ()), ((), FIELDS), (FIELDS[:1], FIELDS[1:]), (FIELDS[1:], FIELDS[:1]), (FIELDS, FIELDS)],
    ids=["body", "query", "URL in the body", "URL in the query", "both"],
)
def test_parameters_count_in_the_body_in_the_query_and_split_over_both(
    api: Api, session_id: str, form: dict[str, Any], in_body: tuple[str, ...], in_query: tuple[str, ...]
) -> None:
    fields = sample.body(URL, botSessionId=session_id, **form)
    body = {name: value for name, value in fields.items() if name in in_body}
    query = {name: value for name, value in fields.items() if name in in_query}

    answer = api.post(params=query, json=body) if body else api.post(params=query)

    (transfer,) = api.rows(tables.transfers, session_id=session_id)
    assert answer.status_code == 200
    assert transfer["callback_url"] == URL
    assert transfer["target_id"] == form.get("queueId", AGENT)


def test_an_expectation_counts_in_the_query_too(api: Api, session_id: str) -> None:
    fields = sample.body(botSessionId=session_id)

    assert refusal(api.post(params={"expectedAgentId": OTHER_AGENT}, json=fields)) == (409, "holder_changed")


@pytest.mark.parametrize("name", FIELDS)
def test_a_parameter_with_two_values_is_a_conflict_that_names_it(api: Api, name: str) -> None:
    values = {"callbackUrl": (URL, f"{URL}2"), "transferredType": ("QUEUE", "AGENT")}.get(name, ("x-1", "x-2"))
    over_both = unrecorded(api, params={name: values[1]}, json=with_field(name, values[0]))
    in_query = unrecorded(api, params=[*sample.body().items(), (name, values[0]), (name, values[1])])

    assert [refusal(over_both), refusal(in_query)] == [(422, "conflicting_parameters")] * 2
    assert over_both.json()["detail"].startswith(f"{name}: ")


def test_one_value_said_twice_in_the_query_is_one_value(api: Api, session_id: str) -> None:
    fields = sample.body(botSessionId=session_id)

    assert api.post(params=[*fields.items(), *fields.items()]).status_code == 200


@pytest.mark.parametrize("name", ["callbackUrl", "orgId", "aId", "botSessionId", "queueId"])
def test_a_missing_parameter_is_named(api: Api, name: str) -> None:
    null = with_field(name, None)
    absent = {key: value for key, value in null.items() if value is not None}

    answers = [unrecorded(api, json=null), unrecorded(api, json=absent), unrecorded(api, params=absent)]

    assert [refusal(answer) for answer in answers] == [INVALID] * 3
    assert {answer.json()["detail"] for answer in answers} == {f"{name}: required."}


def test_fields_that_nobody_knows_are_ignored_even_where_they_look_like_ours(api: Api, session_id: str) -> None:
    unknown = {"agent_id": "not an id", "AID": 7, "conversationId": ["x"], "nothing": None}
    fields = sample.body(botSessionId=session_id)

    assert api.post(params={"orgid": "not an id"}, json=fields | unknown).status_code == 200


@pytest.mark.parametrize("value", [7, 1.5, True, [], ["x"], {}], ids=repr)
@pytest.mark.parametrize("name", FIELDS)
def test_a_parameter_of_another_type_is_named(api: Api, name: str, value: object) -> None:
    answer = unrecorded(api, json=with_field(name, value))

    assert refusal(answer) == INVALID
    assert answer.json()["detail"].startswith(f"{name}: ")


@pytest.mark.parametrize(
    "changes",
    [
        *(to_queue(QUEUE, transferredType=kind) for kind in ("queue", "BOT", "", "AGENT", None)),
        {"queueId": QUEUE},
        {"queueId": QUEUE, "transferredType": "AGENT"},
        {"aId": None, "transferredType": "AGENT"},
    ],
    ids=str,
)
def test_a_queue_is_named_by_queue_id_and_type_together_and_an_agent_by_neither(
    api: Api, changes: dict[str, Any]
) -> None:
    assert refusal(unrecorded(api, json=sample.body(**changes))) == INVALID


@pytest.mark.parametrize(
    "text", ["", " ", "a b", "a/b", "a.b", "-a", "_a", "ä", "a\n", "\na", "a\0", "a'--", "%00", "a" * 129], ids=repr
)
@pytest.mark.parametrize("name", FIELDS[1:6])
def test_what_is_no_id_is_named_and_not_repeated(api: Api, name: str, text: str) -> None:
    fields = with_field(name, text)

    answers = [unrecorded(api, json=fields), unrecorded(api, params=fields)]

    rule = f"{name}: 1 to 128 of A-Z a-z 0-9 _ -, a letter or digit first."
    assert [refusal(answer) for answer in answers] == [INVALID] * 2
    assert {answer.json()["detail"] for answer in answers} == {rule}


def test_an_id_may_have_128_characters(api: Api, session_id: str) -> None:
    assert refusal(api.assign(botSessionId=session_id, aId="a" * 128)) == (404, "agent_not_found")


def padded(size: int, **changes: Any) -> bytes:
    """A complete body of as many bytes."""
    short = json.dumps(sample.body(note="", **changes)).encode()
    return short.replace(b'"note": ""', b'"note": "' + b"x" * (size - len(short)) + b'"')


def test_a_body_may_have_64_kib_and_not_one_byte_more(api: Api, session_id: str) -> None:
    fits = api.post(content=padded(LIMIT, botSessionId=session_id))
    exceeds = unrecorded(api, content=padded(LIMIT + 1))
    deep = unrecorded(api, content=b"[" * 100_000)
    announced = unrecorded(api, headers=sample.headers(**{"content-length": str(LIMIT + 1)}), content=b"{}")

    assert fits.status_code == 200
    assert [refusal(answer) for answer in (exceeds, deep, announced)] == [(413, "body_too_large")] * 3


def test_a_body_of_unknown_length_is_counted_as_it_arrives(sqlite_url: str, start_service: StartService) -> None:
    load_directory(Settings(database_url=sqlite_url), sample.directory())
    service = start_service(sqlite_url, settings={"dispatcher": "off"})

    def post(size: int) -> httpx2.Response:
        body = padded(size)
        pieces = (body[place : place + 8_000] for place in range(0, size, 8_000))
        return httpx2.post(service.url + sample.PATH, headers=sample.headers(), content=pieces, timeout=60)

    exceeds, fits = post(LIMIT + 1), post(LIMIT)

    assert refusal(exceeds) == (413, "body_too_large")
    assert exceeds.request.headers["transfer-encoding"] == "chunked"
    assert (fits.status_code, fits.headers["etag"]) == (200, '"1"')


@pytest.mark.parametrize(
    "media_type", [None, "application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"]
)
def test_a_body_is_json_by_its_type_or_without_one(api: Api, session_id: str, media_type: str | None) -> None:
    headers = sample.headers() if media_type is None else sample.headers(**{"content-type": media_type})

    answer = api.post(headers=headers, content=json.dumps(sample.body(botSessionId=session_id)))

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "text/json", "application/jsonx", "image/x+json", "application/x-www-form-urlencoded"],
)
def test_a_body_of_another_type_is_not_read(api: Api, media_type: str) -> None:
    headers = sample.headers(**{"content-type": media_type})

    assert refusal(unrecorded(api, headers=headers, json=sample.body())) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"nonsense", b"{'aId': 'x'}", b'{"note": 1,}', b"{}{}", b" ", b'{"note": "\n"}', b'{"note": 01}'),
        *(b"[]", b'["aId"]', b'"text"', b"null", b"true", b"7", b"NaN"),
        *(b"\xff\xfe", b'{"note": "\xff"}', b'{"aId": "\xed\xa0\x80"}', "{}".encode("utf-16"), b"\xef\xbb\xbf{}"),
        *(b'{"aId": "\\ud800"}', b'{"callbackUrl": "http://x/\\udc00"}', b'{"orgId": "\\u0000"}'),
        *(b"[" * 60_000, b'{"note":' * 8_000, b'{"note": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", b"9" * 60_000),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_json_object_is_refused_though_the_query_has_everything(api: Api, body: bytes) -> None:
    fields = {name: value for name, value in sample.body().items() if name.encode() not in body}

    assert refusal(unrecorded(api, params=fields, content=body)) == INVALID


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.com/", "example.com", "//example.com/", "http:///told", "http://", "javascript:alert(1)"),
        *("http://user@example.com/", "http://user:word@example.com/", "https://example.com/#told", "http://a b/"),
        *("http://169.254.169.254/latest", "http://10.0.0.1/", "http://192.168.1.1:8009/", "http://[fe80::1]/"),
        *("http://[::ffff:10.0.0.1]/", "http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://0.0.0.0/"),
        *("http://127.0.0.1:8000/", "http://localhost:8000/", "http://[::1]:8000/", "http://example.com:0/"),
        *("http://example.com:65536/", "http://ä.example/", "http://x\\@y/", "http://x/\0", "http://x/" + "a" * 2_040),
    ],
    ids=lambda url: repr(url[:30]),
)
def test_a_callback_url_that_must_not_be_called_is_refused(api: Api, url: str) -> None:
    answers = [unrecorded(api, json=sample.body(url)), unrecorded(api, params=sample.body(url))]

    assert [refusal(answer) for answer in answers] == [(422, "callback_url_forbidden")] * 2
    assert {answer.json()["detail"][:13] for answer in answers} == {"callbackUrl: "}


@pytest.mark.parametrize("url", ["http://example.com/", "https://127.0.0.1/", "https://localhost/"])
def test_in_production_callbacks_go_out_by_https_alone_and_never_to_this_machine(api: Api, url: str) -> None:
    strict = api.settings.model_copy(update={"callback_policy": "production", "callback_signing": "off"})
    with serving(strict) as production:
        answer = unrecorded(production, json=sample.body(url))

    assert refusal(answer) == (422, "callback_url_forbidden")


@pytest.mark.parametrize("key", ["", "a b", "a\tb", "k" * 256], ids=repr)
def test_an_idempotency_key_is_visible_ascii(api: Api, key: str) -> None:
    assert refusal(unrecorded(api, headers=sample.headers(**{"Idempotency-Key": key}), json=sample.body())) == INVALID


@pytest.mark.parametrize("request_id", ["r", "7f3c.A_b-9", "r" * 128])
def test_the_callers_request_id_comes_back_with_refusals_too(api: Api, request_id: str) -> None:
    answers = [api.post(headers={**who, "X-Request-Id": request_id}) for who in ({}, sample.headers())]

    assert [refusal(answer) for answer in answers] == [(401, "token_missing"), INVALID]
    assert [answer.headers["x-request-id"] for answer in answers] == [request_id] * 2


@pytest.mark.parametrize("request_id", ["", "-r", ".r", "a b", "a/b", "a\tb", "r" * 129], ids=repr)
def test_a_request_id_that_cannot_stand_in_a_log_is_replaced_by_a_fresh_one(api: Api, request_id: str) -> None:
    answers = [api.post(headers=sample.headers(**{"X-Request-Id": request_id})) for _ in range(2)]

    given = {answer.headers["x-request-id"] for answer in answers}
    assert len(given) == 2
    assert all(len(one) == 36 for one in given)


@pytest.mark.parametrize("content", [b"{", padded(LIMIT + 1), b""], ids=["broken", "large", "empty"])
def test_whoever_has_no_token_learns_nothing_about_the_request(api: Api, content: bytes) -> None:
    answer = unrecorded(api, headers={"content-type": "text/plain"}, content=content)

    assert refusal(answer) == (401, "token_missing")


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [("POST", "/nowhere", 404, "Not Found"), ("GET", sample.PATH, 405, "Method Not Allowed")],
)
def test_unknown_paths_and_methods_are_told_in_the_same_shape(
    api: Api, method: str, path: str, status: int, title: str
) -> None:
    answer = api.client.request(method, path, headers=sample.headers())

    said = {"title": title, "status": status, "detail": title}
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)
    assert answer.json() == {"type": "about:blank", "errors": [{"msg": title, "code": status}], **said}
