"""Keys and tokens of the local stack, kept in its folder and valid only there."""

import base64
import fcntl
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import OKPKey

CLIENT_ID = "counter"  # the counter's pages, as the issuer knows them
LIFETIME = 30 * 24 * 3600  # seconds; every start creates new tokens

BOTH = ["registration", "identity"]
"""The audience of a token for both services."""
TOKENS: dict[str, dict[str, Any]] = {
    "counter": {"aud": "registration", "sub": "m.visser", "scope": "counter", "organisation": "1001"},
    "counter_other": {"aud": "registration", "sub": "k.bakker", "scope": "counter", "organisation": "2002"},
    "operator": {
        "aud": BOTH,
        "sub": "beheer",
        "scope": "operator installation accounts metrics",
        "organisation": "1001",
    },
    "wisecat": {
        "aud": "identity",
        "sub": "wisecat",
        "scope": "login",
        "organisation": ["1001", "2002", "3003"],
    },
    "feed": {"aud": BOTH, "sub": "feed-reader", "scope": "feed"},
}
SERVICE_TOKENS: dict[str, dict[str, Any]] = {
    "registration": {"aud": "identity", "sub": "registration", "scope": "feed accounts installation"},
    "identity": {"aud": "registration", "sub": "identity", "scope": "feed"},
    "wisecat": TOKENS["wisecat"],
    "metrics": {"aud": BOTH, "sub": "metrics", "scope": "metrics"},
}
"""What each program finds in its own file; that of `metrics` is for a Prometheus."""


class Credentials:
    """Keys and tokens of one stack, in `run_dir/keys` (mode 0700). Only tokens are new at every start.

    `issuer`: the address of the sign-in service. Bearer tokens name it as their issuer too, but the services
    read the public key from the file `jwks`.
    """

    def __init__(self, run_dir: Path, issuer: str) -> None:
        self.issuer = issuer
        self._folder = run_dir / "keys"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.person_ref_key = self._secret("person_ref.key")
        self.session_key = self._secret("session.key")
        self.jwks = self._folder / "jwks.json"
        self._signing_key = issuer_key(run_dir)
        write_privately(self.jwks, json.dumps({"keys": [self._signing_key.as_dict(private=False)]}))
        for service, claims in SERVICE_TOKENS.items():
            write_privately(self.service_token(service), self._token(claims))

    def master_key(self, service: str) -> Path:
        """Return the file of one service's master key: neither service can decrypt the other's data."""
        return self._secret(f"{service}-master.key")

    def message_key(self, service: str) -> Path:
        """Return the file of the key that signs the messages of one service; both services hold it."""
        return self._secret(f"{service}-messages.key")

    def service_token(self, service: str) -> Path:
        """Return the file of the token with which a service calls the other."""
        return self._folder / f"{service}.token"

    def tokens(self) -> dict[str, str]:
        """Return new tokens for people and programs, by their names in `stack.json`."""
        return {name: self._token(claims) for name, claims in TOKENS.items()}

    def _secret(self, name: str) -> Path:
        path = self._folder / name
        if not path.exists():
            write_privately(path, base64.b64encode(secrets.token_bytes(32)).decode())
        return path

    def _token(self, claims: dict[str, Any]) -> str:
        now = int(time.time())
        everything: dict[str, Any] = {"iss": self.issuer, "iat": now, "exp": now + LIFETIME} | claims
        header = {"alg": "Ed25519", "kid": self._signing_key.kid, "typ": "at+jwt"}
        return jwt.encode(header, everything, self._signing_key, algorithms=["Ed25519"])


def issuer_key(run_dir: Path) -> OKPKey:
    """Return the key that signs the stack's tokens. Create it if it does not exist."""
    path = run_dir / "keys" / "issuer.json"
    if not path.exists():
        key = OKPKey.generate_key("Ed25519", {"use": "sig", "alg": "Ed25519"}, auto_kid=True)
        write_privately(path, json.dumps(key.as_dict(private=True)))
    return OKPKey.import_key(json.loads(path.read_text(encoding="utf-8")))


def write_privately(path: Path, text: str) -> None:
    """Write a file that only its owner can read. It is replaced at once: no reader sees a part of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


class NoLocalStack(Exception):
    """This program asks for no password, so it runs beside a running local stack only."""


def stack_must_run(run_dir: Path) -> None:
    """Raise NoLocalStack unless a stack runs in this folder: a running stack holds the folder's lock."""
    try:
        with (run_dir / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    except OSError:
        pass
    raise NoLocalStack(f"{NoLocalStack.__doc__} No stack runs in {run_dir}.")
