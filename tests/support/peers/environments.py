"""Environments of foreign peers, apart from ours: made by the test run, with pinned versions.

A peer `NAME` of PyPI has its locked requirements with hashes beside this file, in `NAME.txt`.
`make lock-peers` makes it again from `NAME.in`. They name no index: each machine has its own setting for
where packages come from. Environments are in the cache of the user, named by what they are made from, so
that another clone finds them there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "landelijk-lenen", "peers")
UNUSED_SECONDS = 30 * 24 * 3600
"""An environment that no test run has used for so long is removed."""


class PeerMissing(Exception):
    """A foreign peer cannot be installed, so the tests that meet it cannot run. They are not skipped."""


def made_once(name: str, made_from: bytes, make: Callable[[Path], None]) -> Path:
    """The folder that `make` has filled for this peer, now or earlier. Raises PeerMissing."""
    folder = ENVIRONMENTS / f"{name}-{hashlib.sha256(made_from).hexdigest()[:12]}"
    complete = folder / "complete"
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
        complete.touch()
        for other in ENVIRONMENTS.glob(f"{name}-*/complete"):
            if time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(other.parent, ignore_errors=True)
    return folder


def peer_python(name: str) -> Path:
    """The Python of the environment of this peer, which is made when it is missing or its lock has changed.

    Raises PeerMissing with what pip says.
    """
    requirements = HERE / f"{name}.txt"

    def make(folder: Path) -> None:
        # Our own pip installs into it: an environment with a pip of its own takes three seconds longer.
        # What a peer imports is compiled when it is imported: most of it never is.
        run(name, [sys.executable, "-m", "venv", "--without-pip", str(folder)])
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
        options = ("--disable-pip-version-check", "--no-input", "--quiet", "--no-compile")
        locked = ("--require-hashes", "--no-deps", "--requirement", str(requirements))
        run(name, [*pip, "install", *options, *locked])

    return made_once(name, requirements.read_bytes() + sys.version.encode(), make) / "bin" / "python"


def run(name: str, command: Sequence[str], folder: Path | None = None) -> None:
    """Run a command that installs this peer. Raises PeerMissing with what it says."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerMissing(f"{name} cannot be installed: {' '.join(command)}\n{done.stdout}{done.stderr}")
