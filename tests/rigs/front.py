"""The front door of a service in the test's own process, while something is wrong behind it."""

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, cycle
from logging import LogRecord
from typing import Any, Final

from httpx2 import Response
from starlette.testclient import TestClient

from handoff import Settings, create_app, load_directory
from handoff.stores import open_audit
from rigs import sample
from rigs.backlog import stored
from rigs.receiver import Receiver

SESSIONS: Final = 200
_AGENT: Final = f"/agentassist/api/v1/public/{sample.STREAM}/agents/{sample.OTHER_AGENT}"
# Far longer than a callback takes; it only ends a hang.
_PATIENCE_S: Final = 20.0


def session(number: int) -> str:
    return f"s-{number}"


class Front:
    """Calls of each kind, and every assignment that was acknowledged: its answer's bytes by session."""

    def __init__(self, client: TestClient, callback_url: str) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self._client = client
        self._callback_url = callback_url
        self._numbers = count()
        self._next_status = cycle(["BUSY", "AVAILABLE"])

    def assign(self, session_id: str | None = None) -> Response:
        """Ask for the session; without one, for the next that nobody asked for."""
        wanted = session_id or session(next(self._numbers))
        body = sample.body(self._callback_url, botSessionId=wanted)
        answer = self._client.post(sample.PATH, headers=sample.headers(), json=body)
        if answer.status_code == 200:
            first = self.acknowledged.setdefault(wanted, answer.content)
            assert answer.content == first
        return answer

    def assign_at_once(self, session_ids: Sequence[str]) -> list[Response]:
        """All of them at one time."""
        with ThreadPoolExecutor(len(session_ids)) as executor:
            return list(executor.map(self.assign, session_ids))

    def change(self) -> Response:
        """Change an agent."""
        status = next(self._next_status)
        return self._client.put(f"{_AGENT}/status", headers=sample.headers(), json={"status": status})

    def look(self) -> Response:
        """Look at an agent."""
        return self._client.get(_AGENT, headers=sample.headers())

    def each_kind(self) -> list[Response]:
        """A transfer, a change and a look."""
        return [self.assign(), self.change(), self.look()]


@contextmanager
def front(database_url: str, *, loaded_through: str | None = None, **more: Any) -> Iterator[Front]:
    """A service with its dispatcher, and these settings. In the end nothing that was acknowledged may be lost.

    Its directory is loaded through another URL where this one cannot be written to yet.
    """
    settings = Settings(database_url=database_url, **more)
    load_directory(
        Settings(database_url=loaded_through or database_url),
        sample.directory(
            agents=[sample.agent(maxChatSupport=SESSIONS), sample.agent(sample.OTHER_AGENT)],
            sessions=[sample.session(session(number)) for number in range(SESSIONS)],
        )
        | {"apps": [sample.app(scopes=["Routing", "Configuration"])]},
    )
    with Receiver() as receiver:
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            door = Front(client, receiver.url())
            yield door
            for session_id in list(door.acknowledged):
                assert door.assign(session_id).status_code == 200
            _wait_until_delivered(settings)
        audit = open_audit(settings)
        violations = audit.violations()
        audit.close()
    assert violations == []


def _wait_until_delivered(settings: Settings) -> None:
    give_up_at = time.monotonic() + _PATIENCE_S
    while {message.state for message in stored(settings).values()} - {"delivered"}:
        assert time.monotonic() < give_up_at, "callbacks still wait"
        time.sleep(0.05)


def refused(answers: Sequence[Response], *, codes: Collection[str] = ("store_unavailable",)) -> bool:
    """Whether each is the 503 that says what to do."""
    told = [(answer.status_code, answer.headers.get("retry-after")) for answer in answers]
    return set(told) == {(503, "1")} and {answer.json()["code"] for answer in answers} <= {*codes}


def statuses(answers: Sequence[Response]) -> list[int]:
    return [answer.status_code for answer in answers]


def reasons(records: Sequence[LogRecord]) -> str:
    """What the log says of calls that were answered 503."""
    told = [vars(record) for record in records if record.getMessage() == "request"]
    return "\n".join(str(fields.get("reason")) for fields in told if fields["status"] == 503)
