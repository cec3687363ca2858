"""Files that are read as a whole: settings, keys, tables. With a limit no wrong path fills the memory."""

import errno
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.kernel.errors import ConfigurationError

T = TypeVar("T")

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


def read_table(path: Path, table: str, reader: TypeAdapter[T], context: object = None) -> T:
    """Return one table of a TOML file; empty if it is not there. Raises ConfigurationError or OSError.

    `context`: what its validators need to know.
    """
    try:
        return reader.validate_python(tomllib.loads(read_file(path)).get(table, {}), context=context)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not written in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in (table, *fault["loc"]))
        raise ConfigurationError(f"{path}: {where}: {fault['msg']}") from error
