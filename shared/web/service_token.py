"""The bearer token with which a service calls another one: from a file, or fetched by client credentials.

A file suits who has another program that renews it. Client credentials (RFC 6749, section 4.4) need none: the
token is fetched when it is needed first, and renewed long before its end. No token and no secret is logged.
"""

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from joserfc.errors import JoseError
from pydantic import BaseModel, Field

from shared.kernel.errors import ConfigurationError
from shared.kernel.files import read_file
from shared.kernel.text import summary
from shared.platform import limits
from shared.platform.http_client import HttpClient
from shared.platform.retry import keep_trying
from shared.platform.settings import ServiceSettings
from shared.web.issuer import WrongIssuer, discovery_page, why_unreadable
from shared.web.oauth_client import ClientProof, TokenMetadata, client_proof

LONGEST_TOKEN = 8192
"""Characters. Neither service takes a longer one."""
SHORTEST_LIFE, LONGEST_LIFE = 2, 24 * 3600
LIFE_UNSAID = 60
"""Seconds. After so long a token is renewed whose answer does not say how long it lives."""
_RENEW_AFTER = 2 / 3
"""Of a token's life. The rest is there for a sign-in service that is down for a while."""
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, ArithmeticError, JoseError)


class TokenUnavailable(OSError):
    """There is no token for the other service now. The text says why, for operators; it holds no secret."""


class ServiceToken(ABC):
    """A bearer token: `await token()` for each request. Close it when the service stops."""

    @abstractmethod
    async def __call__(self) -> str:
        """Return the current token. Raises OSError; TokenUnavailable is one."""

    async def close(self) -> None:  # noqa: B027 - most have nothing to end
        """End what works in the background."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


class TokenFile(ServiceToken):
    """The token in a file. A changed file is read again, so the token can be renewed without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._token = ""

    async def __call__(self) -> str:
        """See ServiceToken."""
        status = self._path.stat()
        version = (status.st_mtime_ns, status.st_ino)
        if version != self._read_at:
            self._token = read_file(self._path, "ascii").strip()
            self._read_at = version
        return self._token


@dataclass(frozen=True, slots=True)
class TokenClient:
    """A client that fetches tokens for itself at `issuer`.

    Its secret or its private key is read from the file for each token, so both can be renewed without a
    restart. `scope`: texts with spaces between them. `audience` and `resource` (RFC 8707): the service that
    the token is for; which of them a server wants differs.
    """

    issuer: str
    client_id: str
    secret_file: Path | None = None
    key_file: Path | None = None
    scope: str | None = None
    audience: str | None = None
    resource: str | None = None

    @property
    def more(self) -> dict[str, str]:
        """The parameters of the request beyond those of every client."""
        wanted = {"scope": self.scope, "audience": self.audience, "resource": self.resource}
        return {name: value for name, value in wanted.items() if value}


@dataclass(frozen=True, slots=True)
class FetchedToken:
    """A token, and how many seconds it lives from now on."""

    text: str
    life: float


class _TokenJson(BaseModel):
    access_token: Annotated[str, Field(min_length=1, max_length=LONGEST_TOKEN)]
    token_type: str
    expires_in: Annotated[float, Field(ge=SHORTEST_LIFE)] = LIFE_UNSAID


class ClientToken(ServiceToken):
    """The token that a client fetches for itself.

    The first call fetches it, and all calls at that time wait for the one request. From then on it is renewed
    after two thirds of its life, whether it is used or not; while that fails the old one counts until its
    end. After a failure the next attempt waits, longer each time, and calls fail at once: a service that is
    down is not asked by every request. `clock` returns seconds that only grow.
    """

    def __init__(self, client: TokenClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._held: FetchedToken | None = None
        self._ends_at = float("-inf")
        self._why = ""
        self._answered = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None
        self._metadata: TokenMetadata | None = None

    async def __call__(self) -> str:
        """See ServiceToken."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._keep_renewed(), name="service token")
        if (token := self._valid()) is None:
            await self._answered.wait()
            token = self._valid()
        if token is None:
            raise TokenUnavailable(self._why or "the last token has ended")
        return token

    async def close(self) -> None:
        """See ServiceToken."""
        if self._renewing is not None:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewing

    def _valid(self) -> str | None:
        return self._held.text if self._held and self._clock() < self._ends_at else None

    async def _keep_renewed(self) -> None:
        while True:
            life = await keep_trying(
                self._renew,
                action="service_token.failed",
                on=TokenUnavailable,
                first=limits.TOKEN_PAUSE,
                longest=limits.LONGEST_TOKEN_PAUSE,
            )
            await asyncio.sleep(max(1.0, life * _RENEW_AFTER))

    async def _renew(self) -> float:
        """Fetch a token and hold it; return its life in seconds. Raises TokenUnavailable."""
        self._answered.clear()
        began = self._clock()
        try:
            self._held = await self.fetch()
        except TokenUnavailable as error:
            self._why = str(error)
            raise
        finally:
            self._answered.set()
        self._ends_at = began + self._held.life
        return self._held.life

    async def fetch(self) -> FetchedToken:
        """Ask for a token, within limits.TOKEN. Raises TokenUnavailable."""
        proof: ClientProof | None = None
        try:
            proof = await asyncio.to_thread(
                client_proof, self._client.client_id, self._client.secret_file, self._client.key_file
            )
            async with asyncio.timeout(limits.TOKEN):
                return await self._fetched(proof)
        except (httpx2.HTTPError, httpx2.InvalidURL, OAuthError, OSError, ConfigurationError) as error:
            why = _why(error, proof)
        except _UNREADABLE as error:
            why = _why(error, proof)
        self._metadata = None  # perhaps the endpoint has moved
        raise TokenUnavailable(why)

    async def _fetched(self, proof: ClientProof) -> FetchedToken:
        if self._metadata is None:
            async with HttpClient() as http:
                page = await discovery_page(self._client.issuer, http, limits.TOKEN)
            self._metadata = TokenMetadata.model_validate(page)
        async with proof.client(self._metadata, limits.TOKEN) as http:
            answer: Any = await http.fetch_token(
                self._metadata.token_endpoint, grant_type="client_credentials", **self._client.more
            )
        return _read(dict(answer))


def _read(answer: dict[str, Any]) -> FetchedToken:
    """Return the token of an answer. Raises ValueError, which holds nothing of the answer."""
    said = {name: value for name, value in answer.items() if value is not None}
    token = _TokenJson.model_validate(said)
    if token.token_type.lower() != "bearer":
        raise ValueError(f"the token is of the type {summary(token.token_type)[:40]}, not Bearer")
    if not _TOKEN.fullmatch(token.access_token):
        raise ValueError("the token has characters that no bearer token has (RFC 6750)")
    return FetchedToken(token.access_token, min(token.expires_in, LONGEST_LIFE))


def _why(error: Exception, proof: ClientProof | None) -> str:
    """Return what an operator may read of it."""
    match error:
        case TimeoutError():
            return f"the sign-in service gave no token within {limits.TOKEN:g} seconds"
        case OAuthError():
            said = f"{summary(str(error.error))[:60]}: {summary(str(error.description or 'no description'))}"
            secret = proof.secret if proof else None
            return f"the sign-in service answered {said.replace(secret, '…') if secret else said}"
        case ConfigurationError():
            return str(error)
        case httpx2.HTTPError() | WrongIssuer() | OSError():
            return why_unreadable(error)
        case ValueError() if type(error) is ValueError:
            return summary(str(error))
    return f"the answer of the sign-in service cannot be read: {why_unreadable(error)}"


def service_token(settings: ServiceSettings) -> ServiceToken:
    """Return the token for the other service that these settings choose. Nothing is read or asked yet."""
    client = token_client(settings)
    if client is not None:
        return ClientToken(client)
    if settings.service_token_file is None:
        raise ConfigurationError("SERVICE_TOKEN_FILE or SERVICE_CLIENT_ID must be set")
    return TokenFile(settings.service_token_file)


def token_client(settings: ServiceSettings) -> TokenClient | None:
    """Return the client that fetches the tokens for the other service; None: a file has them."""
    if settings.service_client_id is None:
        return None
    return TokenClient(
        issuer=settings.service_token_issuer or settings.oidc_issuer,
        client_id=settings.service_client_id,
        secret_file=settings.service_client_secret_file,
        key_file=settings.service_client_key_file,
        scope=settings.service_token_scope,
        audience=settings.service_token_audience,
        resource=settings.service_token_resource,
    )
