"""Files that are read as a whole: settings, keys, tables. With a limit no wrong path fills the memory."""

import errno
from pathlib import Path

LARGEST_FILE = 1024 * 1024
"""In bytes. Settings and keys have some thousands."""


def read_file(path: Path, encoding: str = "utf-8", *, largest: int = LARGEST_FILE) -> str:
    """Read a text file of at most `largest` bytes; every line end becomes `\\n`.

    Raises OSError, also when the file is larger, and UnicodeDecodeError.
    """
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"the file has more than {largest} bytes", str(path))
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
