"""Python environments of foreign peers, apart from ours: made by the test run, with pinned versions.

A peer `NAME` has its locked requirements with hashes beside this file, in `NAME.txt`. `make lock-peers` makes
it again from `NAME.in`. They name no index: each machine has its own setting for where packages come from.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[2] / ".artefacts" / "peers"


class PeerMissing(Exception):
    """A foreign peer cannot be installed, so the tests that meet it cannot run. They are not skipped."""


def peer_python(name: str) -> Path:
    """The Python of the environment of this peer, which is made when it is missing or its lock has changed.

    Raises PeerMissing with what pip says.
    """
    requirements = HERE / f"{name}.txt"
    made_from = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    folder = ENVIRONMENTS / f"{name}-{made_from[:12]}"
    python = folder / "bin" / "python"
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(name, folder, python, requirements)
            (folder / "complete").touch()
    return python


def _make(name: str, folder: Path, python: Path, requirements: Path) -> None:
    # Our own pip installs into it: an environment with a pip of its own takes three seconds longer.
    _run(name, [sys.executable, "-m", "venv", "--without-pip", str(folder)])
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input"]
    # The lock names every package, so nothing is left to resolve: see infra/environment.sh.
    how = ["--quiet", "--no-deps", "--require-hashes"]
    _run(name, [*pip, "install", *how, "--requirement", str(requirements)])


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerMissing(f"{name} cannot be installed: {' '.join(command)}\n{done.stdout}{done.stderr}")
