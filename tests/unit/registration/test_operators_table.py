"""Every action of an operator exists as a command, in the API and on a page, as the runbook says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute
from typer.main import get_command

from identity.cli.main import app as identity
from registration.api import operations
from registration.cli.main import app as registration
from registration.counter_ui import operator_actions, operator_pages, settings_pages, webhook_pages
from shared.web import operations_api, webhooks_api

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"
APPS = {"registration": registration, "identity": identity}


def rows() -> Iterator[tuple[str, list[str], set[str], set[str]]]:
    """Action, commands, routes of the API, pages."""
    section = RUNBOOK.read_text("utf-8").partition("## Everything on one page")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("| ") and "`" in line:
            action, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            command, api, pages = (re.findall(r"`([^`]+)`", cell) for cell in cells)
            yield action, command, set(api), set(pages)


def routes_of(routes: Iterable[Any]) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in routes
        if isinstance(route, APIRoute)
        for method in (route.methods or set()) - {"HEAD"}
    }


def exists(service: str, words: list[str]) -> bool:
    found: Any = get_command(APPS[service])
    for word in words:
        if word.startswith("-"):
            return any(word in option.opts for option in found.params)
        if not hasattr(found, "commands"):
            return False
        found = found.commands.get(word)
        if found is None:
            return False
    return not hasattr(found, "commands")


def test_every_action_has_a_command_a_route_and_a_page() -> None:
    table = list(rows())
    assert len(table) > 14
    for action, commands, api, pages in table:
        assert commands, action
        assert api, action
        assert pages, action
        for command in commands:
            service, *words = command.split()
            for name in APPS if service == "<service>" else [service]:
                assert exists(name, words), (action, command)


def test_the_table_names_every_route_and_page_of_operators() -> None:
    routers = (operations_api.router, operations.router, webhooks_api.router)
    in_code = routes_of(route for router in routers for route in router.routes)
    pages = routes_of(
        route
        for module in (operator_pages, operator_actions, settings_pages, webhook_pages)
        for route in module.router.routes
    )
    assert set().union(*(api for _, _, api, _ in rows())) == in_code
    assert set().union(*(shown for _, _, _, shown in rows())) == pages
