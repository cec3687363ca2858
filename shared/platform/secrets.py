"""Secrets in files: key files, and the bearer token with which one service calls the other."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from shared.kernel.files import read_file

KEY_BYTES = 32


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
