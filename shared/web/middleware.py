"""Middleware for every request: body limit, correlation id, security headers, one log line, metrics."""

import asyncio
import hashlib
import time
import traceback
from collections.abc import Sequence
from uuid import UUID, uuid4

import structlog
from fastapi import Request
from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.platform.admission import Door, TooBusy
from shared.web.problem_handlers import problem_of_unexpected
from shared.web.problems import Problem, response, wants_english

log = structlog.get_logger(__name__)

REQUESTS = Counter("http_requests_total", "HTTP requests by status", ["method", "route", "status"])
REFUSED = Counter("http_requests_refused_busy_total", "HTTP requests refused because all places are taken")
SECONDS = Histogram("http_request_seconds", "Seconds from request to response", ["method", "route"])

LARGEST_BODY = 256 * 1024  # bytes
CORRELATION_HEADER = "X-Correlation-ID"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
TOO_BUSY = Problem(
    503,
    "overloaded",
    "Het is nu te druk. Er is niets opgeslagen; probeer het zo opnieuw.",
    "There is too much to do now, and nothing was begun: try again in a moment.",
    headers={"Retry-After": "1"},
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NOT_LOGGED = frozenset({"/health/live", "/health/ready", "/metrics"})


class BodyLimit:
    """Refuses a body over LARGEST_BODY with 413, with or without the header `Content-Length`.

    With 415 a multipart form that names a charset: it would be read in any codec of Python, and some of them
    need seconds for a body of this size. Without one it is UTF-8 (RFC 7578, section 4.6).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused, received = _refused_status(Headers(scope=scope)), 0

        async def receiving() -> Message:
            nonlocal received
            if refused is not None:
                raise HTTPException(refused)
            message = await receive()
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                raise HTTPException(413)
            return message

        await self._app(scope, receiving, send)


def _refused_status(headers: Headers) -> int | None:
    """Return the status for a body that is refused before it is read."""
    length, kind = headers.get("content-length", ""), headers.get("content-type", "").lower()
    # More than nine digits are too many anyway, and Python does not read a number of some thousands.
    if length.isdecimal() and (len(length) > 9 or int(length) > LARGEST_BODY):
        return 413
    return 415 if "multipart" in kind and "charset" in kind else None


MOST_CALLERS = 4096
"""Tokens and sessions whose caller is remembered: beyond that those that were learned first are forgotten."""


class Callers:
    """Who sends a request: the person or program whose token or session it has, once that was proven.

    Before, and without one, it is the address that connects. So nobody gets more turns by inventing tokens.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}

    def of(self, scope: Scope) -> str:
        """Return the name under which this request waits for its turn."""
        found = (self._known.get(proof) for proof in _proofs(Headers(scope=scope)))
        address = scope.get("client") or ("",)
        return next((f"caller {caller}" for caller in found if caller), f"address {address[0]}")

    def note(self, scope: Scope, answer: Message) -> None:
        """Remember who it was, by what the request had and by the session cookie that the answer renews."""
        if (caller := scope.get("state", {}).get("caller")) is None:
            return
        for proof in (*_proofs(Headers(scope=scope)), *_renewed(Headers(raw=answer["headers"]))):
            if proof not in self._known and len(self._known) >= MOST_CALLERS:
                del self._known[next(iter(self._known))]
            self._known[proof] = caller


def _proofs(headers: Headers) -> Sequence[bytes]:
    """Return what may prove who it is, hashed: memory must not hold tokens."""
    token, cookies = headers.get("authorization"), headers.get("cookie", "").split(";")
    return [_hashed(text) for text in ([token] if token else map(str.strip, cookies)) if text]


def _renewed(headers: Headers) -> Sequence[bytes]:
    return [_hashed(cookie.partition(";")[0]) for cookie in headers.getlist("set-cookie")]


def _hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()


class Entrance:
    """The door of a process, at which requests wait under the names of their callers."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.callers = Callers()
        self._refused = 0

    def refuses(self, scope: Scope) -> bool:
        """Return whether a request is refused before an app hears of it: in a flood that must cost little.

        Not that of a browser, which gets a page.
        """
        path, accept = scope["path"], Headers(scope=scope).get("accept", "")
        if path in _NOT_LOGGED or "text/html" in accept or not self.door.refuses(self.callers.of(scope)):
            return False
        REFUSED.inc()
        REQUESTS.labels(_method(scope), "unknown", TOO_BUSY.status).inc()
        if not self._refused:
            asyncio.get_running_loop().call_later(1.0, self._log)
        self._refused += 1
        return True

    def _log(self) -> None:
        """Log once a second how many were refused: a line for each would fill the disk in a flood."""
        log.warning("requests.refused", number=self._refused)
        self._refused = 0


class Admission:
    """Lets as many requests work as the process bears (`Door`); the others get 503 before anything is begun.

    Health and metrics are always answered. A response that has begun needs no place any more, so a stream
    holds none. A client that hung up while it waited is not worked for.
    """

    def __init__(self, app: ASGIApp, entrance: Entrance) -> None:
        self._app = app
        self._door = entrance.door
        self._callers = entrance.callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http" or scope["path"] in _NOT_LOGGED:
            await self._app(scope, receive, send)
            return
        try:
            place = await self._door.enter(self._callers.of(scope))
        except TooBusy:
            REFUSED.inc()
            await _refusal(Request(scope))(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            self._door.leave(place)
            if message["type"] == "http.response.start":
                self._callers.note(scope, message)
            await send(message)

        try:
            if not _has_hung_up(scope):
                await self._app(scope, receive, sending)
        finally:
            self._door.leave(place)


HUNG_UP = "nl.landelijklenen.hung_up"
"""The extension of a request that says whether its connection is closed: `BoundedProtocol` has it."""


def _has_hung_up(scope: Scope) -> bool:
    hung_up = scope.get("extensions", {}).get(HUNG_UP)
    return hung_up is not None and hung_up()


def _refusal(request: Request) -> Response:
    """Return the answer of a service that is too busy: a problem, or a page for a browser."""
    problem = TOO_BUSY
    if "text/html" not in request.headers.get("accept", ""):
        return response(problem, request)
    language = "en" if wants_english(request) else "nl"
    sentence, back = (
        (problem.detail_en, "Go back in your browser: what you typed is still there.")
        if language == "en"
        else (problem.detail_nl, "Ga terug in de browser: wat u typte, staat er nog.")
    )
    page = (
        f'<!DOCTYPE html><html lang="{language}"><title>Landelijk Lenen</title>'
        f"<main><h1>{sentence}</h1><p>{back}</p></main></html>"
    )
    return HTMLResponse(page, problem.status, problem.headers)


class RequestContext:
    """The outermost middleware: correlation id, response headers, log line, metrics, unexpected errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI). Other protocols go to the app unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        correlation_id = id_of(scope)
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
            add_headers(message, scope)
        await send(message)

    try:
        await app(scope, receive, sending)
    except ClientDisconnect:
        pass  # nobody is there to hear of it
    except Exception as error:
        log_unexpected(error)
        if status:
            raise  # a part is sent already: a broken connection shows the client that the rest is missing
        request = Request(scope)
        await response(problem_of_unexpected(error), request)(scope, receive, sending)
    finally:
        _record(scope, status, time.perf_counter() - began)


def id_of(scope: Scope) -> UUID:
    """Return the caller's id if it is a UUID, else a new one: other text must not get into the log."""
    try:
        return UUID(Headers(scope=scope).get(CORRELATION_HEADER, ""))
    except ValueError:
        return uuid4()


def add_headers(message: Message, scope: Scope) -> None:
    """Add the headers of every response to this one: security and the correlation id.

    FastAPI gives a 204 the type of what it does not have: clients would read nothing as JSON, and fail.
    """
    headers = MutableHeaders(scope=message)
    if message["status"] == 204:
        del headers["content-type"]
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers[CORRELATION_HEADER] = str(scope["state"]["correlation_id"])


def log_unexpected(error: Exception) -> None:
    """Log the class of an error and where it happened. Its text may hold personal data and is left out."""
    frames = [
        f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    log.error("request.failed", error=type(error).__qualname__, frames=frames[-12:])


def _record(scope: Scope, status: int, seconds: float) -> None:
    # The template of the route, such as `/v1/feed/guests/{guest_id}`: the real path may hold a card number.
    route = getattr(scope.get("route"), "path", "unknown")
    method = _method(scope)
    REQUESTS.labels(method, route, status).inc()
    SECONDS.labels(method, route).observe(seconds)
    if route not in _NOT_LOGGED:
        milliseconds = round(seconds * 1000, 1)
        log.info("request.served", method=method, route=route, status=status, milliseconds=milliseconds)


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "other"
