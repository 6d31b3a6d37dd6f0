"""Nobody reaches another's rows: every route of the API, with every id that it takes, in turn another tenant's.

The cases are made from the OpenAPI document, so that a new route or a new id is a new case, or a failure here until
the tables below know it. An id that is another's must be answered as one that nobody has.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import pytest
from httpx2 import Response

from handoff import Settings, create_app, load_directory
from handoff.store import tables
from rigs import sample
from rigs.api import Api, new_store, serving

SCOPES: Final = ["Routing", "Configuration", "SmartAssist Analytics"]
BASE: Final = "/agentassist/api/v1/public/{streamId}"
NOWHERE: Final = "-x"
_IS_ID: Final = re.compile(r"(^|\.)(after|cursor|id|\w*Id|\w*Ids)(\[\])?$").search
_fresh: Final = count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """A tenant: an account, a stream and an org of it, all of whose ids end alike."""

    name: str
    account: str

    @property
    def app(self) -> str:
        return f"cs-{self.name}"

    def id(self, kind: str) -> str:
        return f"{kind}-{self.name}"


OURS: Final = Place("ours", "acc-ours")
# The same account has another stream and org, and there is another account.
OTHERS: Final = (Place("beside", "acc-ours"), Place("foreign", "acc-foreign"))
# What an id in a request names, by the last part of its name.
KINDS: Final = {
    "botSessionId": "s",
    "sessionId": "s",
    "conversationId": "conversation",
    "transferId": "transfer",
    "callbackId": "callback",
    "agentId": "a",
    "aId": "a",
    "expectedAgentId": "a",
    "agentIds": "a",
    "queueId": "qu",
    "queueIds": "qu",
    "queues.id": "qu",
    "skillIds": "sk",
    "skillId": "sk",
    "skills.id": "sk",
    "userId": "u",
    "customId": "custom",
    "emailId": "mail",
    "orgId": "o",
    "accountId": "account",
    "cursor": "cursor",
    "after": "after",
    "POST /agents id": "a",
    "PUT /agents/{agentId} id": "a",
    "POST /queues id": "qu",
}
# A request that goes well, for each route that needs more than its path.
VALID: Final[dict[str, dict[str, Any]]] = {
    "POST /assign-conversation": {
        "callbackUrl": "http://localhost:8009",
        "orgId": "o-ours",
        "aId": "a-ours",
        "botSessionId": "s-ours",
    },
    "POST /conversations": {"botSessionId": "s-ours"},
    "POST /conversations/sessions/{botSessionId}/close": {},
    "POST /conversations/sessions/{botSessionId}/release": {},
    "POST /agents": {"firstName": "F", "lastName": "L", "roleId": "r-1"},
    "PUT /agents/{agentId}": {"firstName": "F", "lastName": "L", "emailId": "mail-ours@example.com"},
    "POST /agents/availability": {},
    "PUT /agents/{agentId}/status": {"status": "AVAILABLE"},
    "POST /queues": {"name": "Q"},
    "POST /queues/agents": {"agentIds": ["a-ours"]},
    "POST /callbacks/redeliver": {},
}
# Within one account an id names one thing only, so these may say that it is taken, and nothing more.
TAKEN_BESIDE: Final = {"POST /agents id", "POST /queues id", "POST /conversations botSessionId"}
# Ids of the caller's own making: they name nothing of ours, so anything goes.
FREE: Final = {"POST /conversations userId", "POST /agents roleId"}


def operations() -> dict[str, dict[str, Any]]:
    document = create_app(Settings(database_url="sqlite:///unused.db")).openapi()
    found = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path.startswith(BASE):
                body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
                name = f"{method.upper()} {path.removeprefix(BASE)}"
                found[name] = {"parameters": operation["parameters"], "fields": sorted(set(fields(document, body)))}
    return found


def fields(document: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every member of a body, as a path: `queues[].id`."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from fields(document, part, path)
    if schema.get("type") == "array":
        yield f"{path}[]"
        yield from fields(document, schema.get("items", {}), f"{path}[]")
    for name, member in schema.get("properties", {}).items():
        inner = f"{path}.{name}" if path else name
        yield inner
        yield from fields(document, member, inner)


OPERATIONS: Final = operations()


def cases() -> Iterator[tuple[str, str, str]]:
    """Each route, where the id stands, and its name: `("POST /queues", "body", "agents[].aId")`."""
    for route, operation in OPERATIONS.items():
        for parameter in operation["parameters"]:
            if parameter["in"] in {"path", "query"} and parameter["name"] != "streamId" and _IS_ID(parameter["name"]):
                yield route, parameter["in"], parameter["name"]
        for name in operation["fields"]:
            is_list = f"{name}[]" in operation["fields"]
            if _IS_ID(name) and not name.endswith("[]") and f"{route} {name}" not in FREE:
                yield route, "body", f"{name}[]" if is_list else name


def kind_of(route: str, name: str) -> str:
    """What the id names. Raises KeyError for one that the table does not know."""
    parts = name.replace("[]", "").split(".")
    if parts[-1] != "id":
        return KINDS[parts[-1]]
    return KINDS[f"{parts[-2]}.id"] if len(parts) > 1 else KINDS[f"{route} id"]


CASES: Final = [
    (place, *case)
    for place in OTHERS
    for case in cases()
    if kind_of(case[0], case[2]) != "account" or place.account != OURS.account  # that one is the caller's own
]


class World:
    """The service with three tenants, in each of which something has happened."""

    def __init__(self, api: Api) -> None:
        self.api = api
        api.reset()
        load_directory(api.settings, together(directory(place) for place in (OURS, *OTHERS)))
        self.ids = {place.name: self._ids(place) for place in (OURS, *OTHERS)}
        self._made = self._rows()

    @property
    def is_as_made(self) -> bool:
        """Whether the store has what it had at first."""
        return self._rows() == self._made

    def _rows(self) -> dict[str, list[dict[str, Any]]]:
        return {table.name: self.api.rows(table) for table in tables.metadata.sorted_tables}

    def _ids(self, place: Place) -> dict[str, str]:
        """Everything of the tenant's that a request can name."""
        assigned = self.call(place, "POST /assign-conversation", body=assignment(place))
        assert assigned.status_code == 200, assigned.text
        transfer = assigned.headers["x-transfer-id"]
        self.call(place, "POST /conversations", body={"botSessionId": place.id("s-more")})
        shown = self.call(place, "GET /conversations", query={"limit": 1}).json()
        return {
            **{kind: place.id(kind) for kind in ("s", "a", "qu", "sk", "u", "o")},
            "custom": place.id("custom"),
            "mail": f"{place.id('mail')}@example.com",
            "account": place.account,
            "transfer": transfer,
            "callback": transfer.replace("tr_", "msg_"),
            "conversation": shown["results"][0]["_id"],
            "cursor": shown["nextCursor"],
            "after": "1",
        }

    def call(
        self,
        place: Place,
        route: str,
        *,
        stream: str | None = None,
        path: dict[str, str] | None = None,
        query: dict[str, Any] | None = None,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        method, _, pattern = route.partition(" ")
        url = BASE.replace("{streamId}", stream or place.id("st")) + pattern
        for name, value in (path or {}).items():
            url = url.replace(f"{{{name}}}", value)
        token = sample.token(appId=place.app)
        return self.api.client.request(method, url, params=query, json=body, headers={"auth": token, **(headers or {})})

    def ask(self, route: str, where: str, name: str, value: str) -> Response:
        """The valid request of ours, but with this id in one place."""
        own = self.ids[OURS.name]
        needed = [one["name"] for one in OPERATIONS[route]["parameters"] if one["in"] == "path"]
        path = {one: own[kind_of(route, one)] for one in needed if one != "streamId"}
        body: dict[str, Any] | None = dict(VALID[route]) if route in VALID else None
        if route == "POST /agents" and body is not None:
            body["emailId"] = f"new-{next(_fresh)}@example.com"
        query: dict[str, Any] = {}
        if where == "path":
            path[name] = value
        elif where == "query":
            query[name] = value
            if body is not None:
                body.pop(name, None)
        elif body is not None:
            put(body, name, value)
        return self.call(OURS, route, path=path, query=query, body=body)

    def rows_of(self, place: Place) -> dict[str, list[dict[str, Any]]]:
        """Everything that the store has of the tenant."""
        found = {table.name: self.api.rows(table, account_id=place.account) for table in tables.metadata.sorted_tables}
        if place.account == OURS.account:
            return {name: [row for row in rows if is_of(place, row)] for name, rows in found.items()}
        return found


def is_of(place: Place, row: dict[str, Any]) -> bool:
    """Whether a row of our account is of this stream or org of it."""
    if row.get("stream_id") is not None:
        return bool(row["stream_id"] == place.id("st"))
    owners = {"org_id": "o", "app_id": "cs", "queue_id": "qu", "agent_id": "a"}
    return any(row[name] == place.id(kind) for name, kind in owners.items() if name in row)


def directory(place: Place) -> dict[str, list[dict[str, Any]]]:
    """A tenant whose names nobody else may see."""
    here = {"accountId": place.account, "orgId": place.id("o")}
    hidden = f"Hidden {place.name}" if place in OTHERS else "Shown"
    agent = {
        **here,
        "id": place.id("a"),
        "userId": place.id("u"),
        "firstName": hidden,
        "emailId": f"{place.id('mail')}@example.com",
        "customId": place.id("custom"),
        "maxChatSupport": 5,
        "onlineStatusType": "AVAILABLE",
    }
    app = {**sample.app(), "appId": place.app, "accountId": place.account, "name": hidden, "scopes": SCOPES}
    return {
        "apps": [app | {"streams": [place.id("st")]}],
        "streams": [{**here, "streamId": place.id("st"), "name": hidden}],
        "queues": [{**here, "id": place.id("qu"), "name": hidden}],
        "agents": [agent],
        "sessions": [{**here, "streamId": place.id("st"), "botSessionId": place.id("s")}],
    }


def together(directories: Iterable[dict[str, list[dict[str, Any]]]]) -> dict[str, list[dict[str, Any]]]:
    """One directory of several."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in directories:
        for section, rows in one.items():
            found.setdefault(section, []).extend(rows)
    return found


def assignment(place: Place) -> dict[str, Any]:
    named = {"orgId": place.id("o"), "aId": place.id("a"), "botSessionId": place.id("s")}
    return {"callbackUrl": f"http://localhost:8009/hidden-{place.name}", **named}


def put(body: Any, path: str, value: str) -> None:
    """Have this value be at the path, and what it stands in be there."""
    head, _, rest = path.partition(".")
    name, is_list = head.removesuffix("[]"), head.endswith("[]")
    if not rest:
        body[name] = [value] if is_list else value
        return
    inner: dict[str, Any] = {"isPreferredAgent": False} if name in {"queues", "agents"} else {}
    body[name] = [inner] if is_list else inner
    put(inner, rest, value)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One service for each kind of store."""
    with serving(new_store(request, tmp_path_factory)) as api:
        yield api


@pytest.fixture(scope="module")
def untouched(running: Api) -> list[World]:
    """The world that the tests share as long as none of them has changed it."""
    del running
    return []


@pytest.fixture
def world(running: Api, untouched: list[World], request: pytest.FixtureRequest) -> Iterator[World]:
    """Three tenants in whom nothing has happened but what makes their ids."""
    if not untouched:
        untouched.append(World(running))
    yield untouched[0]
    if not request.node.callspec.params["route"].startswith("GET ") and not untouched[0].is_as_made:
        untouched.clear()


def told(response: Response, *ids: str) -> object:
    """What the answer comes to, whatever the ids and times in it: for a refusal its words, else its shape."""
    text = response.text
    for one in ids:
        text = text.replace(one, "(id)")
    answer: Any = json.loads(text) if text else None
    if response.status_code >= 400:
        return response.status_code, answer["code"], answer["detail"]
    return response.status_code, shape(answer)


def shape(value: object) -> object:
    match value:
        case dict():
            return {name: shape(member) for name, member in value.items()}
        case list():
            return [shape(member) for member in value]
        case _:
            return type(value).__name__ if not isinstance(value, bool) else value


@pytest.mark.parametrize(
    ("place", "route", "where", "name"), CASES, ids=lambda part: part.name if isinstance(part, Place) else part
)
def test_an_id_of_anothers_is_answered_as_one_that_nobody_has(
    world: World, place: Place, route: str, where: str, name: str
) -> None:
    theirs = world.ids[place.name]
    kind = kind_of(route, name)
    before = world.rows_of(place)
    answer = world.ask(route, where, name, theirs[kind])

    assert answer.status_code < 500
    assert "Hidden" not in answer.text
    hidden = {value for key, value in theirs.items() if key not in {kind, "after", "account"}}
    assert [value for value in hidden if re.search(rf"(?<![\w-]){re.escape(value)}", answer.text)] == []
    assert world.rows_of(place) == before
    if f"{route} {name}" in TAKEN_BESIDE and place.account == OURS.account:
        assert answer.status_code == 409
    elif kind not in {"cursor", "after"}:  # where a page begins is a place between rows, whoever has them
        nobodys = world.ask(route, where, name, theirs[kind] + NOWHERE)
        assert told(answer, theirs[kind]) == told(nobodys, theirs[kind] + NOWHERE, theirs[kind])


@pytest.mark.parametrize("route", OPERATIONS)
def test_a_stream_of_anothers_is_forbidden_as_one_that_nobody_has(world: World, route: str) -> None:
    own = world.ids[OURS.name]
    needed = [one["name"] for one in OPERATIONS[route]["parameters"] if one["in"] == "path"]
    path = {one: own[kind_of(route, one)] for one in needed if one != "streamId"}
    streams = [place.id("st") for place in OTHERS] + ["st-nobodys"]
    answers = [world.call(OURS, route, stream=stream, path=path, body=VALID.get(route)) for stream in streams]

    assert {told(answer) for answer in answers} == {(403, "stream_forbidden", "App cs-ours has no such stream.")}


@pytest.mark.parametrize("route", OPERATIONS)
def test_the_header_that_names_another_account_is_refused(world: World, route: str) -> None:
    headers = {"accountid": OTHERS[1].account}
    answer = world.call(OURS, route, path={}, body=VALID.get(route), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "account_mismatch")


def test_every_route_with_a_body_has_a_valid_request_here() -> None:
    assert {route for route, operation in OPERATIONS.items() if operation["fields"]} <= VALID.keys()
