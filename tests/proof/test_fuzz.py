"""Tokens, bodies, headers and URLs that are nearly right: each is answered as documented, and nothing breaks.

All of them begin with something valid, which is then changed here and there.
"""

import asyncio
import contextlib
import json
import re
import socket
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import jwt
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from yarl import URL

from handoff import Settings, load_directory
from handoff.api.auth import Authenticator
from handoff.api.problems import Refuse
from handoff.domain.address_policy import AddressRules, lane_of, refuse_address, refuse_url
from handoff.domain.refusals import Refusal
from handoff.service.directory import Directory
from handoff.service.worker import Worker
from handoff.store import tables as t
from handoff.stores import open_audit, open_directory
from handoff.system import SystemClock
from rigs import sample
from rigs.conversations import SCOPES
from rigs.mutations import mutated
from rigs.service import Service
from rigs.tables import Tables

# What failed may be long.
pytestmark = [
    pytest.mark.alone,
    pytest.mark.timeout(1_800),
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
]

LEEWAY_S: Final = 30
# A body may take ten seconds to come, a head here a second and a half.
ANSWERED_WITHIN_S: Final = 15
# So long a half of a request is waited on in the short form, before the client goes away.
SHORT_WAIT_S: Final = 1.0
BASE: Final = f"/agentassist/api/v1/public/{sample.STREAM}"
DOCUMENT: Final = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text())
# What a request may be told before it is anybody's.
OF_HTTP: Final = {400, 404, 405, 431}


def fuzzing(examples: int, long_examples: int, *, is_long: bool) -> settings:
    """So many examples in the short form and in the long one, of which nothing is kept and nothing is shrunk."""
    return settings(
        max_examples=long_examples if is_long else examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


# --- Tokens

NOW_S: Final = int(time.time())
NUGGETS_OF_CLAIMS: Final = [
    *(
        b'"exp":',
        b'"nbf":',
        b'"iat":',
        b'"jti":"a"',
        b'"appId":',
        b'"APPID"',
        b'"crit":["b64"]',
        b'"b64":false',
        b"null",
    ),
    *(b"NaN", b"Infinity", b"-1", b"1e400", b"9" * 400, b'"\\ud800"', b"\xff", b"\xef\xbb\xbf", b"[" * 2_000, b"{}"),
    *(b",", b":", b'"', b"}", b"\x00", b" ", b"\\u0061ppId", f"{NOW_S + 600}".encode(), f"{NOW_S - 600}".encode()),
]
NUGGETS_OF_TOKENS: Final = [
    b".",
    b"..",
    b"=",
    b"==",
    b" ",
    b"\t",
    b"\n",
    b"+",
    b"/",
    b"-",
    b"_",
    b"A" * 9_000,
    b"\xe9",
    b"",
]
BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
HEADS: Final = [{"alg": name} for name in ("HS256", "HS384", "HS512", "none", "RS256", "", "hs256")]
PAYLOADS: Final[list[dict[str, Any]]] = [
    {"appId": sample.APP},
    {"appId": sample.APP, "exp": NOW_S + 600, "iat": NOW_S, "nbf": NOW_S},
    {"appId": sample.APP, "exp": NOW_S + 600, "jti": "one"},
    {"appId": "cs-nobody"},
]
REFUSALS: Final = {Refusal.TOKEN_MISSING, Refusal.TOKEN_INVALID, Refusal.TOKEN_EXPIRED}


def in_base64(part: bytes) -> bytes:
    return urlsafe_b64encode(part).rstrip(b"=")


@st.composite
def tokens(draw: st.DrawFn) -> str:
    """Parts that are signed as they stand, mostly, so that what is in them matters; then perhaps changed once more."""
    head, payload = (json.dumps(draw(st.sampled_from(parts))).encode() for parts in (HEADS, PAYLOADS))
    if draw(st.booleans()):
        head = json.dumps({"alg": "HS256", "typ": "JWT"}).encode()
    if draw(st.integers(0, 3)) == 0:
        head = draw(mutated(head, NUGGETS_OF_CLAIMS))
    if draw(st.booleans()):
        payload = draw(mutated(payload, NUGGETS_OF_CLAIMS))
    signed = in_base64(head) + b"." + in_base64(payload)
    found = next((name for name in ("HS384", "HS512") if name.encode() in head), "HS256")
    signature = jwt.get_algorithm_by_name(found).sign(signed, sample.SECRET.encode())
    token = signed + b"." + in_base64(signature)
    if draw(st.integers(0, 3)) == 0:
        # The same bytes, written in one of the ways that are not the one: the last character has two bits to spare.
        token = token[:-1] + BASE64[BASE64.index(token[-1]) ^ 1 :][:1]
    if draw(st.integers(0, 2)) == 0:
        token = draw(mutated(token, NUGGETS_OF_TOKENS))
    return token.decode("latin-1")


@pytest.fixture(scope="module")
def verify(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The account that a token speaks for, or why it speaks for none."""
    chosen = Settings(database_url=f"sqlite:///{tmp_path_factory.mktemp('tokens')}/handoff.db")
    load_directory(chosen, sample.directory())
    with (
        contextlib.closing(open_directory(chosen)) as store,
        ThreadPoolExecutor(1) as thread,
        asyncio.Runner() as runner,
    ):
        directory = Directory(store, worker=Worker(thread), trust_s=600)
        authenticator = Authenticator(directory, SystemClock(), elapsed_s=time.monotonic, trust_s=0, leeway_s=LEEWAY_S)

        async def verified(token: str) -> str | Refusal:
            try:
                return (await authenticator.authenticate({"auth": token})).app.account_id
            except Refuse as refuse:
                return refuse.refusal

        yield lambda token: runner.run(verified(token))


def by_pyjwt(token: str) -> Mapping[str, Any] | None:
    """The claims of a token that PyJWT takes; the leeway is a second wider, since clocks go on."""
    checks = {"verify_aud": False, "verify_iss": False, "verify_sub": False, "verify_jti": False}
    try:
        return jwt.decode(token.strip(), sample.SECRET, ["HS256"], options=checks, leeway=LEEWAY_S + 1)  # type: ignore[arg-type]
    except (jwt.PyJWTError, ValueError, RecursionError, OverflowError, TypeError):
        return None


def is_plain(token: str) -> bool:
    """Whether a token is none of those that PyJWT takes and we do not: its claims stand once, its times are numbers."""
    pairs: list[tuple[str, object]] = []
    payload = token.strip().split(".")[1]
    json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), object_pairs_hook=pairs.extend)
    names = [name for name, _ in pairs]
    numbers = [value for name, value in pairs if name in {"exp", "nbf", "iat"}]
    is_dated = all(type(value) is int and abs(value - NOW_S) < 1e6 for value in numbers)
    return len(names) == len(set(names)) and is_dated and "jti" not in names and len(token) < 8_000


def test_whatever_stands_for_a_token_is_taken_where_pyjwt_takes_it_and_nowhere_else(
    verify: Any, *, is_long: bool
) -> None:
    seen: Counter[object] = Counter()

    @fuzzing(300, 10_000, is_long=is_long)
    @given(tokens())
    @example("")
    @example("e30.e30.")
    def holds(token: str) -> None:
        found, claims = verify(token), by_pyjwt(token)
        seen["taken" if found == sample.ACCOUNT else found] += 1
        if found == sample.ACCOUNT:
            assert claims is not None
            assert claims["appId"] == sample.APP
        else:
            assert found in REFUSALS
            assert claims is None or claims.get("appId") != sample.APP or not is_plain(token)

    holds()
    print(f"\ntokens: {dict(seen)}")
    assert seen["taken"]


# --- Over the wire


@dataclass(slots=True)
class Wire:
    """A running service, and everything that it has answered."""

    service: Service
    url: str
    seen: Counter[int] = field(default_factory=Counter)
    told: set[str] = field(default_factory=set)

    def ask(self, raw: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """The answer to the bytes of a request; the connection is closed behind it."""
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=ANSWERED_WITHIN_S) as connection:
            connection.sendall(raw)
            answer = connection.makefile("rb")
            status = int(answer.readline().split(b" ")[1])
            lines = iter(lambda: answer.readline().decode().strip(), "")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = answer.read(int(headers["content-length"]))
        self.seen[status] += 1
        if "x-transfer-id" in headers and "x-dry-run" not in headers:
            self.told.add(headers["x-transfer-id"])
        return status, headers, body

    def require_whole(self) -> None:
        """The process lives, has made no mistake, and recorded what it told of and nothing else."""
        assert self.ask(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")[0] == 200
        assert self.service.stop() == 0
        stored = Tables(self.url)
        recorded = {row["transfer_id"] for row in stored.rows(t.transfers)}
        stored.close()
        audit = open_audit(Settings(database_url=self.url))
        violations = audit.violations()
        audit.close()
        assert recorded == self.told
        assert violations == []
        assert "Traceback" not in self.service.log.read_text()


@pytest.fixture
def wire(sqlite_url: str, tmp_path: Path) -> Iterator[Wire]:
    directory = sample.directory(agents=[sample.agent(maxChatSupport=100), sample.agent(sample.OTHER_AGENT)])
    load_directory(Settings(database_url=sqlite_url), directory | {"apps": [sample.app(scopes=SCOPES)]})
    options: dict[str, Any] = {"settings": {"dispatcher": "off", "reassign": "always"}}
    with Service(sqlite_url, folder=tmp_path, command=("programs.serves_impatiently",), **options) as service:
        yield Wire(service, sqlite_url)


def request(method: str, path: str, body: bytes = b"", *, token: str | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x"]
    lines += [f"auth: {token}"] if token else []
    lines += ["content-type: application/json", f"content-length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "\r\n"]).encode() + body


NUGGETS_OF_JSON: Final = [
    *(
        b"[" * 50_000,
        b'{"a":' * 3_000,
        b"[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]",
        b"9" * 5_000,
        b"-1",
        b"1e999",
        b"1E-999",
    ),
    *(
        b"NaN",
        b"Infinity",
        b"-0",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\u0000"',
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
    ),
    *(
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98\x80",
        b"null",
        b"true",
        b"{}",
        b"[]",
        b'""',
        b'"',
        b"\\",
        b"/**/",
        b",",
        b",,",
        b":",
    ),
    *(
        b'"aId":"a-1",',
        b'"dryRun":true,',
        b'"fallback":[{"aId":"x"}],',
        b'"transferredType":"QUEUE",',
        b"\x1f",
        b" " * 70_000,
    ),
    *(
        b'"expectedAgentId":null,',
        b'"metaInfo":{"a":1e500},',
        b'"expiresInSeconds":1e308,',
        b'"limit":99999999999999999999,',
    ),
]
# Method, path in the document, path as it is asked for, body.
CALLS: Final[list[tuple[str, str, str, Any]]] = [
    ("POST", "/assign-conversation", "/assign-conversation", sample.body()),
    ("POST", "/assign-conversation", "/assign-conversation", sample.body(fallback=[{"queueId": sample.QUEUE}])),
    (
        "POST",
        "/conversations",
        "/conversations",
        {"botSessionId": "s-1", "userInfo": {"a": [1, {"b": "c"}]}, "source": "x"},
    ),
    ("POST", "/agents", "/agents", {"emailId": "a@example.com", "firstName": "Zoë", "lastName": "D", "role": "agent"}),
    (
        "PUT",
        "/agents/{agentId}/status",
        f"/agents/{sample.AGENT}/status",
        {"status": "AVAILABLE", "expiresInSeconds": 90},
    ),
    ("PUT", "/agents/{agentId}", f"/agents/{sample.OTHER_AGENT}", {"firstName": "Jane", "maxChatSupport": 3}),
    ("POST", "/queues", "/queues", {"name": "q", "agents": [{"aId": sample.AGENT}]}),
    ("POST", "/agents/availability", "/agents/availability", {"agents": [sample.AGENT], "queues": [sample.QUEUE]}),
    ("POST", "/callbacks/redeliver", "/callbacks/redeliver", {"state": "dead", "perSecond": 5}),
]


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, str, bytes]:
    """Method, path in the document, path as it is asked for, and what is nearly its body."""
    method, path, asked, body = draw(st.sampled_from(CALLS))
    return method, path, asked, draw(mutated(json.dumps(body, ensure_ascii=False).encode(), NUGGETS_OF_JSON))


def documented(method: str, path: str) -> set[int]:
    """The statuses that the document has for an operation."""
    operation = DOCUMENT["paths"]["/agentassist/api/v1/public/{streamId}" + path][method.lower()]
    return {int(status) for status in operation["responses"]}


def test_whatever_stands_for_a_body_is_answered_as_documented_and_recorded_only_where_that_is_told(
    wire: Wire, *, is_long: bool
) -> None:
    token = sample.token()

    @fuzzing(250, 6_000, is_long=is_long)
    @given(calls())
    def holds(call: tuple[str, str, str, bytes]) -> None:
        method, path, asked, body = call
        status, _, said = wire.ask(request(method, BASE + asked, body, token=token))
        assert status in documented(method, path)
        assert isinstance(json.loads(said), dict | list)

    holds()
    print(f"\nbodies: {dict(wire.seen)}")
    assert {200, 422} <= wire.seen.keys()
    wire.require_whole()


NUGGETS_OF_PATHS: Final = [
    *(
        b"%",
        b"%2",
        b"%2f",
        b"%2F..%2F",
        b"%00",
        b"%0d%0a",
        b"%25",
        b"%ff",
        b"%c3%a9",
        b"%ed%a0%80",
        b"/",
        b"//",
        b"/../",
    ),
    *(
        b"?",
        b"?a=%zz",
        b"#",
        b";a=b",
        b"+",
        b"*",
        b"x" * 3_000,
        b"\xc3\xa9",
        b"%73%74-",
        b"%2525",
        b"&limit=-1",
        b"&cursor=%00",
    ),
]


@st.composite
def paths(draw: st.DrawFn) -> bytes:
    """The path of a list, nearly: its stream's id, its query or any of it is changed."""
    parts = [b"/agentassist/api/v1/public/", sample.STREAM.encode(), b"/conversations", b"?limit=2&skip=0&since=0"]
    place = draw(st.sampled_from([None, 1, 1, 3, 3]))
    if place is None:
        return draw(mutated(b"".join(parts), NUGGETS_OF_PATHS))
    parts[place] = draw(mutated(parts[place], NUGGETS_OF_PATHS))
    return b"".join(parts)


def test_whatever_stands_for_a_path_is_answered_as_documented(wire: Wire, *, is_long: bool) -> None:
    token = sample.token()

    @fuzzing(150, 4_000, is_long=is_long)
    @given(paths())
    def holds(made: bytes) -> None:
        head, behind = request("GET", "PATH", token=token).split(b"PATH")
        # What ends the request line is a matter of the test of heads.
        made = re.sub(rb"[\x00-\x20\x7f]", b"%20", made)
        status, _, said = wire.ask(head + made + behind)
        assert status in {200, 403, 410, 422} | OF_HTTP
        if status == 200 and b"/public/" in made:
            found = re.search(r"/public/([^/]*)/", unquote(urlsplit(made.decode("latin-1")).path))
            assert found is None or found[1] == sample.STREAM
        assert status == 400 or isinstance(json.loads(said), dict | list)

    holds()
    print(f"\npaths: {dict(wire.seen)}")
    assert {200, 403, 404} <= wire.seen.keys()
    wire.require_whole()


NUGGETS_OF_HEADS: Final = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b" ",
        b"\t",
        b":",
        b"\r\n ",
        b"\r\n\r\n",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"HTTP/9",
        b"PRI * ",
    ),
    *(b"content-length: 5\r\n", b"content-length: -1\r\n", b"content-length: 99999999999999999999\r\n", b"\xff\xfe"),
    *(
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"1\r\nx\r\n",
    ),
    *(
        b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: x\r\n",
        b"upgrade: h2c\r\nconnection: upgrade\r\n",
    ),
    *(
        b"expect: 100-continue\r\n",
        b"host: \xe9\r\n",
        b"x: y\r\n" * 500,
        b"x: " + b"y" * 70_000 + b"\r\n",
        b"HEAD ",
        b"CONNECT x:1 ",
    ),
    *(
        b"OPTIONS * ",
        b"GET http://x/livez ",
        b"GET http://x ",
        b"GET // ",
        b"GET  ",
        b"TRACE ",
        b"connection: close\r\n",
    ),
    *(
        b"auth: \xe9\xff\r\n",
        b"authorization: Bearer \r\n",
        b"x-request-id: \xe9\r\n",
        b"idempotency-key: \x7f\r\n",
        b"accountid: \r\n",
    ),
]
# None of them may have anything recorded: those with a token only read.
HEADS_TO_CHANGE: Final = [
    request("GET", "/livez"),
    request("GET", f"{BASE}/conversations?limit=1", token=sample.token()),
    request("GET", f"{BASE}/transfers?limit=1", token=sample.token()),
    request("POST", f"{BASE}/assign-conversation", json.dumps(sample.body()).encode(), token="a.b.c"),
    request("POST", f"{BASE}/assign-conversation", json.dumps(sample.body()).encode()),
]


async def statuses(port: int, raw: bytes, *, is_long: bool) -> list[int]:
    """The statuses that come before the connection ends, or before it falls silent behind an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    came = b""
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(raw)
            await writer.drain()
            if not is_long:
                with contextlib.suppress(TimeoutError):
                    came = await asyncio.wait_for(reader.read(1 << 16), SHORT_WAIT_S)
                writer.write_eof()
            piece = came or await asyncio.wait_for(reader.read(1 << 16), ANSWERED_WITHIN_S)
            came = piece
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return [int(found) for found in re.findall(rb"^HTTP/1\.1 (\d{3}) ", came, re.MULTILINE)]


def test_whatever_stands_for_a_request_is_answered_or_ends_its_connection_in_time(wire: Wire, *, is_long: bool) -> None:
    heads = st.sampled_from(HEADS_TO_CHANGE).flatmap(lambda valid: mutated(valid, NUGGETS_OF_HEADS))

    async def all_at_once(made: list[bytes]) -> None:
        answers = await asyncio.gather(*(statuses(wire.service.port, raw, is_long=is_long) for raw in made))
        for one in answers:
            wire.seen.update(one or [0])
            assert set(one) <= {100, 101, 200, 401, 403, 408, 410, 413, 415, 422} | OF_HTTP

    @fuzzing(3, 150, is_long=is_long)
    @given(st.lists(heads, min_size=20, max_size=30))
    def holds(made: list[bytes]) -> None:
        asyncio.run(all_at_once(made))

    holds()
    print(f"\nrequests, 0 for those whose connection ended: {dict(wire.seen)}")
    assert {400, 401} <= wire.seen.keys()
    wire.require_whole()


# --- The URL that is called back

RULES: Final = AddressRules(allow_loopback=False, allow_plain_http=True, own_port=8_000)
NUGGETS_OF_URLS: Final = [
    *(
        b"@",
        b"\\",
        b"#",
        b"?",
        b"/",
        b"//",
        b":",
        b":80",
        b":0",
        b":65536",
        b"%40",
        b"%2f",
        b"%00",
        b"[",
        b"]",
        b"[::1]",
        b"\t",
    ),
    *(
        b"127.0.0.1",
        b"0x7f.1",
        b"2130706433",
        b"017700000001",
        b"localhost",
        b".",
        b"..",
        b"\xe2\x91\xa0",
        b"\xef\xbc\x8e",
        b"\x00",
    ),
    *(
        b"[::ffff:127.0.0.1]",
        b"[64:ff9b::7f00:1]",
        b"169.254.169.254",
        b"fe80::1%25eth0",
        b"HTTP:",
        b"file:",
        b" ",
        b"\xad",
        b"xn--",
    ),
]
URLS: Final = [b"https://receiver.example/a?b=c", b"http://93.184.216.34:8080/x", b"https://[2606:4700::1111]:443/y"]


def test_whatever_stands_for_a_url_is_refused_in_a_sentence_or_read_alike_by_everybody(*, is_long: bool) -> None:
    seen: Counter[str] = Counter()

    @fuzzing(400, 20_000, is_long=is_long)
    @given(
        st.sampled_from(URLS)
        .flatmap(lambda valid: mutated(valid, NUGGETS_OF_URLS))
        .map(lambda made: made.decode("latin-1"))
    )
    def holds(url: str) -> None:
        reason = refuse_url(url, RULES)
        seen["allowed" if reason is None else "refused"] += 1
        if reason is not None:
            assert reason.startswith("callbackUrl: ")
            return
        assert re.fullmatch(r"[!-~]+", url) is not None
        assert "\\" not in url
        posted, split = URL(url, encoded=True), urlsplit(url)
        host, port = posted.raw_host or "", posted.port
        assert (split.hostname or "").lower() == host.lower()
        assert (split.port or {"http": 80, "https": 443}[split.scheme]) == port
        assert urlsplit(lane_of(url)).port == port
        if ":" in host or host.replace(".", "").isdigit():
            assert refuse_address(host, port or 0, RULES) is None
            assert not host.startswith(("127.", "10.", "169.254."))

    holds()
    print(f"\nURLs: {dict(seen)}")
    assert seen.keys() == {"allowed", "refused"}
