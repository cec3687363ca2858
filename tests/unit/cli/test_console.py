"""A person who waits sees how far it is, how fast, and how long still; a script sees nothing."""

import io
import json
import re
import sys

import pytest

from shared.cli.console import echo, progress_bar, show_json, show_pairs, show_records, show_table


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


NASTY = "[/] [red]\x1b[2J\x9b1m\u202eonschuldig\u202c \0 \U000e0041 é"


def test_no_value_drives_the_terminal_or_is_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("name",), [(NASTY,)])
    show_pairs({"name": NASTY})
    echo(NASTY)
    show_records([{"name": NASTY}], as_json=False, empty="")
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert (
        sum(r"[/] [red]\x1b[2J\x9b1m\u202eonschuldig\u202c \x00 \U000e0041 é" in line for line in lines) == 4
    )


def test_json_for_a_script_is_the_same_value_and_drives_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_json({NASTY: [NASTY]})
    line = capsys.readouterr().out.removesuffix("\n")
    assert line.isprintable()
    assert json.loads(line) == {NASTY: [NASTY]}
