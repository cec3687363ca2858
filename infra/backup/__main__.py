"""Back up a server of PostgreSQL, and restore it to any moment, beside the one that runs.

A backup folder has `base/` (base backups, each named after the moment in UTC from which it can be restored)
and `wal/` (the write-ahead log, as it is written). It belongs on another machine than the server. This needs
Python 3.11 and the programs of PostgreSQL in PATH; the server is named as for them: PGHOST, PGPORT, PGUSER,
and a password in PGPASSWORD or ~/.pgpass, of a role that may replicate.

Examples:
  python3 -m infra.backup receive /backup           runs all the time: brings each write within a second
  python3 -m infra.backup base /backup              every night
  python3 -m infra.backup restore /backup /restored --to '2026-11-29 02:00:00+00:00'
  python3 -m infra.backup expire /backup --days 30  every night: a backup has the keys of those erased since
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

SLOT = "landelijk_lenen_backup"
"""The server keeps for its receiver what that has not received yet. It costs space while nobody receives."""
NAME = "%Y%m%dT%H%M%S.%fZ"
SETTINGS = """
# Written by infra.backup: what the server does until it has all that was written up to the moment.
restore_command = 'cp "{wal}/%f" "%p" || cp "{wal}/%f.partial" "%p"'
recovery_target_action = 'promote'
primary_conninfo = ''
primary_slot_name = ''
synchronous_standby_names = ''
"""


class BackupFailed(Exception):
    """The backup or the restore is not done. The text says why, and what to do."""


def base(folder: Path) -> Path:
    """Copy the whole server, check the copy, and return its folder."""
    unfinished = folder / "base" / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = ("--checkpoint=fast", "--wal-method=stream", "--no-password")
    _run("pg_basebackup", f"--pgdata={unfinished}", *options)
    _run("pg_verifybackup", "--quiet", str(unfinished))
    done = unfinished.with_name(datetime.now(UTC).strftime(NAME))
    return unfinished.rename(done)


def receive(folder: Path) -> NoReturn:
    """Become the program that receives the write-ahead log, which ends only with the server's connection."""
    wal = folder / "wal"
    wal.mkdir(mode=0o700, parents=True, exist_ok=True)
    _run("pg_receivewal", f"--slot={SLOT}", "--create-slot", "--if-not-exists", "--no-password")
    options = (f"--directory={wal}", f"--slot={SLOT}", "--synchronous", "--no-password")
    os.execvp("pg_receivewal", ["pg_receivewal", *options])  # noqa: S606, S607 - PostgreSQL's own, in PATH


def restore(folder: Path, data: Path, moment: datetime | None) -> Path:
    """Make a data folder of a server that, once started, is as it was at the moment; None: at the last one.

    Return the base backup that it begins with.
    """
    usable = [path for path in _bases(folder) if moment is None or _ended_at(path) <= moment]
    if not usable:
        raise BackupFailed(f"{folder / 'base'} has no base backup that ended before that moment")
    if data.exists() and any(data.iterdir()):
        raise BackupFailed(f"{data} is not empty: name a new folder, and keep what was there")
    wal = (folder / "wal").resolve()
    if re.search(r"""["'%\\$`]""", str(wal)):
        raise BackupFailed(f"the path {wal} has a character that PostgreSQL would take for its own")
    shutil.copytree(usable[-1], data, symlinks=True, dirs_exist_ok=True)
    data.chmod(0o700)
    target = f"recovery_target_time = '{moment.isoformat()}'\n" if moment else ""
    with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
        settings.write(SETTINGS.format(wal=wal) + target)
    (data / "standby.signal").unlink(missing_ok=True)
    (data / "recovery.signal").touch(mode=0o600)
    return usable[-1]


def expire(folder: Path, days: int) -> list[str]:
    """Delete the base backups that are older, but for the last one before, and what only they need.

    Return what was deleted. The one before the period stays: without it its first days could not be restored.
    """
    before = datetime.now(UTC) - timedelta(days=days)
    old = [path for path in _bases(folder) if _ended_at(path) <= before][:-1]
    for path in old:
        shutil.rmtree(path)
    if old:
        label = (_bases(folder)[0] / "backup_label").read_text("utf-8")
        found = re.search(r"START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)", label)
        if found is None:
            raise BackupFailed(
                f"{_bases(folder)[0]} does not say where it begins: its backup_label is damaged"
            )
        _run("pg_archivecleanup", str(folder / "wal"), found[1])
    return [path.name for path in old]


def _bases(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "base").glob("*Z") if path.is_dir())


def _ended_at(path: Path) -> datetime:
    return datetime.strptime(path.name, NAME).replace(tzinfo=UTC)


def _run(program: str, *options: str) -> None:
    """Run a program of PostgreSQL. Raises BackupFailed with what it says."""
    try:
        done = subprocess.run([program, *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BackupFailed(f"{program} is not in PATH: install the programs of PostgreSQL") from None
    if done.returncode:
        raise BackupFailed(f"{program} failed: {done.stderr.strip()}")


def _moment(text: str) -> datetime | None:
    """Return a moment with its zone, or None for `latest`. Raises ArgumentTypeError."""
    if text == "latest":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise argparse.ArgumentTypeError(
            "write `latest`, or a moment with its zone: 2026-11-29 02:00:00+00:00"
        )
    return moment


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("write a number of days, 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infra.backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, says in (
        ("base", "copy the whole server"),
        ("receive", "receive the write-ahead log"),
        ("restore", "make a data folder as it was"),
        ("expire", "delete what is older"),
    ):
        command = commands.add_parser(name, help=says)
        command.add_argument("folder", type=Path, metavar="FOLDER", help="the backup folder")
        if name == "restore":
            command.add_argument("data", type=Path, metavar="DATA", help="a new folder, for a server beside")
            command.add_argument(
                "--to", type=_moment, required=True, help="`latest`, or a moment with its zone"
            )
        if name == "expire":
            command.add_argument("--days", type=_days, required=True, help="keep what these days need")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    given = _parser().parse_args(arguments)
    os.umask(0o077)
    try:
        sys.stdout.write(_done(given) + "\n")
    except (BackupFailed, OSError) as error:
        sys.exit(f"error: {error}")


def _done(given: argparse.Namespace) -> str:
    match given.command:
        case "base":
            return f"base backup {base(given.folder).name}"
        case "restore":
            begins = restore(given.folder, given.data, given.to)
            return f"{given.data} begins with the base backup {begins.name}. Start a server with it."
        case "expire":
            return f"deleted: {', '.join(expire(given.folder, given.days)) or 'nothing'}"
        case _:
            receive(given.folder)


if __name__ == "__main__":
    main()
