"""What operators need of every service: liveness, readiness by real checks, metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.web.middleware import BodyLimit, RequestContext
from shared.web.problem_handlers import install
from shared.web.problems import ProblemTypes
from shared.web.security import TokenVerifier

Check = Callable[[], Awaitable[object]]  # raises when its dependency cannot be used
CHECK_SECONDS = 2.0


def make_app(
    *,
    title: str,
    description: str,
    problem_types: ProblemTypes,
    verifier: TokenVerifier,
    checks: Mapping[str, Check],
    metrics_updates: Sequence[Check] = (),
) -> FastAPI:
    """An app with problems, sign-in, health and metrics in place; the service adds its own routers.

    `measures` bring gauges up to date before they are shown: what the database knows, whoever changed it.
    """
    app = FastAPI(title=title, description=description, version="1", docs_url=None, redoc_url=None)
    app.state.token_verifier = verifier
    install(app, problem_types)
    app.include_router(_operations(checks, metrics_updates))
    app.add_api_route("/docs", _docs(title), include_in_schema=False)
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestContext)
    return app


def _operations(checks: Mapping[str, Check], metrics_updates: Sequence[Check]) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @router.get("/health/ready")
    async def ready() -> JSONResponse:
        found = await readiness(checks)
        good = all(state == "ok" for state in found.values())
        return JSONResponse(
            {"status": "ready" if good else "not-ready", "checks": found}, 200 if good else 503
        )

    @router.get("/metrics")
    async def metrics() -> Response:
        # One that fails keeps its old figure: a database that is away must not hide all others.
        await asyncio.gather(*(_state(measure) for measure in metrics_updates))
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


async def readiness(checks: Mapping[str, Check]) -> dict[str, str]:
    """Every dependency asked at the same moment: `ok`, or the kind of error that came back."""
    states = await asyncio.gather(*(_state(check) for check in checks.values()))
    return dict(zip(checks, states, strict=True))


async def _state(check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception as error:  # whatever it is, it is the answer
        return type(error).__name__
    return "ok"


def _docs(title: str) -> Callable[[], Awaitable[HTMLResponse]]:
    from fastapi.openapi.docs import get_swagger_ui_html  # noqa: PLC0415

    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(openapi_url="/openapi.json", title=title)
        page.headers["Content-Security-Policy"] = _DOCS_POLICY
        return page

    return docs


# The documentation page loads its viewer from a public address and starts it with an inline script.
_DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; "
    "img-src 'self' data: https://fastapi.tiangolo.com; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' https://cdn.jsdelivr.net"
)
