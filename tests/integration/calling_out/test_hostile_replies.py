"""Whatever another side sends to one of our clients: an error of that client, after few bytes and seconds."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import repeat
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.requests import Request

from identity.adapters.account_directory import HttpAccountDirectory
from identity.adapters.registration_client import RegistrationApi
from identity.application.dependencies import (
    AccountDirectory,
    DirectoryUnavailable,
    RegistrationUnavailable,
)
from registration.adapters.identity_client import IdentityApi
from registration.counter_ui.i18n import NEXT_STEPS
from registration.counter_ui.sign_in import SignIn
from registration.counter_ui.sign_in_client import SignInFailed
from registration.domain.errors import LoginAccountsUnavailable
from shared.messaging.errors import FeedUnavailable, MalformedMessage
from shared.messaging.feed import HttpFeed
from shared.platform import limits
from shared.platform.http_client import LARGEST_REPLY, HttpClient, ReplyRefused, up_to
from shared.web.problems import Problem
from shared.web.security import KeysUnavailable, keys_of
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


def sign_in(url: str) -> SignIn:
    return SignIn(issuer=url, client_id="counter", client_secret=None, address="http://127.0.0.1:1")


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


def browser(query: str, session: dict[str, Any]) -> Request:
    """A request of the browser that signs in."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/aanmelden/terug",
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1:1")],
        "session": session,
    }
    return Request(scope)


def issuer_that(floods_at: str, answer: Answer) -> Callable[[HostilePeer], Answer]:
    """An issuer whose discovery is right, and whose path `floods_at` is hostile.

    It pushes requests, or has a userinfo endpoint, if that is hostile.
    """

    def made(peer: HostilePeer) -> Answer:
        def served(path: str) -> Iterator[bytes]:
            if path == floods_at:
                return answer(path)
            if path == "/token":
                said = TOKEN if floods_at != "/userinfo" else TOKEN | {"id_token": id_token(peer.url)}
                return json_answer(json.dumps(said).encode())
            if path == "/jwks":
                keys = [KEY.as_dict(private=False)] if floods_at == "/userinfo" else []
                return json_answer(json.dumps({"keys": keys}).encode())
            more = {MORE[floods_at]: peer.url + floods_at} if floods_at in MORE else {}
            return json_answer(json.dumps(discovery(peer.url) | more).encode())

        return served

    return made


KEY = ECKey.generate_key("P-256", {"kid": "k"})
MORE = {"/par": "pushed_authorization_request_endpoint", "/userinfo": "userinfo_endpoint"}
ENDPOINTS = ["/token", "/jwks", "/par", "/userinfo"]
_asked: dict[str, str] = {}


def id_token(issuer: str) -> str:
    """A right ID token for the last sign-in, which says nothing of what the person may do."""
    now = int(time.time())
    claims = {"iss": issuer, "aud": "counter", "sub": "m.visser", "iat": now, "exp": now + 60, **_asked}
    return jwt.encode({"alg": "ES256", "kid": "k"}, claims, KEY)


ID_TOKEN = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.e30"
"""With a header that counts, so that the key for it is asked for."""
TOKEN = {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": ID_TOKEN}


def discovery(url: str) -> dict[str, object]:
    return {
        "issuer": url,
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "jwks_uri": f"{url}/jwks",
        "id_token_signing_alg_values_supported": ["ES256"],
    }


@pytest.mark.parametrize("answer", [*FLOODS, bomb, nested])
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_hostile_sign_in_service_signs_nobody_in(path: str, answer: Answer) -> None:
    async with hostile_peer(answer) as peer:
        peer.answer = issuer_that(path, answer)(peer)
        with pytest.raises((Problem, SignInFailed)):
            await come_back(sign_in(peer.url))
        await eventually(lambda: peer.connections == peer.closed_on)
    assert peer.sent < BUFFERED


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_a_sign_in_service_that_replies_in_another_shape_signs_nobody_in(
    path: str, shape: bytes
) -> None:
    async with hostile_peer(lambda _path: json_answer(shape)) as peer:
        peer.answer = issuer_that(path, lambda _path: json_answer(shape))(peer)
        with pytest.raises((Problem, SignInFailed)):
            await come_back(sign_in(peer.url))


def silent(_path: str) -> Iterator[bytes]:
    yield from ()


def another_type(_path: str) -> Iterator[bytes]:
    page = b"<html><form action='/login'></form></html>"
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page) + page


def another_charset(path: str) -> Iterator[bytes]:
    yield from json_answer(json.dumps({"issuer": path, "request_uri": "é"}).encode("utf-16"))


def redirect_elsewhere(_path: str) -> Iterator[bytes]:
    yield b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/elsewhere\r\nContent-Length: 0\r\n\r\n"


def signed_by_nobody(_path: str) -> Iterator[bytes]:
    stranger = ECKey.generate_key("P-256", {"kid": "k"})
    claims = {"sub": "m.visser", "scope": "counter"}
    said = jwt.encode({"alg": "ES256", "kid": "k"}, claims, stranger).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/jwt\r\nContent-Length: %d\r\n\r\n" % len(said)
    yield head + said


@pytest.mark.parametrize(
    "answer", [silent, another_type, another_charset, redirect_elsewhere, signed_by_nobody]
)
@pytest.mark.parametrize("path", [*ENDPOINTS, "/.well-known/openid-configuration"])
async def test_a_sign_in_that_a_hostile_service_breaks_off_tells_the_clerk_what_to_do(
    path: str, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    async with hostile_peer(answer) as peer:
        peer.answer = issuer_that(path, answer)(peer)
        began = time.monotonic()
        with pytest.raises(SignInFailed) as failed:
            await come_back(sign_in(peer.url))
        assert time.monotonic() - began < 10 * limits.ISSUER
        assert failed.value.code in NEXT_STEPS
        assert failed.value.reason
        assert "elsewhere" not in b"".join(peer.requests).decode()


async def come_back(service: SignIn) -> None:
    session: dict[str, Any] = {}
    leaving = await service.begin(browser("", session))
    asked = parse_qs(urlsplit(leaving.headers["location"]).query)
    state = asked["state"][0]
    _asked["nonce"] = asked["nonce"][0]
    await service.finish(browser(f"code=c&state={state}", session))


@pytest.mark.parametrize(
    "change",
    [
        *({name: value} for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
          for value in (None, 3, "", "http://[", "javascript:1", ["x"])),
        {"id_token_signing_alg_values_supported": 3},
        {"id_token_signing_alg_values_supported": [{}]},
        {"userinfo_endpoint": {}},
    ],
)  # fmt: skip
async def test_discovery_that_cannot_be_used_is_unavailable_until_it_is_right_again(
    change: dict[str, object],
) -> None:
    changes = iter([change])
    async with hostile_peer(lambda _path: iter(())) as peer:
        peer.answer = lambda _path: json_answer(json.dumps(discovery(peer.url) | next(changes, {})).encode())
        service = sign_in(peer.url)
        with pytest.raises(Problem) as raised:
            await service.begin(browser("", {}))
        assert raised.value.status == 503
        await service.begin(browser("", {}))


async def test_keys_that_could_not_be_read_are_read_again_at_the_next_sign_in() -> None:
    answers = iter([b'{"keys": 3}', b"[]"])

    async with hostile_peer(lambda _path: iter(())) as peer:
        peer.answer = issuer_that("/jwks", lambda _path: json_answer(next(answers, b'{"keys": []}')))(peer)
        service = sign_in(peer.url)
        for _ in range(3):
            with pytest.raises(SignInFailed):
                await come_back(service)
        assert sum(b"/jwks" in request for request in peer.requests) >= 3


async def test_interim_replies_without_end_are_given_up(http: HttpClient) -> None:
    async with hostile_peer(lambda _path: repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n")) as peer:
        with pytest.raises(httpx2.ReadTimeout):
            await http.get(peer.url, timeout=0.3)
        await eventually(lambda: peer.connections == peer.closed_on)
