"""Secrets in files: key files, keys and handles made from them, modes."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.kernel.files import read_file

KEY_BYTES = 32


def readable_by_others(paths: Iterable[Path]) -> list[str]:
    """Return the files that the group or others can read, with their modes. Missing files are left out."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths if path.exists()}
    return [f"{path} (mode {mode:03o})" for path, mode in modes.items() if mode & 0o044]


class MalformedKeyFile(ValueError):
    """A key file must hold one or more lines, each with 32 bytes in base64."""


def read_key_file(path: Path | str) -> list[bytes]:
    """Read the keys of a file, the newest first.

    Raises MalformedKeyFile, which names the file and never shows a key, and OSError.
    """
    lines = [line.strip() for line in read_file(Path(path), "ascii").splitlines() if line.strip()]
    try:
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except binascii.Error:
        keys = []
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise MalformedKeyFile(f"{path}: it must hold one or more lines, each with 32 bytes in base64")
    return keys


def derived_key(key: bytes, purpose: str) -> bytes:
    """Return the key of 32 bytes for one purpose, derived by HKDF-SHA-256 (RFC 5869).

    Keys of different purposes say nothing about each other or about `key`, so one key file serves several.
    """
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(key)


class HandleInvalid(ValueError):
    """The handle has expired, was changed, or is for another caller."""


_NONCE_BYTES = 12


class Handles:
    """Short texts that hold something for a while, which nobody without the key can read or make (ADR 0022).

    AES-256-GCM under keys derived from `keys` for this purpose: the newest seals, all open. A handle opens
    only with the texts to which it was `bound` when it was made.
    """

    def __init__(self, keys: Sequence[bytes], purpose: str, lifetime: timedelta) -> None:
        self._ciphers = [AESGCM(derived_key(key, purpose)) for key in keys]
        self.lifetime = lifetime

    def seal(self, content: object, bound: Sequence[str], now: datetime) -> str:
        """Return a handle that holds this content until `lifetime` from now. `content` becomes JSON."""
        plain = orjson.dumps([content, (now + self.lifetime).timestamp()])
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, plain, orjson.dumps(list(bound)))
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, handle: str, bound: Sequence[str], now: datetime) -> Any:
        """Return the content. Raises HandleInvalid."""
        content, expires_at = orjson.loads(self._decrypted(handle, orjson.dumps(list(bound))))
        if expires_at <= now.timestamp():
            raise HandleInvalid
        return content

    def _decrypted(self, handle: str, bound: bytes) -> bytes:
        try:
            sealed = base64.urlsafe_b64decode(handle)
        except ValueError:
            raise HandleInvalid from None
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
            except (InvalidTag, ValueError):
                continue
        raise HandleInvalid
