"""How the services call out over HTTP: every reply has a limit in bytes and in time, whatever is sent."""

import asyncio
import functools
import json
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast

import httpx2
import orjson

from shared.platform.admission import waiting_outside

LARGEST_REPLY = 1024 * 1024
"""In bytes. Replies have some thousands; a caller that needs more asks for it with `up_to`."""

_LARGEST_REPLY = "largest_reply"


def up_to(largest: int) -> dict[str, Any]:
    """Return the `extensions` of a request whose reply may have so many bytes."""
    return {_LARGEST_REPLY: largest}


class ReplyRefused(httpx2.TransportError):
    """The reply is too large or is compressed."""


class Reply(httpx2.Response):
    """A complete response."""

    def json(self, **_more: Any) -> Any:
        """Return the JSON value, as `read_json` does. Raises ValueError."""
        return read_json(self.content)


def read_json(content: bytes) -> Any:
    """Return the JSON value that another side sent, in UTF-8. Raises ValueError.

    Also for NaN, for a number beyond all bounds, for what is nested without end, and for an object that says
    one name twice: what it means would depend on who reads it (RFC 7493, section 2.3).
    """
    value = orjson.loads(content)
    try:
        json.loads(content, object_pairs_hook=_require_each_name_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def _require_each_name_once(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("an object says one name twice")


class BoundedReplies(httpx2.AsyncClient):
    """Reads the whole reply of every request, up to a number of bytes and seconds.

    The read time-out of a request is its time limit as a whole: a reply that comes byte by byte would never
    reach a time-out of a single read. Compressed replies are refused, because some bytes may unpack into all
    of the memory; none is asked for. Redirects are not followed: the address of the reply would not be the
    configured one.

    Raises ReplyRefused, httpx2.ReadTimeout and all that httpx2 raises; all of them are httpx2.HTTPError.
    """

    async def send(self, request: httpx2.Request, **more: Any) -> httpx2.Response:
        """See httpx2.AsyncClient.send. The response is complete, also with `stream`."""
        request.headers["Accept-Encoding"] = "identity"
        more |= {"stream": True, "follow_redirects": False}
        try:
            async with asyncio.timeout(request.extensions["timeout"]["read"]):
                with waiting_outside():
                    response = await super().send(request, **more)
                    try:
                        content = await _content_of(response)
                    finally:
                        await response.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout("the reply took too long", request=request) from None
        return Reply(response.status_code, headers=response.headers, content=content, request=request)


async def _content_of(response: httpx2.Response) -> bytes:
    """Read the body. Raises ReplyRefused after the first byte too many."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ReplyRefused("the reply is compressed", request=response.request)
    largest = response.request.extensions.get(_LARGEST_REPLY, LARGEST_REPLY)
    content = bytearray()
    async for piece in cast("httpx2.AsyncByteStream", response.stream):
        content += piece
        if len(content) > largest:
            raise ReplyRefused(f"the reply has more than {largest} bytes", request=response.request)
    return bytes(content)


@functools.cache
def trusted_authorities() -> ssl.SSLContext:
    """Return the TLS context of this process: making one takes longer than asking."""
    return httpx2.create_ssl_context()


class HttpClient(BoundedReplies):
    """The client that both services use for all other sides, except for sign-in. It stores no cookies.

    `verify`: the TLS settings for a side with an authority of its own.
    """

    def __init__(self, verify: ssl.SSLContext | None = None, **settings: Any) -> None:
        # Nobody needs cookies, and a jar would keep all that another side sends.
        cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        super().__init__(cookies=cookies, verify=verify or trusted_authorities(), **settings)
