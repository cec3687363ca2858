"""Secrets in files: key files, keys derived from them, the bearer token for the other service, file modes."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.kernel.files import read_file

KEY_BYTES = 32


def keep_files_private() -> None:
    """Make all files and folders of this process and its children from now on for their owner only.

    Every program calls it first, so no place that writes a file has to think of its mode.
    """
    os.umask(0o077)


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


class ServiceToken:
    """The token in a file. A changed file is read again, so the token can be renewed without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        """Return the current token. Raises OSError when there is no file."""
        status = self._path.stat()
        version = (status.st_mtime_ns, status.st_ino)
        if version != self._read_at:
            self._token = read_file(self._path, "ascii").strip()
            self._read_at = version
        return self._token
