"""Canaille (PyPI): a directory of accounts with SCIM 2.0 and an OpenID Connect provider, in one server.

What it does of its own accord, and tests rely on: it ignores `filter` and returns everybody with status 200,
`active` is false for a locked user, ids are UUIDs, only the enterprise extension can hold a home card,
and tokens of client credentials are opaque. The `sub` of a user is the username.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.local.ports import LOOPBACK, answers, free_port
from infra.local.processes import Program
from tests.support.peers import met
from tests.support.peers.environments import PeerMissing, peer_python

SCIM_CLIENT = "landelijk-lenen"
OIDC_CLIENT = "counter"
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class CanailleUser:
    """A user. The home card is in the enterprise extension: `organization` and `employeeNumber`."""

    user_name: str
    emails: Sequence[str] = ()
    password: str | None = None
    display_name: str | None = None
    given_name: str | None = None
    family_name: str = "Jansen"
    organization: str | None = None
    employee_number: str | None = None
    groups: Sequence[str] = ()
    locked: bool = False


@dataclass
class Canaille:
    """A running server. Both clients may use `client_secret_basic`; `redirect_uris` are the OIDC client's."""

    url: str
    version: str
    scim_client: str
    scim_secret: str
    oidc_client: str
    oidc_secret: str
    server: Program = field(repr=False)

    @property
    def scim_url(self) -> str:
        """The base address of SCIM 2.0."""
        return f"{self.url}/scim/v2"

    @property
    def token_url(self) -> str:
        """Where tokens come from: also by client credentials (RFC 6749, section 4.4)."""
        return f"{self.url}/oauth/token"


@contextmanager
def canaille(
    users: Sequence[CanailleUser] = (),
    *,
    redirect_uris: Sequence[str] = (),
    post_logout_redirect_uris: Sequence[str] = (),
    keys: Sequence[dict[str, Any]] = (),
    port: int | None = None,
) -> Iterator[Canaille]:
    """Serve Canaille on a free port while the context lasts. `keys`: its private JWKs; none: new ones.

    Raises PeerMissing when it cannot be installed or does not start.
    """
    port = port or free_port()
    url = f"http://{LOOPBACK}:{port}"
    scim_secret, oidc_secret = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    settings = {
        "port": port,
        "secret_key": secrets.token_urlsafe(24),
        "keys": list(keys),
        "users": [_user(user) for user in users],
        "clients": [
            _scim_client(url, scim_secret),
            _oidc_client(url, oidc_secret, redirect_uris, post_logout_redirect_uris),
        ],
    }
    with TemporaryDirectory(prefix="canaille-") as folder:
        server = _started(settings, Path(folder))
        version = server.log.read_text().split()[0]
        met(f"canaille {version} (SCIM 2.0 and OpenID Connect)")
        try:
            yield Canaille(url, version, SCIM_CLIENT, scim_secret, OIDC_CLIENT, oidc_secret, server)
        finally:
            server.stop()


def _user(user: CanailleUser) -> dict[str, Any]:
    known = {name: getattr(user, name) for name in CanailleUser.__slots__}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in known.items() if value
    }


def _client(url: str, client_id: str, secret: str) -> dict[str, Any]:
    return {
        "client_id": client_id,
        "client_secret": secret,
        "client_name": client_id,
        "client_uri": url,
        "token_endpoint_auth_method": "client_secret_basic",
    }


def _scim_client(url: str, secret: str) -> dict[str, Any]:
    return _client(url, SCIM_CLIENT, secret) | {"grant_types": ["client_credentials"], "scope": ["openid"]}


def _oidc_client(
    url: str, secret: str, redirect_uris: Sequence[str], post_logout_redirect_uris: Sequence[str]
) -> dict[str, Any]:
    return _client(url, OIDC_CLIENT, secret) | {
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        "response_types": ["code"],
        "redirect_uris": list(redirect_uris),
        "post_logout_redirect_uris": list(post_logout_redirect_uris),
        "scope": ["openid", "profile", "email", "groups"],
    }


def _started(settings: dict[str, Any], folder: Path) -> Program:
    """Start it, and return when its port is open."""
    file = folder / "settings.json"
    file.write_text(json.dumps(settings))
    script = Path(__file__).with_name("canaille_server.py")
    server = Program("canaille", [str(peer_python("canaille")), "-P", str(script), str(file)], folder / "log")
    server.spawn()
    deadline = time.monotonic() + _START_SECONDS
    while not answers(settings["port"]):
        if not server.running or time.monotonic() > deadline:
            server.stop()
            raise PeerMissing(f"canaille did not start: {server.last_words(20)}")
        time.sleep(0.05)
    return server
