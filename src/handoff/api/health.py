"""Whether the process lives, and whether it can do its work."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from handoff.api.services import services_of

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Whether the process answers")
async def livez() -> dict[str, str]:
    """200 as long as the event loop turns."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Whether the service can assign",
    responses={503: {"description": "Some part is not well; `checks` names it."}},
)
async def readyz(request: Request) -> Response:
    """200 when the store answers at the right revision and the committer and the dispatcher are alive."""
    checks = await services_of(request).check_ready()
    is_ready = not any(checks.values())
    return JSONResponse(
        {
            "status": "ready" if is_ready else "not ready",
            "checks": {name: problem or "ok" for name, problem in checks.items()},
        },
        status_code=200 if is_ready else 503,
    )
