"""The sign-in service without passwords runs beside a running local stack, and nowhere else."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.credentials import NoLocalStack, issuer_key, stack_must_run
from infra.local.ports import free_port, kept_port


def test_outside_a_running_stack_it_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    issuer_key(tmp_path)
    (tmp_path / "lock").touch()  # a stack was here, and is gone
    command = [sys.executable, "-m", "infra.local.issuer", "--port", str(free_port())]
    where = [
        "--counter",
        "http://127.0.0.1:1",
        "--catalogue",
        "http://127.0.0.1:2",
        "--run-dir",
        str(tmp_path),
    ]
    done = subprocess.run([*command, *where], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "beside a running local stack only" in done.stderr


def test_it_knows_a_running_stack_by_its_lock(tmp_path: Path) -> None:
    with pytest.raises(NoLocalStack):
        stack_must_run(tmp_path / "nothing")
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stack_must_run(tmp_path)
    with pytest.raises(NoLocalStack):
        stack_must_run(tmp_path)


def test_its_port_stays_over_restarts_so_that_tokens_do(tmp_path: Path) -> None:
    port = kept_port(tmp_path / "sign_in.port")
    assert kept_port(tmp_path / "sign_in.port") == port
