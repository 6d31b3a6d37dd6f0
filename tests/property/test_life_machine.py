"""Whole lives over HTTP, in any order, on both stores: sessions open, move on and close, agents come and go.

After each run the doctor finds nothing, the feed told of every change in order and once, and nobody was overfilled.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from httpx2 import Response
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from handoff.store import tables
from handoff.stores import open_audit
from rigs import sample
from rigs.api import Api, new_store, serving

BASE: Final = f"/agentassist/api/v1/public/{sample.STREAM}"
SESSIONS: Final = ("s-1", "s-2", "s-3", "s-4")
AGENTS: Final = {"a-0": 0, "a-1": 1, "a-2": 2}
SCOPES: Final = ("Routing", "Configuration", "SmartAssist Analytics")

agent_ids = st.sampled_from([*AGENTS, "a-2", "a-9"])
to_agents = agent_ids.map(lambda name: {"aId": name})
targets = st.one_of(to_agents, to_agents, st.just({"queueId": sample.QUEUE}))
statuses = st.sampled_from(["AVAILABLE", "AVAILABLE", "AWAY", "OFFLINE"])
sessions = st.sampled_from([*SESSIONS[:2] * 3, *SESSIONS, "s-9"])
keys = st.sampled_from([None, None, None, None, "k-1", "k-2"])
# Whom a call expects: nobody, whoever has the session, or somebody.
PRESENT: Final = "(who has it)"
expectations = st.sampled_from([None, None, PRESENT, PRESENT, *AGENTS])


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One service for each kind of store."""
    with serving(new_store(request, tmp_path_factory)) as api:
        yield api


class Lives(RuleBasedStateMachine):
    """Calls of every kind, and what each is known to have done."""

    def __init__(self, api: Api) -> None:
        super().__init__()
        self.api = api
        api.reset()
        api.change(tables.apps, {"app_id": sample.APP}, scopes=list(SCOPES))
        for name, slots in AGENTS.items():
            self.create_agent(name, slots)
        for session in SESSIONS[:2]:
            self.open(session)

    def call(self, method: str, path: str, body: object = None) -> Response:
        response = self.api.client.request(method, f"{BASE}{path}", headers=sample.headers(), json=body)
        assert response.status_code < 500, response.text
        return response

    def create_agent(self, name: str, slots: int) -> None:
        body = {"id": name, "firstName": name, "lastName": "L", "emailId": f"{name}@example.com", "roleId": "r-1"}
        created = self.call("POST", "/agents", body | {"maxChatSupport": slots})
        assert created.status_code in {200, 201, 409}, created.text
        self.set_status(name, "AVAILABLE", None)

    @rule(session=st.sampled_from(SESSIONS))
    def open(self, session: str) -> None:
        assert self.call("POST", "/conversations", {"botSessionId": session}).status_code in {200, 201}

    @rule(
        session=sessions,
        first=targets,
        fallback=st.just([]) | st.lists(targets, max_size=3),
        expected=expectations,
        dry=st.sampled_from([False, False, False, True]),
        key=keys,
    )
    def assign(
        self,
        session: str,
        first: dict[str, str],
        fallback: list[dict[str, str]],
        expected: str | None,
        key: str | None,
        *,
        dry: bool,
    ) -> None:
        expected = self.holder(session) if expected == PRESENT else expected
        named: dict[str, Any] = {"aId": None, "botSessionId": session, "expectedAgentId": expected, **first}
        body: dict[str, Any] = sample.body(**named)
        body |= {"fallback": fallback, "dryRun": dry} | ({"transferredType": "QUEUE"} if "queueId" in first else {})
        headers = sample.headers() | ({"Idempotency-Key": key} if key else {})
        before = self.holdings()
        answer = self.api.post(headers=headers, json=body)

        assert answer.status_code in {200, 404, 409, 410, 422}, answer.text
        if dry or answer.status_code != 200:
            assert self.holdings() == before
        elif key is None and self.holdings() != before:
            self._took(session, [first, *fallback], answer)

    def _took(self, session: str, named: list[dict[str, str]], answer: Response) -> None:
        """A transfer that changed something: the session is where the answer says, which is one of those named."""
        told = answer.json()
        taken = {"queueId": told["queueId"]} if "queueId" in told else {"aId": told["agentId"]}
        shown = self.call("GET", f"/conversations/sessions/{session}").json()

        assert taken in named
        assert shown["version"] == int(answer.headers["etag"].strip('"'))
        assert self.holdings()[session][1] == (told.get("queueId") or told.get("agentId"))

    @rule(session=sessions, how=st.sampled_from(["release", "release", "close"]), expected=expectations)
    def move(self, session: str, how: str, expected: str | None) -> None:
        before = self.holdings().get(session)
        expected = self.holder(session) if expected == PRESENT else expected
        body = {"expectedAgentId": expected} if expected else None
        first = self.call("POST", f"/conversations/sessions/{session}/{how}", body)
        after = self.holdings()
        second = self.call("POST", f"/conversations/sessions/{session}/{how}", body)

        assert first.status_code in {200, 404, 409, 410}, first.text
        assert self.holdings() == after
        assert second.status_code == first.status_code
        if first.status_code == 200:
            assert after[session][:2] == ({"release": "bot", "close": "closed"}[how], None)
        else:
            assert after.get(session) == before

    @rule(name=st.sampled_from(list(AGENTS)), status=statuses, lasts=st.none() | st.just(60))
    def set_status(self, name: str, status: str, lasts: int | None) -> None:
        body = {"status": status} | ({"expiresInSeconds": lasts} if lasts else {})
        assert self.call("PUT", f"/agents/{name}/status", body).status_code in {200, 404}

    @rule(name=st.sampled_from(list(AGENTS)))
    def lapse(self, name: str) -> None:
        """What was said of the agent's presence has had its time."""
        if self.api.rows(tables.agents, agent_id=name):
            self.api.change(tables.agents, {"agent_id": name}, status_expires_at=1)

    @rule(name=st.sampled_from(list(AGENTS)))
    def delete_agent(self, name: str) -> None:
        held = [
            session for session, (state, holder, _) in self.holdings().items() if (state, holder) == ("agent", name)
        ]
        answer = self.call("DELETE", f"/agents/{name}")
        if held:
            assert (answer.status_code, answer.json()["code"]) == (409, "agent_holds_sessions")
            assert str(len(held)) in answer.json()["detail"]
        else:
            assert answer.status_code in {200, 404}

    @rule(name=st.sampled_from(list(AGENTS)))
    def bring_agent_back(self, name: str) -> None:
        self.create_agent(name, AGENTS[name])

    def holder(self, session: str) -> str | None:
        """The agent who has the session now."""
        state, holder, _ = self.holdings().get(session, ("", None, 0))
        return holder if state == "agent" else None

    def holdings(self) -> dict[str, tuple[str, str | None, int]]:
        """Who has each session, and its version."""
        return {
            row["session_id"]: (row["state"], row["holder_id"], row["version"])
            for row in self.api.rows(tables.sessions)
        }

    @invariant()
    def nobody_has_more_than_slots(self) -> None:
        for agent in self.api.rows(tables.agents):
            held = [one for one in self.holdings().values() if one[:2] == ("agent", agent["agent_id"])]

            assert agent["active_sessions"] == len(held) <= agent["max_sessions"]

    def teardown(self) -> None:
        audit = open_audit(self.api.settings)
        violations = audit.violations()
        audit.close()

        assert violations == []
        assert self._as_the_feed_tells() == {
            session: held for session, held in self.holdings().items() if session != sample.SESSION
        }

    def _as_the_feed_tells(self) -> dict[str, tuple[str, str | None, int]]:
        """Who has each session by the events alone, each of which is told once, in order, without a gap."""
        rows = self.api.rows(tables.events)
        assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
        told: dict[str, tuple[str, str | None, int]] = {}
        for row in rows:
            event = json.loads(row["body"])
            if row["kind"].startswith("session."):
                session = event["sessionId"]
                assert event["version"] == (told[session][2] + 1 if session in told else 0)
                told[session] = (event["state"], event.get("agentId") or event.get("queueId"), event["version"])
        return told


def test_any_order_of_calls_keeps_every_invariant(running: Api) -> None:
    few = settings(max_examples=15, stateful_step_count=25, deadline=None)

    class OverHttp(Lives):
        def __init__(self) -> None:
            super().__init__(running)

    run_state_machine_as_test(OverHttp, settings=few)
