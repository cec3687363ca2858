"""The issuer's public keys: from a file, an address, or found by OpenID Connect discovery at the issuer."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import httpx
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, OctKey

log = structlog.get_logger(__name__)

ReadKeys = Callable[[], Awaitable[dict[str, Any]]]


class KeysUnavailable(Exception):
    """The keys of the sign-in service cannot be read, so that no token can be checked."""


class KeySource(Protocol):
    """Where public keys are found by key id."""

    async def find(self, key_id: str | None) -> Key:
        """The key; raises `LookupError` for an unknown id, `KeysUnavailable` when none was ever read."""
        ...


class JwksKeys:
    """Keys of one JSON Web Key Set (RFC 7517), read anew for an unknown key id and once in `max_age`.

    An unknown id is asked for at most once in `min_interval`: tokens with made-up ids must not turn into
    a load on the sign-in service. Times in seconds.
    """

    def __init__(self, read: ReadKeys, *, min_interval: float = 5.0, max_age: float = 300.0) -> None:
        self._read = read
        self._min_interval = min_interval
        self._max_age = max_age
        self._keys: dict[str, Key] = {}
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, key_id: str | None) -> Key:
        """See `KeySource`. A token without a key id is fine as long as there is only one key."""
        if self._age() > self._max_age or self._known(key_id) is None:
            await self._read_again(key_id)
        key = self._known(key_id)
        if key is not None:
            return key
        if not self._keys:
            raise KeysUnavailable
        raise LookupError("unknown key id")

    async def ready(self) -> None:
        """Raises `KeysUnavailable` when no key is known and none can be read."""
        if not self._keys:
            await self._read_again(None)
        if not self._keys:
            raise KeysUnavailable

    def _known(self, key_id: str | None) -> Key | None:
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id) if isinstance(key_id, str) else None

    def _age(self) -> float:
        return time.monotonic() - self._tried_at

    async def _read_again(self, key_id: str | None) -> None:
        async with self._lock:
            stale = self._age() > self._max_age
            if not stale and (self._known(key_id) is not None or self._age() < self._min_interval):
                return
            self._tried_at = time.monotonic()
            try:
                self._keys = _public_keys(await self._read())
            except (OSError, ValueError, LookupError, TypeError, httpx.HTTPError) as error:
                # The keys in hand go on serving: a sign-in service that is down must not close every counter.
                log.warning("token_keys_unreadable", error=type(error).__name__)


def _public_keys(key_set: dict[str, Any]) -> dict[str, Key]:
    keys: dict[str, Key] = {}
    for entry in key_set["keys"]:
        try:
            key = JWKRegistry.import_key(entry)
        except JoseError:
            continue  # RFC 7517 section 5: a kind of key that is not understood is passed over
        if not isinstance(key, OctKey) and entry.get("use", "sig") == "sig":
            key.ensure_kid()
            keys[str(key.kid)] = key
    return keys


def keys_of(issuer: str, location: str | None, http: httpx.AsyncClient) -> JwksKeys:
    """The keys at `location` (an https address or a file), or where the issuer's discovery page says."""
    if location is None:
        return JwksKeys(lambda: _discovered(issuer, http))
    if location.startswith(("http://", "https://")):
        return JwksKeys(lambda: _fetched(location, http))
    return JwksKeys(lambda: _from_file(Path(location)))


async def _discovered(issuer: str, http: httpx.AsyncClient) -> dict[str, Any]:
    page = await _fetched(issuer.rstrip("/") + "/.well-known/openid-configuration", http)
    if page["issuer"] != issuer:
        raise ValueError("the discovery page is another issuer's")
    return await _fetched(page["jwks_uri"], http)


async def _fetched(url: str, http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get(url, timeout=5.0)
    answer.raise_for_status()
    return _mapping(answer.json())


async def _from_file(path: Path) -> dict[str, Any]:
    return _mapping(json.loads(await asyncio.to_thread(path.read_text)))


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return value
