"""The HTTP app of a service: problems, sign-in, liveness, readiness and metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.platform.settings import HttpLimits
from shared.web.middleware import BodyLimit, RequestContext
from shared.web.problem_handlers import install
from shared.web.problems import ProblemTypes
from shared.web.security import TokenVerifier

Check = Callable[[], Awaitable[object]]
"""Raises when the dependency that it checks cannot be used."""
CHECK_SECONDS = 2.0
"""Time limit of one check."""


def make_app(
    *,
    title: str,
    description: str,
    problem_types: ProblemTypes,
    verifier: TokenVerifier,
    checks: Mapping[str, Check],
    metrics_updates: Sequence[Check] = (),
    body_seconds: float = HttpLimits.body_seconds,
) -> FastAPI:
    """Return an app with problems, sign-in, health and metrics; the service adds its own routers.

    Each request of `/metrics` first calls `metrics_updates`. They set gauges from the database, because
    other processes change what the gauges count.
    """
    app = FastAPI(title=title, description=description, version="1", docs_url=None, redoc_url=None)
    app.state.token_verifier = verifier
    install(app, problem_types)
    app.include_router(_operations(checks, metrics_updates))
    app.add_api_route("/docs", _docs(title), include_in_schema=False)
    app.add_middleware(BodyLimit, seconds=body_seconds)
    app.add_middleware(RequestContext)
    return app


def _operations(checks: Mapping[str, Check], metrics_updates: Sequence[Check]) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @router.get("/health/ready")
    async def ready() -> JSONResponse:
        states = await readiness(checks)
        is_ready = all(state == "ok" for state in states.values())
        body = {"status": "ready" if is_ready else "not-ready", "checks": states}
        return JSONResponse(body, 200 if is_ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        # A failed update leaves its gauge as it was: without the database, all other metrics are still shown.
        await asyncio.gather(*(_state(update) for update in metrics_updates))
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


async def readiness(checks: Mapping[str, Check]) -> dict[str, str]:
    """Run all checks at the same time; return `ok` or the class of the error, by the name of the check."""
    states = await asyncio.gather(*(_state(check) for check in checks.values()))
    return dict(zip(checks, states, strict=True))


async def _state(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:
        return type(error).__name__
    return "ok"


def _docs(title: str) -> Callable[[], Awaitable[HTMLResponse]]:
    from fastapi.openapi.docs import get_swagger_ui_html  # noqa: PLC0415

    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(openapi_url="/openapi.json", title=title)
        page.headers["Content-Security-Policy"] = _DOCS_POLICY
        return page

    return docs


# The documentation page loads Swagger UI from a public server and starts it with an inline script.
_DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; "
    "img-src 'self' data: https://fastapi.tiangolo.com; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' https://cdn.jsdelivr.net"
)
