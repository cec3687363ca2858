"""One request to a home library over HTTP: what went wrong has the same names as over TCP (ADR 0016)."""

import asyncio
import ssl
from collections.abc import Iterator, Mapping

import httpx2

from registration.adapters.home_library.errors import (
    CannotConnect,
    CertificateNotTrusted,
    ClosedWithoutAnswer,
    GarbledReply,
    LoginRefused,
    NoAnswer,
    NotServed,
    Redirected,
    ServerFailed,
    TimedOut,
    TlsFailed,
)
from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.wire import Tap
from shared.platform import limits
from shared.platform.http_client import HttpClient, up_to

_REDIRECTS = range(300, 400)
_NOT_LET_IN = frozenset({401, 403, 407})
_BUSY = frozenset({408, 425, 429})
_FAILED = range(500, 600)
_WITHOUT_A_REPLY = ("Server disconnected", "peer closed connection")
"""How the messages of the HTTP library begin when a connection ended too early."""


class HttpLine:
    """Sends requests to one library. `http` has the time-outs and the authority of that library.

    A request takes at most `answer_seconds` as a whole, connecting at most `connect_seconds` of it.
    """

    def __init__(self, library: Library, http: HttpClient, tap: Tap | None = None) -> None:
        self._library = library
        self._http = http
        self._tap = tap
        name = library.tls_server_name
        self._extensions = {"sni_hostname": name} if name and library.uses_tls else {}

    async def send(
        self,
        method: str,
        path: str,
        until: float,
        *,
        largest: int,
        headers: Mapping[str, str] = {},
        params: Mapping[str, str] = {},
        content: bytes = b"",
    ) -> bytes:
        """Return the body of the reply, if its status is 200. Raises NoAnswer."""
        if self._tap:
            self._tap(">", _shown(f"{method} {self._library.url}{path}", params, headers, content))
        try:
            async with asyncio.timeout_at(until):
                response = await self._http.request(
                    method,
                    f"{self._library.url}{path}",
                    params=params,
                    headers=headers,
                    content=content,
                    extensions=self._extensions | up_to(largest),
                )
        except (TimeoutError, httpx2.TimeoutException):
            raise TimedOut from None
        except httpx2.HTTPError as error:
            raise _failure(error) from _cause(error)
        if self._tap:
            kind = response.headers.get("Content-Type", "")
            self._tap("<", f"{response.status_code} {kind}\n".encode() + response.content)
        return _body(response)

    def close(self) -> None:
        """Close the connections, as soon as the event loop has time for it. See `all_closed`."""
        closing = asyncio.get_running_loop().create_task(self._http.aclose())
        _CLOSING.add(closing)
        closing.add_done_callback(_CLOSING.discard)


_CLOSING: set[asyncio.Task[None]] = set()


async def all_closed() -> None:
    """Wait until every line that was closed has no connection left, for a short time."""
    if _CLOSING:
        await asyncio.wait(_CLOSING, timeout=limits.CLOSE)


def _shown(line: str, params: Mapping[str, str], headers: Mapping[str, str], content: bytes) -> bytes:
    query = "?" * bool(params) + "&".join(f"{name}={value}" for name, value in params.items())
    fields = "".join(f"\n{name}: {value}" for name, value in headers.items())
    return f"{line}{query}{fields}\n".encode() + content


def _body(response: httpx2.Response) -> bytes:
    status = response.status_code
    if status == httpx2.codes.OK:
        return response.content
    if status in _REDIRECTS:
        raise Redirected
    if status in _NOT_LET_IN:
        raise LoginRefused
    if status in _FAILED or status in _BUSY:
        raise ServerFailed
    raise NotServed


def _failure(error: httpx2.HTTPError) -> NoAnswer:
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return CertificateNotTrusted()
    if isinstance(cause, ssl.SSLError):
        return TlsFailed()
    if isinstance(error, httpx2.ConnectError):
        return CannotConnect()
    broken = isinstance(error, httpx2.RemoteProtocolError) and str(error).startswith(_WITHOUT_A_REPLY)
    return ClosedWithoutAnswer() if broken or isinstance(error, httpx2.NetworkError) else GarbledReply()


def _cause(error: BaseException) -> BaseException:
    """Return what the operating system or TLS reported, if it did; else the error itself."""
    return next((cause for cause in _causes(error) if isinstance(cause, OSError)), error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
