"""Callers who write down what they asked and were told, and what the store keeps in the end."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import select

from handoff import Settings
from handoff.store.engine import open_reader, snapshot
from handoff.store.tables import agents, sessions, transfers
from rigs import sample
from rigs.calls import Answer, Call, Heard, Kept, Recorded, Told
from rigs.receiver import Receiver

# Long enough for a process to be back, short enough for the load to go on.
_PAUSE_S = 0.02


class Recorder:
    """Makes calls over HTTP and remembers them; for one event loop."""

    def __init__(self) -> None:
        self._told: dict[str, Told] = {}
        self._headers = sample.headers()

    @property
    def told(self) -> list[Told]:
        """Every call so far, in the order of their starts; one whose connection was refused was none."""
        return list(self._told.values())

    async def call(self, client: httpx.AsyncClient, call: Call) -> Told:
        """Make the call once."""
        headers = self._headers | {"X-Request-Id": call.request_id}
        if call.key is not None:
            headers |= {"Idempotency-Key": call.key}
        body = sample.body(call.callback_url, aId=call.agent, botSessionId=call.session, expectedAgentId=call.expected)
        told = self._told[call.request_id] = Told(call=call, started=time.monotonic())
        try:
            response = await client.post(sample.PATH, headers=headers, json=body)
        except httpx.ConnectError:
            del self._told[call.request_id]
            return told
        except httpx.TransportError:
            return told
        if response.status_code != 503:
            told = self._told[call.request_id] = replace(told, ended=time.monotonic(), answer=_answer(response))
        return told

    async def insist(self, clients: Sequence[httpx.AsyncClient], call: Call) -> Told:
        """Make the call, again after a pause and at the next of the clients for as long as its outcome is unknown."""
        tries = 0
        told = await self.call(clients[0], call)
        while told.answer is None:
            tries += 1
            await asyncio.sleep(_PAUSE_S)
            told = await self.call(clients[tries % len(clients)], replace(call, request_id=fresh_request_id()))
        return told


def fresh_request_id() -> str:
    """One that no other call has."""
    return f"r-{uuid4()}"


def _answer(response: httpx.Response) -> Answer:
    return Answer(
        status=response.status_code,
        code=response.json().get("code"),
        body=response.content,
        transfer_id=response.headers.get("x-transfer-id"),
    )


def kept(settings: Settings) -> Kept:
    """What the store keeps of the sample's account, as of one moment."""
    engine = open_reader(settings.database_url)
    with snapshot(engine) as connection:
        held = connection.execute(
            select(sessions.c.session_id, sessions.c.state, sessions.c.holder_id, sessions.c.version)
        )
        found = {row.session_id: (row.holder_id if row.state == "agent" else None, row.version) for row in held}
        loads = connection.execute(select(agents.c.agent_id, agents.c.active_sessions)).all()
        rows = connection.execute(select(transfers).order_by(transfers.c.transfer_id)).mappings().all()
    engine.dispose()
    return Kept(
        sessions=found,
        transfers=[_recorded(dict(row)) for row in rows],
        loads={row.agent_id: row.active_sessions for row in loads},
    )


def _recorded(row: dict[str, Any]) -> Recorded:
    return Recorded(
        transfer_id=row["transfer_id"],
        session=row["session_id"],
        agent=row["target_id"],
        request_id=row["request_id"],
        callback_url=row["callback_url"],
        status=row["status"],
        code=row["code"],
        version=row["version"],
        holder=json.loads(row["body"]).get("agentId") if row["code"] else None,
        body=row["body"].encode(),
    )


def heard(receivers: Sequence[Receiver]) -> list[Heard]:
    """Every callback that came to these, once for each time."""
    return [
        Heard(webhook_id=one.headers["webhook-id"], url=receiver.url(one.path), body=one.body)
        for receiver in receivers
        for one in receiver.received
    ]
