"""HTTP connections with limits: on the bytes and the seconds of a request, on slow readers, on their number.

uvicorn and httptools, which do the rest, have no such limits. A connection that breaks one is closed, after a
problem if a response can still be sent.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast
from uuid import UUID, uuid4

import httptools
import structlog
from fastapi import Request
from prometheus_client import Gauge
from starlette.types import Message, Scope
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from shared.platform.settings import HttpLimits
from shared.web.middleware import (
    HUNG_UP,
    LARGEST_BODY,
    REQUESTS,
    TOO_BUSY,
    Entrance,
    add_headers,
    id_of,
)
from shared.web.problem_handlers import problem_of_status
from shared.web.problems import Problem, correlation_id, response, wants_english

log = structlog.get_logger(__name__)

CONNECTIONS = Gauge(
    "http_connections", "Open connections of clients of the HTTP service", multiprocess_mode="livesum"
)

MOST_HEADERS = 100
MOST_PIPELINED = 20
"""Requests that one connection may send ahead, before it has the responses to the earlier ones."""

MOST_BODY_BYTES = 8 * LARGEST_BODY
"""Of one request, as sent: small chunks are longer than what they hold. The app itself has LARGEST_BODY."""

MOST_REFUSED = 100
"""Connections above the limit that get a response. The others are closed without one."""

LINGER_SECONDS = 2.0
MOST_IGNORED_BYTES = 1024 * 1024
"""A refused client may go on sending for so long: closed at once, it could lose the response."""

TOO_MANY = Problem(
    503,
    "too-many-connections",
    "Er zijn nu te veel verbindingen. Probeer het zo opnieuw.",
    "There are too many connections now. Try again in a moment.",
    headers={"Retry-After": "5"},
)


class HeadTooLarge(Exception):
    """The request has too many headers."""


class Flooded(Exception):
    """The connection has too many requests that wait for a response."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. It is always in one of these states, each with its own end:

    - it waits for its first request, or a head is incomplete: `head_seconds`, `max_head_bytes`;
    - a body is incomplete: `body_seconds`, MOST_BODY_BYTES;
    - the app works on a request: the app's own limits;
    - idle after a response: `idle_seconds`;
    - the client does not read what was sent: `send_seconds`;
    - refused: LINGER_SECONDS, MOST_IGNORED_BYTES.
    """

    cycle: RequestResponseCycle | None  # type: ignore[assignment] # None before the first request

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: HttpLimits,
        entrance: Entrance | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.timeout_keep_alive = limits.idle_seconds  # type: ignore[assignment] # fractions work as well
        self._limits = limits
        self._entrance = entrance
        self._in_head = True
        self._head_bytes = self._body_bytes = self._ignored_bytes = 0
        self._trailers: list[tuple[bytes, bytes]] = []
        self._is_refused = False
        self._deadline: asyncio.TimerHandle | None = None
        self._send_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        CONNECTIONS.set(len(self.connections))
        excess = len(self.connections) - self._limits.max_connections
        if excess > MOST_REFUSED:
            transport.abort()
        elif excess > 0:
            self._refuse(TOO_MANY)
        else:
            self._within(self._limits.head_seconds, self._is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._cancel_deadline()
        self._cancel_send_deadline()
        super().connection_lost(exc)
        CONNECTIONS.set(len(self.connections))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol. A head is read only up to its limit, whatever arrives with it."""
        self._unset_keepalive_if_required()
        while data and not self._is_refused:
            room = self._limits.max_head_bytes - (self._head_bytes if self._in_head else 0)
            piece, data = data[:room], data[room:]
            self._read(piece)
        if self._is_refused:
            self._ignore(len(data))
        elif not self._in_head:
            if self._deadline is None:
                self._within(self._limits.body_seconds, self._is_late)
        elif self.cycle is None or self.cycle.response_complete:
            self._await_head()

    def _read(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        else:
            self._body_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request is served: a server may ignore that another protocol is asked for
        except httptools.HttpParserError as error:
            self._refuse(problem_of_status(431 if isinstance(error.__context__, HeadTooLarge) else 400))
        if self._in_head and self._head_bytes >= self._limits.max_head_bytes:
            self._refuse(problem_of_status(431))
        elif self._body_bytes > MOST_BODY_BYTES or len(self._trailers) > MOST_HEADERS:
            self._refuse(problem_of_status(413))

    def on_headers_complete(self) -> None:
        """See httptools."""
        if len(self.headers) > MOST_HEADERS:
            raise HeadTooLarge
        if len(self.pipeline) >= MOST_PIPELINED:
            raise Flooded
        super().on_headers_complete()
        cast("dict[str, Any]", self.scope)["extensions"] = {HUNG_UP: self.transport.is_closing}
        self._in_head = False
        self._head_bytes = self._body_bytes = 0
        self.headers = self._trailers = []  # what comes after the body is not part of the request
        if self._deadline is not None:
            self._cancel_deadline()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """See uvicorn: it is the turn of this request."""
        if self._entrance is not None and self._entrance.refuses(cast("Scope", cycle.scope)):
            self.loop.call_soon(self._answer_busy, cycle)  # not within the call that made the request
        else:
            super()._start_asgi_task(cycle, app)

    def _answer_busy(self, cycle: RequestResponseCycle) -> None:
        if cycle.disconnected or self.transport.is_closing():
            return
        cycle.response_started = cycle.response_complete = True
        self.transport.write(_busy(Request(cast("Scope", cycle.scope))))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def on_message_complete(self) -> None:
        """See httptools."""
        self._in_head = True
        if self._deadline is not None:
            self._cancel_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """See uvicorn: the app has written the whole response."""
        super().on_response_complete()
        if self.transport.is_closing():
            if self.transport.get_write_buffer_size():
                self._send_within()
        elif self._in_head and self._head_bytes and self._is_quiet:
            self._await_head()

    @property
    def _is_quiet(self) -> bool:
        """Whether no request waits for its response."""
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        """Start the time limit of a head that has begun; without one the connection is idle."""
        if self._head_bytes:
            if self._deadline is None:
                self._within(self._limits.head_seconds, self._is_late)
        elif self.cycle is not None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _is_late(self) -> None:
        if self._in_head and not self._head_bytes:
            self.transport.abort()  # nothing was asked
        else:
            self._refuse(problem_of_status(408))

    def timeout_keep_alive_handler(self) -> None:
        """See uvicorn. What the client did not read in all this time is dropped."""
        self.transport.abort()

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the client reads more slowly than the app writes."""
        super().pause_writing()
        self._send_within()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        self._cancel_send_deadline()

    def _refuse(self, problem: Problem) -> None:
        """Close, after a problem if it cannot be taken for the response to another request."""
        if self._is_refused:
            return
        self._is_refused = True
        REQUESTS.labels("other", "unknown", problem.status).inc()
        self._unset_keepalive_if_required()
        if self.transport.is_closing() or not self._may_respond:
            self.transport.abort()
            return
        if self.cycle is not None:
            self.cycle.disconnected = True  # the app writes nothing more
            self.cycle.message_event.set()
        request = _request_of(self.scope)
        log.info("request.refused", status=problem.status, correlation_id=str(correlation_id(request)))
        self.transport.write(_bytes_of(problem, request, (b"connection", b"close")))
        self.transport.write_eof()
        self._within(LINGER_SECONDS, self.transport.abort)

    @property
    def _may_respond(self) -> bool:
        if self._in_head:
            return self._is_quiet
        return self.cycle is not None and not self.cycle.response_started and not self.pipeline

    def _ignore(self, size: int) -> None:
        self._ignored_bytes += size
        if self._ignored_bytes > MOST_IGNORED_BYTES:
            self.transport.abort()

    def _within(self, seconds: float, at_the_end: Callable[[], None]) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(seconds, at_the_end)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _send_within(self) -> None:
        self._cancel_send_deadline()
        self._send_deadline = self.loop.call_later(self._limits.send_seconds, self.transport.abort)

    def _cancel_send_deadline(self) -> None:
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None


def _request_of(scope: Mapping[str, Any] | None) -> Request:
    """Return what is known of the request: its headers and its correlation id, or a new one."""
    state = {"correlation_id": uuid4(), **(scope["state"] if scope else {})}
    return Request({"type": "http", "headers": scope["headers"] if scope else [], "state": state})


def _bytes_of(problem: Problem, request: Request, *closing: tuple[bytes, bytes]) -> bytes:
    """Return the whole HTTP response, in the language and with the correlation id of the request."""
    reply = response(problem, request)
    message: Message = {"status": problem.status, "headers": [*reply.raw_headers, *closing]}
    add_headers(message, request.scope)
    lines = b"".join(b"%s: %s\r\n" % header for header in message["headers"])
    return STATUS_LINE[problem.status] + lines + b"\r\n" + bytes(reply.body)


def _busy(request: Request) -> bytes:
    """Return the whole HTTP response TOO_BUSY; it is made once for each language, but for the id."""
    head, body = _busy_in("en" if wants_english(request) else "nl")
    whole = head if request.method == "HEAD" else head + body
    return whole.replace(_NO_ID, str(id_of(request.scope)).encode("ascii"))


_NO_ID = str(UUID(int=0)).encode("ascii")


@cache
def _busy_in(language: str) -> tuple[bytes, bytes]:
    headers, state = [(b"accept-language", language.encode("ascii"))], {"correlation_id": UUID(int=0)}
    whole = _bytes_of(TOO_BUSY, Request({"type": "http", "headers": headers, "state": state}))
    head, end, body = whole.partition(b"\r\n\r\n")
    return head + end, body
