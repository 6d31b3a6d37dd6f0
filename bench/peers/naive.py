"""The same call as a good tutorial would have it: SQLAlchemy's async ORM, one transaction for each request.

`python -m bench.peers.naive PORT CALLBACKS` serves it over the PostgreSQL database of HANDOFF_DATABASE_URL, and makes
its tables there. CALLBACKS is `none`, `shared` (one httpx client for all, in BackgroundTasks) or `each` (a client for
each). It locks the rows that it changes, so it is right as long as nothing fails; it has no replay, no record of
refusals and no outbox.
"""

import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import httpx
import jwt
import uvicorn
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request
from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from handoff.api.responses import BASE_PATH
from handoff.api.schemas import AssignedToAgent, AssignToAgent
from rigs.sample import SECRET

Callbacks = Literal["none", "shared", "each"]

# As many as a server of 100 connections gives one process, and more than one core can keep busy.
_POOL_SIZE = 20
# Where making a client keeps the loop for so long that uvicorn's five seconds run out, it closes connections that have
# just been written to.
_KEEP_ALIVE_S = 120
# Under load httpx's own five seconds run out before its turn comes, and the callback would be lost.
_TIMEOUT_S = 120


class Base(DeclarativeBase):
    """The tables."""


class Agent(Base):
    """An agent and its load."""

    __tablename__ = "peer_agents"

    id: Mapped[str] = mapped_column(primary_key=True)
    org_id: Mapped[str]
    status: Mapped[str]
    max_sessions: Mapped[int]
    active_sessions: Mapped[int]


class BotSession(Base):
    """A session and who has it."""

    __tablename__ = "peer_sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    stream_id: Mapped[str]
    org_id: Mapped[str]
    agent_id: Mapped[str | None] = mapped_column(ForeignKey("peer_agents.id"))


class Transfer(Base):
    """One assignment."""

    __tablename__ = "peer_transfers"

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("peer_sessions.id"))
    agent_id: Mapped[str] = mapped_column(ForeignKey("peer_agents.id"))
    callback_url: Mapped[str]
    completed_at: Mapped[float]


async def get_db(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.sessions() as db:
        yield db


async def get_app_id(auth: Annotated[str, Header()]) -> str:
    try:
        claims: dict[str, Any] = jwt.decode(auth, SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise HTTPException(401, "Invalid token") from None
    return str(claims["appId"])


async def assign_to_agent(db: AsyncSession, stream_id: str, call: AssignToAgent) -> AssignedToAgent:
    """Lock the session and the agent, check them, change them and record it."""
    session = await db.scalar(select(BotSession).where(BotSession.id == call.session_id).with_for_update())
    if session is None or session.stream_id != stream_id or session.org_id != call.org_id:
        raise HTTPException(404, "Session not found")
    if session.agent_id is not None:
        raise HTTPException(409, "Session already assigned")
    agent = await db.scalar(select(Agent).where(Agent.id == call.agent_id).with_for_update())
    if agent is None or agent.org_id != call.org_id:
        raise HTTPException(404, "Agent not found")
    if agent.status != "AVAILABLE" or agent.active_sessions >= agent.max_sessions:
        raise HTTPException(409, "Agent not available")
    now = time.time()  # noqa: TID251 (no clock of the service's)
    session.agent_id = agent.id
    agent.active_sessions += 1
    db.add(Transfer(session_id=session.id, agent_id=agent.id, callback_url=call.callback_url, completed_at=now))
    await db.commit()
    return AssignedToAgent(
        sessionId=call.session_id, agentId=call.agent_id, status="transferred", requestCompletedAt=int(now * 1_000)
    )


async def post_callback(client: httpx.AsyncClient, url: str, message: dict[str, Any]) -> None:
    await client.post(url, json=message)


async def post_callback_alone(url: str, message: dict[str, Any]) -> None:
    async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
        await client.post(url, json=message)


def build_app(database_url: str, callbacks: Callbacks) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
        engine = create_async_engine(url, pool_size=_POOL_SIZE)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            app.state.client = client
            yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    @app.post(f"{BASE_PATH}/assign-conversation")
    async def assign(
        streamId: str,  # noqa: N803 (the path's own name)
        call: AssignToAgent,
        db: Annotated[AsyncSession, Depends(get_db)],
        _app_id: Annotated[str, Depends(get_app_id)],
        background: BackgroundTasks,
    ) -> AssignedToAgent:
        answer = await assign_to_agent(db, streamId, call)
        message = answer.model_dump(by_alias=True)
        if callbacks == "shared":
            background.add_task(post_callback, app.state.client, call.callback_url, message)
        elif callbacks == "each":
            background.add_task(post_callback_alone, call.callback_url, message)
        return answer

    @app.get("/readyz")
    async def ready() -> None:
        return

    return app


def main(port: int, callbacks: Callbacks) -> None:
    app = build_app(os.environ["HANDOFF_DATABASE_URL"], callbacks)
    uvicorn.run(
        app,
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=_KEEP_ALIVE_S,
    )


if __name__ == "__main__":
    word = sys.argv[2]
    assert word in {"none", "shared", "each"}
    main(int(sys.argv[1]), word)  # type: ignore[arg-type] # one of the three
