"""Authentic messages: signed by the other service, and of the log that this service follows (ADR 0020).

A signature is an HMAC-SHA-256 (RFC 2104) over the exact bytes, with one key per direction.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from shared.kernel.errors import ConfigurationError
from shared.messaging.envelope import Message
from shared.messaging.errors import ForeignSource, NotAuthentic
from shared.platform.secrets import read_key_file
from shared.platform.settings import ServiceSettings

KEY_ID_HEADER = "signing-key"
SIGNATURE_HEADER = "signature"


class SigningKeys:
    """The keys of one direction, the newest first. The newest signs, all verify: a key can be rotated."""

    def __init__(self, newest_first: Sequence[bytes]) -> None:
        self._keys = {_key_id(key): key for key in newest_first}
        self._newest = _key_id(newest_first[0])

    @classmethod
    def from_file(cls, path: Path) -> SigningKeys:
        """Read them from a key file. Raises MalformedKeyFile, OSError."""
        return cls(read_key_file(path))

    def sign(self, body: bytes) -> Mapping[str, str]:
        """Return the headers that prove where these bytes come from."""
        return {KEY_ID_HEADER: self._newest, SIGNATURE_HEADER: _mac(self._keys[self._newest], body)}

    def verify(self, body: bytes, headers: Mapping[str, object]) -> None:
        """Raise NotAuthentic unless the headers were made for these bytes with one of the keys."""
        key_id, signature = headers.get(KEY_ID_HEADER), headers.get(SIGNATURE_HEADER)
        if signature is None:
            raise NotAuthentic("it has no signature")
        key = self._keys.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise NotAuthentic("its signing key is not one of ours")
        if not isinstance(signature, str) or not hmac.compare_digest(
            signature.encode(), _mac(key, body).encode()
        ):
            raise NotAuthentic("its signature does not match its content")


@dataclass(frozen=True, slots=True)
class MessageKeys:
    """`own` signs what this service publishes, `others` verifies what it receives."""

    own: SigningKeys
    others: SigningKeys


def message_keys(settings: ServiceSettings) -> MessageKeys:
    """Read the keys of both directions. Raises ConfigurationError, MalformedKeyFile, OSError."""
    own, others = settings.signing_key_file, settings.verification_key_file
    if own is None or others is None:
        name = settings.prefix() + ("SIGNING_KEY_FILE" if own is None else "VERIFICATION_KEY_FILE")
        raise ConfigurationError(f"{name} is not set: messages over RabbitMQ are signed. Name a key file.")
    return MessageKeys(SigningKeys.from_file(own), SigningKeys.from_file(others))


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"signing key id" + key).hexdigest()[:8]


def _mac(key: bytes, body: bytes) -> str:
    return hmac.digest(key, body, hashlib.sha256).hex()


class MessageSources:
    """The other service's log that this service follows: the one that its first authentic message named."""

    def __init__(self, pool: asyncpg.Pool, other: str) -> None:
        self._pool = pool
        self._other = other
        self._followed: str | None = None

    async def require(self, message: Message) -> None:
        """Raise ForeignSource unless the message is of the log that this service follows."""
        if message.source == self._followed:
            return
        if not message.source.startswith(f"/{self._other}/"):
            raise ForeignSource(f"it is from {message.source[:100]!r}, not from {self._other}")
        # Asked again for another log, because an operator may have accepted it meanwhile.
        await self._pool.execute(_FOLLOW_THE_FIRST, self._other, message.source)
        self._followed = await self.followed()
        if message.source != self._followed:
            raise ForeignSource(
                f"it is from {message.source[:100]!r}, this service follows {self._followed!r}"
            )

    async def followed(self) -> str | None:
        """Return the log that this service follows; None before the first authentic message."""
        found: str | None = await self._pool.fetchval(_FOLLOWED, self._other)
        return found


_FOLLOW_THE_FIRST = """
INSERT INTO message_sources (service, source) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
_FOLLOWED = "SELECT source FROM message_sources WHERE service = $1"
