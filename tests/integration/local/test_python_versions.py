"""`make test-versions`: each version of Python is tested, or named as one that was not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "infra" / "test_versions.sh"
STUB = "#!/bin/sh\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository for two versions of Python that no machine has."""
    (tmp_path / "infra" / "docker").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('requires-python = ">=9.1"\n')
    (tmp_path / "requirements-dev.txt").touch()
    (tmp_path / "infra" / "docker" / "Dockerfile").write_text("ARG PYTHON=python:9.2.4-slim@sha256:0\n")
    made = 'mkdir -p "$1/bin" && printf "#!/bin/sh\\necho ran $PYTHON \\$*\\n" > "$1/bin/python"\n'
    (tmp_path / "infra" / "environment.sh").write_text(made + 'chmod +x "$1/bin/python"\n')
    return tmp_path


def outcome(clone: Path, *versions: str) -> tuple[int, str]:
    """Run it where these versions are on PATH; its exit status and what it printed."""
    programs = clone / "programs"
    programs.mkdir()
    for version in versions:
        (programs / f"python{version}").write_text(STUB)
        (programs / f"python{version}").chmod(0o755)
    done = subprocess.run(
        ["sh", str(SCRIPT)],
        cwd=clone,
        env={"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(clone)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_both_are_tested_where_both_are_there(clone: Path) -> None:
    status, printed = outcome(clone, "9.1", "9.2")
    assert status == 0, printed
    assert "ran python9.1 -m pytest" in printed
    assert "ran python9.2 -m pytest" in printed
    assert printed.endswith("Python tested: 9.1 9.2; NOT TESTED: none\n")


@pytest.mark.parametrize(("there", "status"), [(("9.1",), 3), ((), 1)])
def test_a_version_that_is_missing_is_named_and_is_no_success(
    clone: Path, there: tuple[str, ...], status: int
) -> None:
    found, printed = outcome(clone, *there)
    assert found == status, printed
    assert "NOT TESTED:" in printed
    assert printed.strip().endswith("or pyenv)")
    assert ("ran python9.1 -m pytest" in printed) == bool(there)
    assert "9.2" in printed.splitlines()[-1]
