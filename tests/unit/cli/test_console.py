"""A person who waits sees how far it is, how fast, and how long still; a script sees nothing."""

import io
import re
import sys

import pytest

from shared.cli.console import progress_bar


class Terminal(io.StringIO):
    """Standard error, when a person looks at it."""

    def isatty(self) -> bool:
        return True


def everything_done(environment: pytest.MonkeyPatch, stderr: io.StringIO) -> str:
    """Work through a thousand, whose number is known only on the way; what was shown of it."""
    environment.setattr(sys, "stderr", stderr)
    with progress_bar("exporting", unit="events") as done:
        done.expect(1000)
        for _ in range(4):
            done(250)
    return stderr.getvalue()


@pytest.fixture
def coloured(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A terminal that knows colours."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    return monkeypatch


def test_a_terminal_shows_how_far_how_fast_and_how_long(coloured: pytest.MonkeyPatch) -> None:
    shown = everything_done(coloured, Terminal())
    assert "\x1b[" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "exporting" in plain
    assert "1000/1000" in plain
    assert re.search(r"[\d,]+ events/s", plain)
    assert re.search(r"ETA 0:00:00", plain)


def test_a_script_sees_nothing(coloured: pytest.MonkeyPatch) -> None:
    assert everything_done(coloured, io.StringIO()) == ""
