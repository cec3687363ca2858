"""Around every request: body limit, correlation id, security headers, one log line, one measurement."""

import time
import traceback
from uuid import UUID, uuid4

import structlog
from fastapi import Request
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.web.problems import Problem, response

LARGEST_BODY = 256 * 1024  # bytes


class BodyLimit:
    """A layer of the HTTP app: 413 for a larger body, whether or not its length was told beforehand."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = Headers(scope=scope).get("content-length", "")
        too_large = told.isdigit() and int(told) > LARGEST_BODY
        received = 0

        async def receiving() -> Message:
            nonlocal received
            if too_large:
                raise HTTPException(413)
            message = await receive()
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                raise HTTPException(413)
            return message

        await self._app(scope, receiving, send)


log = structlog.get_logger(__name__)

REQUESTS = Counter("http_requests_total", "Requests answered", ["method", "route", "status"])
SECONDS = Histogram("http_request_seconds", "Time from request to answer", ["method", "route"])

CORRELATION_HEADER = "X-Correlation-ID"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})


class RequestContext:
    """The outermost layer of a service's HTTP app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is not HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation_id = _correlation_id(scope)
        scope.setdefault("state", {})["correlation_id"] = correlation_id
        with structlog.contextvars.bound_contextvars(correlation_id=str(correlation_id)):
            await _serve(self._app, scope, receive, send)


async def _serve(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    began = time.perf_counter()
    status = 0

    async def sending(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            _add_headers(message, scope)
        await send(message)

    try:
        await app(scope, receive, sending)
    except Exception as error:
        log_unexpected(error)
        if status:
            raise  # half an answer is out: the server must break the connection, not end it neatly
        request = Request(scope)
        await response(internal_error(), request)(scope, receive, sending)
    finally:
        _record(scope, status, time.perf_counter() - began)


def internal_error() -> Problem:
    """What nobody expected, as it is told: how it came about stands in the log."""
    return Problem(
        500,
        "internal-error",
        "Er ging iets mis. Het is vastgelegd; noem bij een melding het kenmerk.",
        "Something went wrong. It was recorded; quote the instance when you report it.",
    )


def _correlation_id(scope: Scope) -> UUID:
    """The caller's own id when it is a UUID (anything else could smuggle text into the log), or a new one."""
    try:
        return UUID(Headers(scope=scope).get(CORRELATION_HEADER, ""))
    except ValueError:
        return uuid4()


def _add_headers(message: Message, scope: Scope) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers[CORRELATION_HEADER] = str(scope["state"]["correlation_id"])


def log_unexpected(error: Exception) -> None:
    """Where it happened, not what the exception says: its text may repeat what a person typed."""
    frames = [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    log.error("unexpected_error", error=type(error).__qualname__, frames=frames[-12:])


def _record(scope: Scope, status: int, seconds: float) -> None:
    """By the route's template: a real path may hold a card number."""
    route = getattr(scope.get("route"), "path", "unknown")
    method = scope["method"] if scope["method"] in _METHODS else "other"
    REQUESTS.labels(method, route, status).inc()
    SECONDS.labels(method, route).observe(seconds)
    if route not in _QUIET:
        log.info("request", method=method, route=route, status=status, milliseconds=round(seconds * 1000, 1))


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
