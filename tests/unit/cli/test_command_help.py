"""The `--help` of every command and group of commands, of both services."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from identity.cli.main import app as identity
from registration.cli.main import app as registration


def texts(name: str, command: Any) -> Iterator[tuple[str, str]]:
    """The name and the help of a command and of all commands below it."""
    yield name, f"{command.help}\n{command.epilog or ''}"
    for sub_name, sub_command in getattr(command, "commands", {}).items():
        yield from texts(f"{name} {sub_name}", sub_command)


HELP = [*texts("registration", get_command(registration)), *texts("identity", get_command(identity))]


@pytest.mark.parametrize(("name", "text"), HELP, ids=[name for name, _ in HELP])
def test_the_help_has_an_example_of_this_command(name: str, text: str) -> None:
    assert re.search(rf"^Example: ([A-Z_]+=\S+ )?{name}\b", text, re.MULTILINE)


@pytest.mark.parametrize(("name", "text"), HELP, ids=[name for name, _ in HELP])
def test_the_help_cites_no_rule(name: str, text: str) -> None:
    assert not re.search(r"\b(R\d+|I\d|ADR)\b", text), name
