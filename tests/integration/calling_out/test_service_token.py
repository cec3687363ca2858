"""The token that a service fetches for itself: by client credentials, renewed in time, no secret told."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from infra.local.ports import LOOPBACK, answers, free_port
from shared.platform import limits
from shared.web.server import serve
from shared.web.service_token import ClientToken, TokenClient, TokenFile, TokenUnavailable
from tests.support.eventually import eventually

CLIENT_ID, SECRET = "registration service", "a+b/c=d%25:é &~*-s3cret"
Answer = Callable[[Request], Response]


@dataclass
class TokenServer:
    """An authorisation server for one client: it gives tokens `token-1`, `token-2`, …"""

    url: str
    methods: tuple[str, ...] = ("client_secret_basic",)
    key: Key | None = None
    secret: str = SECRET
    lives: object = 600
    given: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    pages: int = 0
    assertions: list[dict[str, Any]] = field(default_factory=list)
    at_token: Answer | None = None
    at_discovery: Answer | None = None
    held: asyncio.Event | None = None

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/token", self._token, methods=["POST"]),
                Route("/elsewhere/token", self._token, methods=["GET", "POST"]),
            ]
        )

    async def _discovery(self, request: Request) -> Response:
        self.pages += 1
        if self.at_discovery:
            return self.at_discovery(request)
        return JSONResponse(
            {
                "issuer": self.url,
                "token_endpoint": f"{self.url}/token",
                "token_endpoint_auth_methods_supported": self.methods,
                "token_endpoint_auth_signing_alg_values_supported": ["RS256", "ES256", "ES384", "Ed25519"],
            }
        )

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.asked.append(form)
        if self.held:
            await self.held.wait()
        if self.at_token:
            return self.at_token(request)
        if not self._knows(request, form):
            said = f"the client sent {SECRET} which is wrong"
            return JSONResponse({"error": "invalid_client", "error_description": said}, 401)
        self.given += 1
        life = {} if self.lives is None else {"expires_in": self.lives}
        return JSONResponse({"access_token": f"token-{self.given}", "token_type": "bearer"} | life)

    def _knows(self, request: Request, form: dict[str, str]) -> bool:
        if self.key is not None:
            claims = jwt.decode(form["client_assertion"], self.key, algorithms=["RS256", "ES384", "Ed25519"])
            self.assertions.append(claims.claims)
            return bool(claims.claims["sub"] == CLIENT_ID) and claims.claims["aud"] == f"{self.url}/token"
        if "client_secret_basic" not in self.methods:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, self.secret)
        given = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        name, _, secret = given.partition(":")
        return (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, self.secret)


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    port, stopping = free_port(), asyncio.Event()
    opened = TokenServer(f"http://{LOOPBACK}:{port}")
    serving = asyncio.create_task(serve(opened.app(), LOOPBACK, port, stopping))
    await eventually(lambda: answers(port))
    yield opened
    stopping.set()
    await serving


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n", "utf-8")
    return path


@pytest.fixture
def client(server: TokenServer, secret_file: Path) -> TokenClient:
    return TokenClient(server.url, CLIENT_ID, secret_file=secret_file)


def write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")


@contextmanager
def nothing_is_told() -> Iterator[list[Any]]:
    """Inside the block neither the secret nor a token is logged."""
    with capture_logs() as lines:
        yield lines
    assert SECRET not in str(lines)
    assert "token-" not in str(lines)


@asynccontextmanager
async def refused(client: TokenClient) -> AsyncIterator[list[str]]:
    """Why there is no token."""
    reasons: list[str] = []
    with nothing_is_told():
        async with ClientToken(client) as token:
            with pytest.raises(TokenUnavailable) as unavailable:
                await token()
            reasons.append(str(unavailable.value))
            yield reasons
    assert SECRET not in reasons[0]


@pytest.mark.parametrize("methods", [("client_secret_basic",), ("client_secret_post",)])
async def test_it_is_fetched_with_a_secret_as_the_server_wants_it(
    server: TokenServer, client: TokenClient, methods: tuple[str, ...]
) -> None:
    server.methods = methods
    async with ClientToken(client) as token:
        assert await token() == "token-1"
        assert await token() == "token-1"
    [asked] = server.asked
    assert asked["grant_type"] == "client_credentials"
    assert {"scope", "audience", "resource"}.isdisjoint(asked)


async def test_scope_audience_and_resource_are_asked_for(server: TokenServer, secret_file: Path) -> None:
    client = TokenClient(
        server.url,
        CLIENT_ID,
        secret_file=secret_file,
        scope="feed accounts",
        audience="identity",
        resource="urn:identity",
    )
    async with ClientToken(client) as token:
        await token()
    assert server.asked[0] | {"scope": "feed accounts", "audience": "identity"} == server.asked[0]
    assert server.asked[0]["resource"] == "urn:identity"


def _pem(key: Any) -> str:
    return bytes(key.as_pem(private=True)).decode()


def _json(key: Key) -> str:
    return json.dumps(key.as_dict(private=True))


@pytest.mark.parametrize("written", [_pem, _json])
@pytest.mark.parametrize(
    "key",
    [RSAKey.generate_key(2048), ECKey.generate_key("P-384"), OKPKey.generate_key("Ed25519")],
    ids=["RSA", "P-384", "Ed25519"],
)
async def test_it_is_fetched_with_a_signature(
    server: TokenServer, tmp_path: Path, key: Key, written: Callable[[Key], str]
) -> None:
    server.key = key
    (tmp_path / "key").write_text(written(key))
    token = ClientToken(TokenClient(server.url, CLIENT_ID, key_file=tmp_path / "key"))
    assert [(await token.fetch()).text for _ in range(2)] == ["token-1", "token-2"]
    one, other = server.assertions
    assert one["jti"] != other["jti"]
    assert 0 < one["exp"] - one["iat"] <= 60


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "no key", _json(OctKey.generate_key(256)), _json(ECKey.generate_key("secp256k1"))],
    ids=["nothing", "an object", "an array", "a text", "a shared key", "an unknown curve"],
)
async def test_a_file_without_a_usable_private_key_is_named_and_not_shown(
    server: TokenServer, tmp_path: Path, content: str
) -> None:
    (tmp_path / "key").write_text(content)
    async with refused(TokenClient(server.url, CLIENT_ID, key_file=tmp_path / "key")) as [reason]:
        assert f"{tmp_path / 'key'}: it must hold one private key" in reason
        assert not content.strip() or content not in reason
    assert not server.asked


async def test_a_public_key_proves_nothing(server: TokenServer, tmp_path: Path) -> None:
    public = ECKey.generate_key("P-384").as_dict(private=False)
    (tmp_path / "key").write_text(json.dumps(public))
    async with refused(TokenClient(server.url, CLIENT_ID, key_file=tmp_path / "key")) as [reason]:
        assert "it must hold one private key" in reason


async def test_many_callers_wait_for_one_request(server: TokenServer, client: TokenClient) -> None:
    server.held = asyncio.Event()
    async with ClientToken(client) as token:
        waiting = [asyncio.create_task(token()) for _ in range(50)]
        await eventually(lambda: server.asked)
        server.held.set()
        assert set(await asyncio.gather(*waiting)) == {"token-1"}
    assert len(server.asked) == 1
    assert server.pages == 1


async def test_it_is_renewed_by_itself_before_its_end(server: TokenServer, client: TokenClient) -> None:
    """Nobody calls: after two thirds of its life the next one is there."""
    server.lives = 2
    with nothing_is_told():
        async with ClientToken(client) as token:
            assert await token() == "token-1"
            await eventually(lambda: server.given == 2)
            server.lives = 600
            assert await token() in {"token-1", "token-2"}
            await eventually(lambda: server.given == 3)
            assert await token() == "token-3"
    assert server.pages == 1


async def test_an_old_token_counts_until_its_end_while_no_new_one_is_given(
    server: TokenServer, client: TokenClient
) -> None:
    server.lives = 2
    now = 0.0
    async with ClientToken(client, clock=lambda: now) as token:
        assert await token() == "token-1"
        server.at_token = lambda _: Response("out of order", 503)
        await eventually(lambda: len(server.asked) >= 2)
        now = 1.9
        assert await token() == "token-1"
        now = 2.1
        with pytest.raises(TokenUnavailable, match="answered 503"):
            await token()


async def test_a_server_that_is_down_is_not_asked_by_every_request(
    server: TokenServer, client: TokenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOKEN_PAUSE", 5.0)
    server.at_token = lambda _: JSONResponse({"error": "temporarily_unavailable"}, 400)
    with nothing_is_told() as lines:
        async with ClientToken(client) as token:
            for _ in range(100):
                with pytest.raises(TokenUnavailable, match="temporarily_unavailable"):
                    await token()
    assert len(server.asked) == 1
    assert [line["reason"] for line in lines if line["event"] == "service_token.failed"] == [
        "the sign-in service answered temporarily_unavailable: no description"
    ]


async def test_it_recovers_by_itself(
    server: TokenServer, client: TokenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOKEN_PAUSE", 0.05)
    server.at_discovery = lambda _: Response(status_code=500)
    async with ClientToken(client) as token:
        with pytest.raises(TokenUnavailable, match="answered 500"):
            await token()
        server.at_discovery = None
        await eventually(lambda: server.given)
        assert await token() == "token-1"


async def test_a_secret_is_renewed_without_a_restart(
    server: TokenServer, client: TokenClient, secret_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOKEN_PAUSE", 0.05)
    write(secret_file, "an old one")
    async with ClientToken(client) as token:
        with pytest.raises(TokenUnavailable) as unavailable:
            await token()
        assert "invalid_client" in str(unavailable.value)
        assert "an old one" not in str(unavailable.value)
        write(secret_file, SECRET)
        await eventually(lambda: server.given)
        assert await token() == "token-1"


async def test_the_words_of_the_server_are_told_without_the_secret(
    server: TokenServer, client: TokenClient
) -> None:
    server.secret = "another"
    async with refused(client) as [reason]:
        assert reason == "the sign-in service answered invalid_client: the client sent … which is wrong"


@pytest.mark.parametrize("name", ["secret_file", "key_file"])
async def test_a_file_that_is_not_there_is_named(server: TokenServer, tmp_path: Path, name: str) -> None:
    files: dict[str, Any] = {name: tmp_path / "none"}
    client = TokenClient(server.url, CLIENT_ID, **files)
    async with refused(client) as [reason]:
        assert reason == f"{tmp_path / 'none'}: No such file or directory"


async def test_the_server_must_be_the_one_that_is_set(server: TokenServer, client: TokenClient) -> None:
    server.at_discovery = lambda _: JSONResponse({"issuer": "https://another.example"})
    async with refused(client) as [reason]:
        assert "calls itself https://another.example" in reason


async def test_no_secret_leaves_without_tls(server: TokenServer, client: TokenClient) -> None:
    page = {"issuer": server.url, "token_endpoint": "http://elsewhere.example/token"}
    server.at_discovery = lambda _: JSONResponse(page)
    async with refused(client) as [reason]:
        assert "token_endpoint: Value error, use an https:// address" in reason


async def endless() -> AsyncIterator[bytes]:
    for piece in repeat(b" " * 65536):
        yield piece
        await asyncio.sleep(0)  # the client is in the same process


async def silent() -> AsyncIterator[bytes]:
    yield b" "
    await asyncio.sleep(60)


def json_of(value: object) -> Answer:
    return lambda _request: JSONResponse(value)


def token_of(**changed: object) -> Answer:
    return json_of({"access_token": "token-x", "token_type": "Bearer", "expires_in": 60} | changed)


HOSTILE: dict[str, Answer] = {
    "silent": lambda _: StreamingResponse(silent()),
    "endless": lambda _: StreamingResponse(endless()),
    "another type": lambda _: Response("<html>Sign in</html>", media_type="text/html"),
    "another charset": lambda _: Response('{"issuer": "é"}'.encode("utf-16"), media_type="application/json"),
    "a redirect": lambda _: RedirectResponse("/elsewhere/token", 307),
    "an array": json_of([]),
    "a number": json_of(3),
    "nested": lambda _: Response(b"[" * 200_000 + b"]" * 200_000, media_type="application/json"),
}
TOKENS: dict[str, Answer] = {
    "nothing in it": json_of({}),
    "no text": token_of(access_token=3),
    "an empty text": token_of(access_token=""),
    "a second header": token_of(access_token="token-x\r\nX-Role: admin"),
    "no ASCII": token_of(access_token="token-é"),
    "far too long": token_of(access_token="x" * 9000),
    "a token of another type": token_of(token_type="DPoP"),
    "no type": token_of(token_type=None),
    "an error that is no text": json_of({"error": {"code": 1}}),
    "ended already": token_of(expires_in=-1),
    "a life that is a text": token_of(expires_in="soon"),
    "a life that is an object": token_of(expires_in={}),
    "a life beyond numbers": lambda _: Response(
        '{"access_token": "a", "token_type": "bearer", "expires_in": 1e999}', media_type="application/json"
    ),
}


@pytest.mark.parametrize("at", ["at_discovery", "at_token"])
@pytest.mark.parametrize("kind", HOSTILE)
async def test_whatever_comes_is_bounded_and_told(
    server: TokenServer, client: TokenClient, kind: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOKEN", 0.5 if kind == "silent" else 3.0)
    setattr(server, at, HOSTILE[kind])
    async with refused(client) as [reason]:
        assert reason
        assert len(reason) < 700
    assert server.given == 0


@pytest.mark.parametrize("kind", TOKENS)
async def test_a_token_that_cannot_be_used_is_no_token(
    server: TokenServer, client: TokenClient, kind: str
) -> None:
    server.at_token = TOKENS[kind]
    async with refused(client) as [reason]:
        assert reason
        assert "token-x" not in reason


@pytest.mark.parametrize(("said", "counted"), [(None, 60), ("120", 120), (10**12, 86400)])
async def test_how_long_it_lives(
    server: TokenServer, client: TokenClient, said: object, counted: int
) -> None:
    server.lives = said
    assert (await ClientToken(client).fetch()).life == counted


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    token = TokenFile(tmp_path / "token")
    with pytest.raises(OSError, match="No such file"):
        await token()
    (tmp_path / "token").write_text("one\n")
    assert await token() == "one"
    (tmp_path / "fresh").write_text("two\n")
    (tmp_path / "fresh").replace(tmp_path / "token")
    assert await token() == "two"
