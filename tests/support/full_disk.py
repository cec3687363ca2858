"""The disk of a PostgreSQL server that is full when a test says so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from infra.local.postgres import Postgres


class Disk(Protocol):
    """The disk of a server."""

    def fill(self) -> None:
        """Leave no byte."""

    def free(self) -> None:
        """Make room again."""


class RealDisk:
    """A file system in memory, which shrinks to what is on it."""

    def __init__(self, folder: Path, size_mib: int) -> None:
        self._folder = folder
        self._size = size_mib * 2**20

    def fill(self) -> None:
        """Leave no byte. The server may write meanwhile: then it is measured again."""
        while not self._resize(self._used()):
            pass

    def free(self) -> None:
        """Make room again."""
        assert self._resize(self._size)

    def _used(self) -> int:
        disk = os.statvfs(self._folder)
        return (disk.f_blocks - disk.f_bfree) * disk.f_frsize

    def _resize(self, size: int) -> bool:
        command = ["mount", "-o", f"remount,size={size}", str(self._folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


DATABASES = """
SELECT datname FROM pg_database
 WHERE NOT datistemplate AND datname <> 'postgres' AND datname NOT LIKE '%template%'
"""


class FaultyServer:
    """Where nobody may mount: the server says to each write what it says when its disk is full."""

    def __init__(self, server: Postgres) -> None:
        self._server = server

    def fill(self) -> None:
        """Let the log take nothing, and temporary files neither."""
        for database in self._server.sql(DATABASES).split():
            self._server.sql(
                "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;"
                "CREATE TRIGGER no_space BEFORE INSERT ON stored_events EXECUTE FUNCTION no_space()",
                database,
            )
        self._server.sql("ALTER SYSTEM SET temp_file_limit = '1kB'")
        self._server.sql("SELECT pg_reload_conf()")

    def free(self) -> None:
        """Let it write again."""
        for database in self._server.sql(DATABASES).split():
            self._server.sql("DROP FUNCTION IF EXISTS no_space() CASCADE", database)
        self._server.sql("ALTER SYSTEM RESET temp_file_limit")
        self._server.sql("SELECT pg_reload_conf()")


@contextmanager
def mounted(folder: Path, size_mib: int) -> Iterator[bool]:
    """Let a folder be a file system of its own in memory, if this user may mount; yield whether it is."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0700", "tmpfs", str(folder)]
    is_mounted = os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def disk_of(server: Postgres, folder: Path, size_mib: int, *, is_mounted: bool) -> Disk:
    """Return the disk of a server below that folder."""
    return RealDisk(folder, size_mib) if is_mounted else FaultyServer(server)
