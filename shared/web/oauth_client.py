"""Authlib's client of an authorisation server, within our limits, and how it proves which client it is.

The same for the sign-in of staff and for the tokens with which services call others.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import quote_plus

from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.auth import ClientAuth, encode_client_secret_basic
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey
from pydantic import AfterValidator, BaseModel

from shared.kernel.errors import ConfigurationError
from shared.kernel.files import read_file
from shared.platform.http_client import BoundedReplies, trusted_authorities
from shared.platform.settings import require_tls

BASIC, POST, PRIVATE_KEY, PUBLIC = "client_secret_basic", "client_secret_post", "private_key_jwt", "none"
ASSERTION_SECONDS = 60
"""How long a signed proof of which client it is counts (RFC 7523, section 3)."""
_ALGORITHMS: Mapping[str, tuple[str, ...]] = {
    "RSA": ("PS256", "RS256", "PS384", "RS384", "PS512", "RS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("Ed25519", "EdDSA"),
}
Endpoint = Annotated[str, AfterValidator(require_tls)]


class BoundedClient(BoundedReplies, AsyncOAuth2Client):  # type: ignore[misc] # Authlib has no types
    """Authlib's client, with limits on what it reads."""


class TokenMetadata(BaseModel):
    """What is needed of a server's metadata to ask its token endpoint (RFC 8414, section 2)."""

    issuer: str
    token_endpoint: Endpoint
    token_endpoint_auth_methods_supported: Sequence[str] = (BASIC,)
    token_endpoint_auth_signing_alg_values_supported: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ClientProof:
    """How a client proves which one it is: by a secret, by the signature of a private key, or not at all."""

    client_id: str
    secret: str | None = None
    key: Key | None = None

    def method(self, offered: TokenMetadata) -> str:
        """Return the method of authentication: by Basic, unless only a form field is offered."""
        if self.key is not None:
            return PRIVATE_KEY
        if not self.secret:
            return PUBLIC
        methods = offered.token_endpoint_auth_methods_supported
        return POST if POST in methods and BASIC not in methods else BASIC

    def client(self, offered: TokenMetadata, seconds: float, **more: Any) -> BoundedClient:
        """Return a client for this server. `seconds`: the time limit of one request."""
        client: BoundedClient = cast("Any", BoundedClient)(
            self.client_id,
            self.key or self.secret,
            token_endpoint_auth_method=self.method(offered),
            timeout=seconds,
            verify=trusted_authorities(),
            **more,
        )
        for way in self.ways(offered):
            client.register_client_auth_method(way)
        return client

    def ways(self, offered: TokenMetadata) -> list[Any]:
        """Return what Authlib has to know of the methods of authentication beyond its own."""
        ways: list[Any] = [(BASIC, basic)]
        if self.key is not None:
            ways.append(_signed(self.key, offered))
        return ways


def basic(client: ClientAuth, *request: Any) -> Any:
    """Authenticate with both in form-encoding, as RFC 6749 section 2.3.1 says: Authlib leaves that out."""
    encoded = ClientAuth(quote_plus(client.client_id), quote_plus(client.client_secret))
    return encode_client_secret_basic(encoded, *request)


def _signed(key: Key, offered: TokenMetadata) -> PrivateKeyJWT:
    """Authenticate by a signature (RFC 7523, section 2.2), for the token endpoint and a short time."""
    return PrivateKeyJWT(
        offered.token_endpoint,
        claims={"exp": int(time.time()) + ASSERTION_SECONDS},
        headers={"kid": key.kid} if key.kid else {},
        alg=_algorithm(key, offered.token_endpoint_auth_signing_alg_values_supported),
    )


def _algorithm(key: Key, offered: Sequence[str]) -> str:
    possible = _ALGORITHMS[_kind(key)]
    if chosen := key.get("alg"):
        return str(chosen)
    fallback = "RS256" if _kind(key) == "RSA" else possible[0]  # what every server has to know
    return next((name for name in possible if name in offered), fallback)


def _kind(key: Key) -> str:
    return "RSA" if isinstance(key, RSAKey) else str(key.get("crv"))


def client_proof(client_id: str, secret_file: Path | None, key_file: Path | None) -> ClientProof:
    """Return the proof that these files hold: they are read now. Raises ConfigurationError or OSError."""
    return ClientProof(
        client_id,
        secret=read_file(secret_file).strip() if secret_file else None,
        key=read_private_key(key_file) if key_file else None,
    )


def read_private_key(path: Path) -> Key:
    """Return the private key in a PEM file or a JSON Web Key. Raises ConfigurationError or OSError.

    Nothing of the key is in the error.
    """
    text = read_file(path, "ascii").strip()
    for imported in (_from_json, RSAKey.import_key, ECKey.import_key, OKPKey.import_key):
        try:
            key: Key = imported(text)
            if key.is_private and not isinstance(key, OctKey) and _kind(key) in _ALGORITHMS:
                return key
        except (JoseError, ValueError, TypeError, LookupError, AttributeError):
            continue
    raise ConfigurationError(
        f"{path}: it must hold one private key in PEM or as a JSON Web Key:"
        " RSA, P-256, P-384, P-521 or Ed25519"
    )


def _from_json(text: str) -> Key:
    return JWKRegistry.import_key(json.loads(text))
