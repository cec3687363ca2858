"""No two who look for a port at the same time get the same one."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.local import ports
from infra.local.ports import free_port, kept_port

FEW = 40
TAKE = f"""
import sys
from infra.local import ports
ports._FIRST, ports._LAST = 31_000, 31_000 + {2 * FEW} - 1
print(*(ports.free_port() for _ in range({FEW // 2})), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def few_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that chance alone would soon give one away twice."""
    monkeypatch.setattr(ports, "_FIRST", 31_000)
    monkeypatch.setattr(ports, "_LAST", 31_000 + 2 * FEW - 1)


def test_a_port_is_given_away_once_among_processes_and_within_one() -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", TAKE]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        theirs = [int(port) for port in other.stdout.readline().split()]
        ours = [free_port() for _ in range(FEW // 2)]
        other.kill()
    assert len({*theirs, *ours}) == 2 * (FEW // 2), (theirs, ours)


def test_a_kept_port_of_another_process_is_not_taken(tmp_path: Path) -> None:
    pipe, file = subprocess.PIPE, tmp_path / "port"
    with subprocess.Popen([sys.executable, "-c", TAKE], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline().split()[0])
        file.write_text(str(theirs), "ascii")
        assert kept_port(file) != theirs
        other.kill()
    file.write_text(str(theirs), "ascii")
    assert kept_port(file) == theirs, "who took it is gone"
