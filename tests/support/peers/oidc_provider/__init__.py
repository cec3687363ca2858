"""oidc-provider (npm): a certified OpenID Connect provider, which a small script of ours configures.

What it does of its own accord, and tests rely on: it names itself in the answer to a sign-in (RFC 9207), what
it knows of a person is at the userinfo endpoint only, it asks for a consent, tokens for a resource (RFC 8707)
are JWTs of the type `at+jwt`, and it tells clients of a session that ended (back-channel logout).
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from joserfc.jwk import ECKey

from infra.local.ports import LOOPBACK, free_port
from tests.support.peers import met
from tests.support.peers.environments import PeerMissing, made_once, run

HERE = Path(__file__).parent
CLIENT, SERVICE = "counter", "registration"
RESOURCE = "urn:identity"
_FILES = ("package.json", "package-lock.json", "server.js")


@dataclass
class OidcProvider:
    """A running provider. `describe` changes it while it runs; its sessions go on."""

    url: str
    client_secret: str
    service_secret: str
    described: dict[str, Any]
    process: subprocess.Popen[str] = field(repr=False)
    version: str = ""

    def describe(self, **changed: Any) -> None:
        """Change `keys` (private JWKs), `people`, `pushed`, `client` (some of its fields)."""
        if (client := changed.pop("client", None)) is not None:
            first, *others = self.described["clients"]
            changed["clients"] = [first | client, *others]
        self.described |= changed
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(self.described) + "\n")
        self.process.stdin.flush()
        words: list[str] = []
        for line in self.process.stdout:
            if line.startswith("ready "):
                self.version = line.split()[1]
                return
            words.append(line)
        raise PeerMissing(f"oidc-provider does not take this description: {''.join(words[-20:])}")


def new_key(key_id: str) -> dict[str, Any]:
    """A private key for signatures, as a JSON Web Key."""
    key = ECKey.generate_key("P-256", {"kid": key_id, "use": "sig", "alg": "ES256"})
    return dict(key.as_dict(private=True))


@contextmanager
def oidc_provider(
    *,
    counter: str,
    people: Mapping[str, Mapping[str, Any]],
    pushed: Literal["none", "offered", "required"] = "offered",
    seconds: int = 600,
    programs: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Iterator[OidcProvider]:
    """Serve the provider on a free port while the context lasts. `counter`: the address of the pages.

    `people`: claims of who can sign in, by their `sub`. `seconds`: how long the tokens of services live.
    `programs`: more clients with client credentials and the same secret as the service, with the claims of
    their tokens. Raises PeerMissing when it cannot be installed or does not start.
    """
    port, secret, service_secret = free_port(), secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    described = {
        "keys": [new_key("key-1")],
        "algorithm": "ES256",
        "people": people,
        "pushed": pushed,
        "seconds": seconds,
        "scopes": "feed accounts installation counter login",
        "claims": {name: dict(claims) for name, claims in programs.items()},
        "clients": [
            _counter(counter, secret),
            *(_service(name, service_secret) for name in (SERVICE, *programs)),
        ],
    }
    process = _started(port)
    provider = OidcProvider(f"http://{LOOPBACK}:{port}", secret, service_secret, described, process)
    try:
        provider.describe()
        met(f"oidc-provider {provider.version} (OpenID Connect)")
        yield provider
    finally:
        process.kill()
        process.communicate()


def _started(port: int) -> subprocess.Popen[str]:
    if (node := shutil.which("node")) is None:
        raise PeerMissing("oidc-provider needs Node.js: install nodejs and npm")
    return subprocess.Popen(
        [node, "server.js", str(port)],
        cwd=installed(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _counter(address: str, secret: str) -> dict[str, Any]:
    return {
        "client_id": CLIENT,
        "client_secret": secret,
        "redirect_uris": [f"{address}/aanmelden/terug"],
        "post_logout_redirect_uris": [f"{address}/afmelden"],
        "backchannel_logout_uri": f"{address}/aanmelden/einde",
        "backchannel_logout_session_required": True,
        "response_types": ["code"],
        "grant_types": ["authorization_code"],
    }


def _service(name: str, secret: str) -> dict[str, Any]:
    return {
        "client_id": name,
        "client_secret": secret,
        "grant_types": ["client_credentials"],
        "redirect_uris": [],
        "response_types": [],
    }


def installed() -> Path:
    """The folder in which the provider is installed as the lock says, which is made when it is missing."""
    if (npm := shutil.which("npm")) is None:
        raise PeerMissing("oidc-provider cannot be installed: there is no npm; install nodejs and npm")

    def make(folder: Path) -> None:
        folder.mkdir()
        for name in _FILES:
            shutil.copy(HERE / name, folder)
        run("oidc-provider", [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)

    return made_once("oidc-provider", b"".join((HERE / name).read_bytes() for name in _FILES), make)
