"""Whatever another side sends to one of our clients: an error of that client, after few bytes and seconds."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio

from identity.adapters.account_directory import HttpAccountDirectory
from identity.adapters.registration_client import RegistrationApi
from identity.application.dependencies import (
    AccountDirectory,
    DirectoryUnavailable,
    RegistrationUnavailable,
)
from registration.adapters.identity_client import IdentityApi
from registration.domain.errors import LoginAccountsUnavailable
from shared.messaging.errors import FeedUnavailable, MalformedMessage
from shared.messaging.feed import HttpFeed
from shared.platform.http_client import LARGEST_REPLY, HttpClient, ReplyRefused, up_to
from shared.web.problems import Problem
from shared.web.security import KeysUnavailable, keys_of
from tests.integration.calling_out.issuer import sign_in
from tests.support.account_directories import scim_over
from tests.support.eventually import eventually
from tests.support.hostile_http import (
    FLOODS,
    MOST_SENT,
    SHAPES,
    Answer,
    HostilePeer,
    bomb,
    hostile_peer,
    interim,
    json_answer,
    nested,
)
from tests.support.silence import shorten
from tests.support.tokens import held_token

pytestmark = pytest.mark.asyncio(loop_scope="module")

Call = Callable[[str, HttpClient], Awaitable[object]]
BUFFERED = 32 * 1024 * 1024
"""What the limits of a client and the buffers of the network let pass before it hangs up."""


token = held_token("token")


async def of_scim(url: str, ask: Callable[[AccountDirectory], Awaitable[object]]) -> object:
    async with HttpClient(base_url=url) as http:
        return await ask(scim_over(http))


CALLS: dict[str, tuple[Call, type[Exception]]] = {
    "feed": (lambda url, http: HttpFeed(url, http, token).after(0, limit=500, wait=0), FeedUnavailable),
    "feed of a guest": (
        lambda url, http: HttpFeed(url, http, token).of_subject(uuid4(), after_version=0),
        FeedUnavailable,
    ),
    "registrations": (
        lambda url, http: RegistrationApi(url, http, token).registrations("1001", account_id="acc-jan"),
        RegistrationUnavailable,
    ),
    "new account": (
        lambda url, http: RegistrationApi(url, http, token).new_account(uuid4(), "acc-jan"),
        RegistrationUnavailable,
    ),
    "birth dates": (
        lambda url, http: RegistrationApi(url, http, token).compare_birth_dates([uuid4()], [uuid4()]),
        RegistrationUnavailable,
    ),
    "login account": (
        lambda url, http: IdentityApi(url, http, token).find("jan", "NL-070288"),
        LoginAccountsUnavailable,
    ),
    "names of accounts": (
        lambda url, http: IdentityApi(url, http, token).names(["acc-jan"]),
        LoginAccountsUnavailable,
    ),
    "accounts with a username": (
        lambda url, http: IdentityApi(url, http, token).with_username("jan", ["NL-070288"]),
        LoginAccountsUnavailable,
    ),
    "account": (lambda url, http: HttpAccountDirectory(url, http).by_id("acc-jan"), DirectoryUnavailable),
    "account by name": (
        lambda url, http: HttpAccountDirectory(url, http).by_username("jan", "NL-070288"),
        DirectoryUnavailable,
    ),
    "SCIM user": (
        lambda url, _http: of_scim(url, lambda directory: directory.by_id("acc-jan")),
        DirectoryUnavailable,
    ),
    "SCIM user by name": (
        lambda url, _http: of_scim(url, lambda directory: directory.by_username("jan", "NL-070288")),
        DirectoryUnavailable,
    ),
    "keys": (lambda url, http: keys_of(url, f"{url}/jwks", http).ready(), KeysUnavailable),
    "discovery of keys": (lambda url, http: keys_of(url, None, http).ready(), KeysUnavailable),
    "discovery of sign-in": (lambda url, _http: sign_in(url).ready(), Problem),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


@pytest.mark.parametrize("answer", [*FLOODS, bomb, nested])
@pytest.mark.parametrize("call", CALLS)
async def test_a_hostile_reply_is_unavailable(call: str, answer: Answer, http: HttpClient) -> None:
    ask, unavailable = CALLS[call]
    async with hostile_peer(answer) as peer:
        with pytest.raises(unavailable):
            await ask(peer.url, http)
        await stopped(peer)
    assert len(peer.requests) == 1, "no redirect is followed"
    assert b"accept-encoding: identity" in peer.requests[0].lower()


async def stopped(peer: HostilePeer) -> None:
    """The client hung up on a flood; after a whole reply it may keep the connection."""
    await eventually(lambda: peer.connections == peer.closed_on or peer.sent < LARGEST_REPLY)
    assert peer.sent < BUFFERED < MOST_SENT


@pytest.mark.parametrize("call", CALLS)
async def test_a_side_that_says_nothing_is_unavailable_in_time(
    call: str, http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    ask, unavailable = CALLS[call]
    async with hostile_peer(lambda _path: iter(())) as peer:
        began = time.monotonic()
        with pytest.raises(unavailable):
            await ask(peer.url, http)
        assert time.monotonic() - began < 1.0
        await eventually(lambda: peer.connections == peer.closed_on)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("call", CALLS)
async def test_a_reply_of_another_shape_is_unavailable(call: str, shape: bytes, http: HttpClient) -> None:
    ask, unavailable = CALLS[call]
    async with hostile_peer(lambda _path: json_answer(shape)) as peer:
        with pytest.raises((unavailable, MalformedMessage)):
            await ask(peer.url, http)


async def test_a_reply_that_drips_is_given_up_as_a_whole(http: HttpClient) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + b" " * 10_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)
        closed.set()
        writer.transport.abort()

    closed = asyncio.Event()
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(httpx2.ReadTimeout):
            await http.get(f"http://127.0.0.1:{port}/", timeout=0.3)
        await asyncio.wait_for(closed.wait(), 10)


async def test_a_reply_has_a_limit_to_the_byte(http: HttpClient) -> None:
    async with hostile_peer(lambda path: json_answer(b" " * int(path[1:]))) as peer:
        assert len((await http.get(f"{peer.url}/{LARGEST_REPLY}")).content) == LARGEST_REPLY
        with pytest.raises(ReplyRefused):
            await http.get(f"{peer.url}/{LARGEST_REPLY + 1}")
        assert len((await http.get(f"{peer.url}/9", extensions=up_to(9))).content) == 9
        with pytest.raises(ReplyRefused):
            await http.get(f"{peer.url}/10", extensions=up_to(9))
        assert len((await http.get(f"{peer.url}/8")).content) == 8


async def test_cookies_of_another_side_are_not_kept(http: HttpClient) -> None:
    def cookies(_path: str) -> Iterator[bytes]:
        many = b"".join(b"Set-Cookie: c%d=%s; Path=/\r\n" % (number, b"x" * 100) for number in range(100))
        yield b"HTTP/1.1 200 OK\r\n%sContent-Length: 0\r\n\r\n" % many

    async with hostile_peer(cookies) as peer:
        await http.get(peer.url)
        await http.get(peer.url)
    assert len(http.cookies) == 0
    assert b"cookie" not in peer.requests[1].lower()


async def test_interim_replies_without_end_are_given_up(http: HttpClient) -> None:
    async with hostile_peer(interim) as peer:
        with pytest.raises(httpx2.ReadTimeout):
            await http.get(peer.url, timeout=0.3)
        await eventually(lambda: peer.connections == peer.closed_on)
