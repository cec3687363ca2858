"""Files with secret keys: one key a line, 32 bytes in base64, the newest first."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

KEY_BYTES = 32


class MalformedKeyFile(ValueError):
    """A key file must hold one or more lines of 32 bytes in base64 each."""


def read_key_file(path: Path | str) -> list[bytes]:
    """Read the keys of a file, newest first; MalformedKeyFile names the file and never shows a key."""
    lines = [line.strip() for line in Path(path).read_text("ascii").splitlines() if line.strip()]
    try:
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except binascii.Error:
        keys = []
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise MalformedKeyFile(f"{path}: one or more lines of 32 bytes in base64 are needed")
    return keys
