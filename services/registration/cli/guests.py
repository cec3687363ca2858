"""What `registration guests show` and `guests erase` do."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID, uuid4

import typer

from registration.application.erase_guest import erase_personal_data
from registration.application.show_guest import GuestView
from registration.application.show_personal_data import HeldData, HeldEvent, show_personal_data
from registration.bootstrap import open_service
from registration.domain.errors import GuestNotFound
from registration.settings import Settings
from shared.cli.console import show_json, show_pairs, show_table
from shared.cli.running import Failed
from shared.event_log import Metadata

PERSONAL = ("card_number", "aliases", "details")


async def read_guest(settings: Settings, guest_id: UUID) -> HeldData:
    """All that is held about one guest."""
    async with open_service(settings) as service:
        try:
            return await show_personal_data(guest_id, service.deps)
        except GuestNotFound:
            raise _no_such_guest(guest_id) from None


async def erase_guest(settings: Settings, guest_id: UUID) -> None:
    """Destroy all that is personal of one guest."""
    async with open_service(settings) as service:
        try:
            await erase_personal_data(guest_id, Metadata("operator", uuid4()), service.deps)
        except GuestNotFound:
            raise _no_such_guest(guest_id) from None


def confirm_erasure(guest_id: UUID, *, yes: bool) -> None:
    """Ask whoever sits at the terminal; a script says it with --yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask at: say --yes")
    if not typer.confirm(f"Destroy all that is personal of guest {guest_id}? It cannot be undone."):
        raise Failed("Nothing was changed.")


def print_guest(held: HeldData, *, personal_data: bool, as_json: bool) -> None:
    """The guest and its history, for a script or for a person; without personal data unless asked for."""
    guest = _guest(held.guest, personal_data=personal_data)
    history = [_event(each, personal_data=personal_data) for each in held.history]
    if as_json:
        show_json({"guest": guest, "history": history})
        return
    show_pairs({name: _line(value) for name, value in guest.items()})
    rows = [tuple(_line(each.get(name)) for name in COLUMNS) for each in history]
    show_table(COLUMNS, rows, title="")
    if personal_data and not any(each.personal_data for each in held.history):
        typer.echo("Nothing personal is held.")


COLUMNS = ("what", "at", "by", "reason", "personal_data")


def _guest(view: GuestView, *, personal_data: bool) -> dict[str, Any]:
    return {name: value for name, value in asdict(view).items() if personal_data or name not in PERSONAL}


def _event(event: HeldEvent, *, personal_data: bool) -> dict[str, Any]:
    return {name: value for name, value in asdict(event).items() if personal_data or name != "personal_data"}


def _line(value: object) -> str:
    """A value in the words of a table."""
    match value:
        case None:
            return ""
        case Mapping():
            return "; ".join(f"{name}: {_line(each)}" for name, each in value.items() if each)
        case list() | tuple():
            return ", ".join(_line(each) for each in value)
        case _:
            return str(value)


def _no_such_guest(guest_id: UUID) -> Failed:
    return Failed(f"There is no guest {guest_id}: look it up at the counter.")
