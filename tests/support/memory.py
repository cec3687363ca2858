"""Folders of servers in memory where there is room: each test has a database, for which a disk is slow."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in memory on every Linux
ENOUGH = 6 * 1024**3
"""Bytes, free in memory and in that folder: a whole run leaves two thirds of it."""
PREFIX = "landelijk-lenen-tests-"


@contextmanager
def servers_folder(name: str) -> Iterator[Path]:
    """A folder for the data of a server, in memory or on the disk; it is gone afterwards.

    A run that was killed cannot remove its folders: the next one does.
    """
    in_memory = MEMORY.is_dir() and min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available)
    root = MEMORY if in_memory > ENOUGH else Path(tempfile.gettempdir())
    for left in root.glob(f"{PREFIX}*-*"):
        if not psutil.pid_exists(int(left.name.removeprefix(PREFIX).split("-")[0])):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(f"-{name}", f"{PREFIX}{os.getpid()}-", root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_in_memory(folder: Path) -> bool:
    """Whether writing there is only copying."""
    return folder.is_relative_to(MEMORY)
