"""Clocks of single processes, which a test moves while they run: libfaketime."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.clock.sitecustomize import FOLDER, LIBRARY
from tests.support.servers import installed_alone

RIGHT = "+0"
HOW_TO_INSTALL = "no libfaketime: `apt-get install faketime` (as root, on Debian or Ubuntu)"


def library() -> Path | None:
    """The library of Debian's package `faketime`, which is installed now where it can be."""
    if (found := _library()) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with installed_alone():
            command = ["apt-get", "install", "--yes", "--no-install-recommends", "libfaketime"]
            subprocess.run(command, capture_output=True, check=False)
        found = _library()
    return found


def _library() -> Path | None:
    return next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


class Clocks:
    """The clocks of the services' processes: a file for each, with the seconds by which it is wrong."""

    def __init__(self, folder: Path, preloaded: Path) -> None:
        self._folder = folder
        self._preloaded = preloaded
        folder.mkdir(parents=True, exist_ok=True)

    def environment(self) -> Mapping[str, str]:
        """What the stack needs in its environment."""
        return {
            "PYTHONPATH": str(Path(__file__).parent),
            FOLDER: str(self._folder),
            LIBRARY: str(self._preloaded),
        }

    @contextmanager
    def wrong(self, process: str, seconds: float) -> Iterator[None]:
        """Let a process's clock be wrong by so many seconds, inside the block."""
        self._set(process, f"{seconds:+.0f}")
        try:
            yield
        finally:
            self._set(process, RIGHT)

    def set_right(self, *processes: str) -> None:
        """Make the files; before the processes start."""
        for process in processes:
            self._set(process, RIGHT)

    def _set(self, process: str, text: str) -> None:
        fresh = self._folder / f".{process}"
        fresh.write_text(f"{text}\n")
        fresh.replace(self._folder / process)
