"""What every command does before its own work."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """
import sys
from pathlib import Path
import typer
from shared.cli.running import run

app = typer.Typer()

@app.command()
def write(folder: Path) -> None:
    folder.mkdir()
    (folder / "report.csv").write_text("a,b")

run(app, "registration")
"""


def test_what_a_command_writes_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    command = [sys.executable, "-c", COMMAND, str(folder)]
    subprocess.run(command, check=True, umask=0o022)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "report.csv").stat().st_mode) == 0o600


@pytest.mark.parametrize("module", ["infra.local.home_library", "infra.local.issuer", "infra.local.wisecat"])
def test_what_a_program_of_the_local_stack_writes_is_for_its_owner_only(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is started by hand."""
    before = os.umask(0o022)
    try:
        monkeypatch.setattr(sys, "argv", [module, "--help"])
        with pytest.raises(SystemExit):
            __import__(module, fromlist=["main"]).main()
        assert os.umask(0o022) == 0o077
    finally:
        os.umask(before)
