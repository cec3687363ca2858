"""The chained seal: each line's seal covers the line and, through the seal before it, all lines before it.

So a line that is changed, missing, added or in another place shows at that line.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path

from shared.key_files import read_key_file

MEMBER = b',"seal":"'


def sealing_keys(master_key_file: Path | str) -> Sequence[bytes]:
    """Derive the keys of the seal from the service's master keys, newest first."""
    return [hmac.digest(key, b"event log file", hashlib.sha256) for key in read_key_file(master_key_file)]


class Chain:
    """The seals of one file, line after line."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._last = bytes(hashlib.sha256().digest_size)

    def seal(self, content: bytes) -> bytes:
        """Make the next line of `content`, a JSON object: the same with its seal as the last member."""
        self._last = hmac.digest(self._key, self._last + content, hashlib.sha256)
        return b"".join((content[:-1], MEMBER, self._last.hex().encode(), b'"}\n'))

    def follows(self, line: bytes) -> bool:
        """Say whether this is the next line of the file, as it was sealed."""
        return hmac.compare_digest(self.seal(content_of(line)), line)


def content_of(line: bytes) -> bytes:
    """Take the seal off a line."""
    return line.rpartition(MEMBER)[0] + b"}"
