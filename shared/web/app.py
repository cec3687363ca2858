"""The HTTP app of a service: problems, sign-in, liveness, readiness and metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.util.types import Attributes
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry
from starlette.staticfiles import StaticFiles

from shared import messaging
from shared.platform import limits
from shared.platform.admission import Door
from shared.web.figures import exposition
from shared.web.middleware import Admission, BodyLimit, Entrance, RequestContext
from shared.web.openapi import OPERATORS_PATH, DescribedApp
from shared.web.problem_handlers import install
from shared.web.problems import ProblemTypes
from shared.web.security import STALE_KEYS, TokenVerifier, requires

Check = Callable[[], Awaitable[object]]
"""Raises when the dependency that it checks cannot be used. A text that it returns is a warning."""


@dataclass(frozen=True, slots=True)
class Operations:
    """What a process reports of itself at `/health/ready` and `/metrics`.

    A failed check makes it not ready. A failed check of `warnings` is only shown.
    `registries` hold the figures of this process, or of all that share its address. Each request of
    `/metrics` first calls `updates`. They set gauges from the database, because other processes change what
    the gauges count.
    """

    checks: Mapping[str, Check]
    warnings: Mapping[str, Check] = field(default_factory=dict)
    updates: Sequence[Check] = ()
    registries: Sequence[CollectorRegistry] = (REGISTRY,)


def make_app(
    *,
    title: str,
    description: str,
    problem_types: ProblemTypes,
    verifier: TokenVerifier,
    operations: Operations,
    telemetry: bool = False,
    contact: str | None = None,
) -> DescribedApp:
    """Return an app with problems, sign-in, health and metrics; the service adds its own routers.

    `telemetry`: give OpenTelemetry the routes of requests. `contact`: of the operators, for callers.
    """
    app = DescribedApp(
        contact=contact,
        title=title,
        description=description,
        version="1",
        docs_url=None,
        redoc_url=None,
        telemetry=_telemetry(on=telemetry),
    )
    _set_up(app, problem_types, verifier, operations)
    _add_docs(app)
    return app


def _telemetry(*, on: bool) -> TelemetryConfig:
    """Return FastAPI's settings: off, or spans and metrics that know a request by its route alone.

    By itself FastAPI exports paths and queries, which hold card numbers and names, as soon as the process has
    an exporter; its logs hold the text of exceptions.
    """
    config: TelemetryConfig = {
        "tracing": on,
        "metrics": on,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
    }
    return config | {"tracer_provider": _RoutesOnly()} if on else config


_EXPORTED = frozenset(
    {
        "error.type",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "network.protocol.version",
        "url.scheme",
    }
)


class _RoutesOnly(trace.TracerProvider):
    """The provider of this process, for spans that hold nothing of a request but its route."""

    def get_tracer(self, *names: Any, **more: Any) -> trace.Tracer:
        """See TracerProvider."""
        return _RouteTracer(trace.get_tracer_provider().get_tracer(*names, **more))


class _RouteTracer(trace.Tracer):
    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
        attributes: Attributes = None,
        *more: Any,
        **named: Any,
    ) -> trace.Span:
        """See Tracer. Of the caller only the ids count: what else it sends along is free text."""
        caller = trace.get_current_span(context).get_span_context()
        ids = trace.SpanContext(caller.trace_id, caller.span_id, caller.is_remote, caller.trace_flags)
        parent = trace.set_span_in_context(trace.NonRecordingSpan(ids), Context())
        kept = {name: value for name, value in (attributes or {}).items() if name in _EXPORTED}
        return self._tracer.start_span(name, parent, kind, kept, *more, **named)

    def start_as_current_span(self, *more: Any, **named: Any) -> Any:
        """See Tracer."""
        return trace.use_span(self.start_span(*more, **named), end_on_exit=True)


def worker_app(verifier: TokenVerifier, operations: Operations) -> FastAPI:
    """Return the app of a worker: health and metrics, and nothing else."""
    app = FastAPI(openapi_url=None, telemetry=_telemetry(on=False))
    _set_up(app, {}, verifier, operations)
    return app


def _set_up(
    app: FastAPI, problem_types: ProblemTypes, verifier: TokenVerifier, operations: Operations
) -> None:
    app.state.token_verifier = verifier
    install(app, problem_types)
    app.state.watched = operations
    app.state.entrance = Entrance(Door())
    app.include_router(_router)
    app.add_middleware(BodyLimit)
    app.add_middleware(Admission, entrance=app.state.entrance)
    app.add_middleware(RequestContext)


async def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.watched
    return operations


OperationsDep = Annotated[Operations, Depends(_operations)]
_router = APIRouter(include_in_schema=False)


@_router.get("/health/live")
async def live() -> dict[str, str]:
    """Return that this process responds."""
    return {"status": "live"}


@_router.get("/health/ready")
async def ready(operations: OperationsDep) -> JSONResponse:
    """Return the states of all checks, with 503 unless all pass."""
    states, warned = await asyncio.gather(readiness(operations.checks), readiness(operations.warnings))
    is_ready = all(state in {"ok", STALE_KEYS} for state in states.values())
    body = {"status": "ready" if is_ready else "not-ready", "checks": states, "warnings": warned}
    return JSONResponse(body) if is_ready else JSONResponse(body, 503, {"Retry-After": "2"})


@_router.get("/metrics", dependencies=[Depends(requires("metrics"))])
async def metrics(operations: OperationsDep) -> Response:
    """Return the figures of this process, or of all that share its address, for Prometheus."""
    # A failed update leaves its gauge as it was: without the database, all other metrics are still shown.
    await asyncio.gather(*(_state(update) for update in operations.updates))
    return Response(exposition(operations.registries), media_type=CONTENT_TYPE_LATEST)


async def readiness(checks: Mapping[str, Check]) -> dict[str, str]:
    """Run all checks at the same time; return `ok` or the class of the error, by the name of the check."""
    states = await asyncio.gather(*(_state(check) for check in checks.values()))
    return dict(zip(checks, states, strict=True))


async def _state(check: Check) -> str:
    try:
        async with asyncio.timeout(limits.CHECK):
            warning = await check()
    except Exception as error:
        return type(error).__name__
    return warning if warning == STALE_KEYS else "ok"


def _add_docs(app: DescribedApp) -> None:
    """Add the descriptions and their pages: Swagger UI from the package fastapi-offline, and our script."""

    async def docs() -> HTMLResponse:
        return page_of("")

    async def operators_docs() -> HTMLResponse:
        return page_of(", for operators")

    def page_of(audience: str) -> HTMLResponse:
        page = _DOCS_PAGE.format(title=app.title + audience)
        return HTMLResponse(page, headers={"Content-Security-Policy": _DOCS_POLICY})

    async def operators_openapi() -> JSONResponse:
        return JSONResponse(app.documents().operators)

    async def asyncapi() -> Response:
        return Response(ASYNCAPI.read_bytes(), media_type="application/yaml")

    app.add_api_route("/docs", docs, include_in_schema=False)
    app.add_api_route("/docs/operations", operators_docs, include_in_schema=False)
    app.add_api_route(OPERATORS_PATH, operators_openapi, include_in_schema=False)
    app.add_api_route("/asyncapi.yaml", asyncapi, include_in_schema=False)
    files = StaticFiles(directory=_DOCS_FILES, packages=[("fastapi_offline", "static")])
    app.mount("/docs/files", files)


ASYNCAPI = Path(messaging.__file__).parent / "asyncapi.yaml"
"""The description of the messages of both services."""
_DOCS_FILES = Path(__file__).parent / "docs_page"
_DOCS_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="/docs/files/favicon.png">
<link rel="stylesheet" href="/docs/files/swagger-ui.css">
<script src="/docs/files/swagger-ui-bundle.js" defer></script>
<script src="/docs/files/start.js" defer></script>
</head>
<body>
<nav><a href="/docs">API</a> · <a href="/docs/operations">API for operators</a> ·
<a href="/openapi.json">openapi.json</a> · <a href="/openapi.operations.json">openapi.operations.json</a> ·
<a href="/asyncapi.yaml">asyncapi.yaml</a></nav>
<main id="swagger-ui"></main>
</body>
</html>
"""
# Swagger UI's style sheet holds its icons as `data:`.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
