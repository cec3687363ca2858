"""Each command that changes something for a person, or reads about people, stores who ran it (R20, R22)."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command

from identity.cli.main import app as identity
from registration.cli.main import app as registration
from shared.cli.running import Failed, name_of

STORES_WHO = {
    "registration": {
        *("nightly", "retention", "erasures apply", "guests check", "guests erase"),
        *("parked discard", "lookups list", "lookups export", "isil import", "config reload"),
        *("webhooks retry", "webhooks skip", "webhooks resume"),
        *("guests import", "guests export", "guests find"),
    },
    "identity": {"accounts import", "retention", "erasures apply", "parked discard", "config reload"},
}
STORES_NOBODY = re.compile(
    r"serve|work|migrate|doctor|status|load|parked (list|show|retry)"
    r"|(projections|events|keys|reports|sessions) .*|isil imports|config (check|status|changes)"
    r"|webhooks (list|show)|home-library (list|probe)|guests show|accounts check-directory"
)
"""They change nothing of a person, or only what the log says already: views, what was parked, keys."""


def commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


@pytest.mark.parametrize("app", [registration, identity], ids=["registration", "identity"])
def test_r20_every_command_that_stores_who_ran_it_is_told_by_the_same_option(
    app: typer.Typer, request: pytest.FixtureRequest
) -> None:
    service = request.node.callspec.id
    found = dict(commands(get_command(app)))
    with_option = {
        name for name, command in found.items() if any("--by" in option.opts for option in command.params)
    }
    assert with_option == STORES_WHO[service]
    assert [name for name in found if name not in with_option and not STORES_NOBODY.fullmatch(name)] == []


def test_r20_without_the_option_it_is_the_user_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert name_of("m.visser") == "m.visser"
    assert name_of(None) == getpass.getuser()

    def unknown() -> str:
        raise KeyError

    monkeypatch.setattr(getpass, "getuser", unknown)
    with pytest.raises(Failed, match="--by"):
        name_of(None)


@pytest.mark.parametrize("name", ["", "a\n", "a" * 256, "\u202ea"])
def test_r20_a_name_is_one_that_can_be_seen(name: str) -> None:
    with pytest.raises(typer.BadParameter):
        name_of(name)
