"""The most that the framework allows: the same route, body model and server, and nothing behind them.

`python -m bench.ceiling PORT` serves it: FastAPI on uvicorn with uvloop and httptools, no token, no store, no log line.
"""

import sys
import time

import uvicorn
from fastapi import FastAPI

from handoff.api.responses import BASE_PATH
from handoff.api.schemas import AssignedToAgent, AssignToAgent


def build_app() -> FastAPI:
    app = FastAPI()

    @app.post(f"{BASE_PATH}/assign-conversation")
    async def assign(streamId: str, call: AssignToAgent) -> AssignedToAgent:  # noqa: N803 (the path's own name)
        del streamId
        return AssignedToAgent(
            sessionId=call.session_id,
            agentId=call.agent_id,
            status="transferred",
            requestCompletedAt=time.time_ns() // 1_000_000,  # noqa: TID251 (no clock of the service's)
        )

    @app.get("/readyz")
    async def ready() -> None:
        return

    return app


if __name__ == "__main__":
    uvicorn.run(
        build_app(), port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
