"""Files: who can read those that we write; and those read as a whole, such as settings, keys and tables.

They have a largest size, so that no wrong path fills the memory.
"""

import errno
import os
from pathlib import Path

LARGEST_FILE = 1024 * 1024
"""In bytes. Settings and keys have some thousands."""


def keep_files_private() -> None:
    """Make all files and folders of this process and its children from now on for their owner only.

    Every program calls it first, so no place that writes a file has to think of its mode.
    """
    os.umask(0o077)


def read_file(path: Path, encoding: str = "utf-8", *, largest: int = LARGEST_FILE) -> str:
    """Read a text file of at most `largest` bytes; every line end becomes `\\n`.

    Raises OSError, also when the file is larger, and UnicodeDecodeError.
    """
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"the file has more than {largest} bytes", str(path))
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
