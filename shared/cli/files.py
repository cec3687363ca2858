"""Files that commands write and read; `-` is standard output and input."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import typer

from shared.cli.running import Failed

STANDARD = Path("-")


# Typer's own checks of a path take `-` for a file of that name.
def not_a_folder(path: Path) -> Path:
    """Check an argument that names a file to write; a folder is misuse."""
    if path != STANDARD and path.is_dir():
        raise typer.BadParameter(f"{path} is a folder")
    return path


def to_be_read(path: Path) -> Path:
    """Check an argument that names a file to read; that there is none is misuse."""
    if path != STANDARD and not path.exists():
        raise typer.BadParameter(f"{path} does not exist")
    return not_a_folder(path)


@contextmanager
def complete_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when all of it is written; for its owner's eyes only (0600)."""
    if path == STANDARD:
        yield from _standard_output()
        return
    if path.exists() and not path.is_file():
        raise Failed(f"{path} is no ordinary file: name another one, or - for standard output.")
    if not path.parent.is_dir():
        raise Failed(f"There is no folder {path.parent}: make it, or name another file.")
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".partial", delete=False
    ) as partial:
        try:
            yield partial
            partial.flush()
            os.fsync(partial.fileno())
            Path(partial.name).replace(path)
        except BaseException:
            Path(partial.name).unlink()
            raise


def _standard_output() -> Iterator[IO[bytes]]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Python itself would try to write the rest at its end, and complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Failed("Standard output was closed before all of it was written.") from None


@contextmanager
def file_to_read(path: Path) -> Iterator[IO[bytes]]:
    """A file to read, or standard input."""
    if path == STANDARD:
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        yield file
