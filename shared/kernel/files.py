"""Files: who can read those that we write; and those read as a whole, such as settings, keys and tables.

They have a largest size, so that no wrong path fills the memory.
"""

import errno
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from shared.kernel.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

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


def read_table(path: Path, table: str, reader: "TypeAdapter[T]") -> T:
    """Return one table of a TOML file; empty if it is not there. Raises ConfigurationError or OSError."""
    from pydantic import ValidationError  # noqa: PLC0415 - slow: `--help` must not wait for it

    try:
        return reader.validate_python(tomllib.loads(read_file(path)).get(table, {}))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not written in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in (table, *fault["loc"]))
        raise ConfigurationError(f"{path}: {where}: {fault['msg']}") from error
