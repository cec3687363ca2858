"""The commands `registration guests show` and `registration guests erase`."""

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
from shared.cli.console import echo, show_json, show_pairs, show_table
from shared.cli.running import Failed
from shared.event_log import Metadata
from shared.kernel.text import visible

PERSONAL = ("card_number", "aliases", "details", "preferences")


async def read_guest(settings: Settings, guest_id: UUID) -> HeldData:
    """Return all stored data about one guest. Raises Failed if there is no such guest."""
    async with open_service(settings) as service:
        try:
            return await show_personal_data(guest_id, service.deps)
        except GuestNotFound:
            raise no_such_guest(guest_id) from None


async def erase_guest(settings: Settings, guest_id: UUID, by: str) -> None:
    """Destroy all personal data of one guest. `by`: who asks. Raises Failed if there is no such guest."""
    async with open_service(settings) as service:
        try:
            await erase_personal_data(guest_id, Metadata(by, uuid4()), service.deps)
        except GuestNotFound:
            raise no_such_guest(guest_id) from None


def confirm_erasure(guest_id: UUID, *, yes: bool) -> None:
    """Ask the operator at the terminal; a script passes `--yes` instead.

    Raises BadParameter without a terminal, and Failed if the operator declines.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask for confirmation: pass --yes")
    if not typer.confirm(f"Erase all personal data of guest {guest_id}? This cannot be undone."):
        raise Failed("Nothing was changed.")


def print_guest(held: HeldData, *, personal_data: bool, as_json: bool) -> None:
    """Print the guest and its history as JSON or tables; personal data only if `personal_data`."""
    guest = _guest(held.guest, personal_data=personal_data)
    history = [_event(event, personal_data=personal_data) for event in held.history]
    if as_json:
        show_json({"guest": guest, "history": history})
        return
    show_pairs({name: _line(value) for name, value in guest.items()})
    rows = [tuple(_line(event.get(name)) for name in COLUMNS) for event in history]
    show_table(COLUMNS, rows, title="")
    if personal_data and not any(event.personal_data for event in held.history):
        echo("No personal data is stored.")


COLUMNS = ("what", "at", "by", "reason", "personal_data")


def _guest(view: GuestView, *, personal_data: bool) -> dict[str, Any]:
    return {
        name: _objects(value) for name, value in asdict(view).items() if personal_data or name not in PERSONAL
    }


def _event(event: HeldEvent, *, personal_data: bool) -> dict[str, Any]:
    return {name: value for name, value in asdict(event).items() if personal_data or name != "personal_data"}


def _objects(value: Any) -> Any:
    """Return the value with every named tuple in it as a dict: `asdict` leaves them as they are."""
    match value:
        case Mapping():
            return {name: _objects(item) for name, item in value.items()}
        case tuple() if hasattr(value, "_asdict"):
            return _objects(value._asdict())
        case list() | tuple():
            return [_objects(item) for item in value]
        case _:
            return value


def _line(value: object) -> str:
    """Return a value as text for one cell of a table."""
    match value:
        case None:
            return ""
        case Mapping():
            return "; ".join(f"{name}: {_line(item)}" for name, item in value.items() if item)
        case list() | tuple():
            between = "\n" if any(isinstance(item, Mapping) for item in value) else ", "
            return between.join(_line(item) for item in value)
        case _:
            return visible(str(value))


def no_such_guest(guest_id: UUID) -> Failed:
    """Return the failure of a command about an unknown guest."""
    return Failed(
        f"There is no guest {guest_id}. At the counter, the address of a guest's page ends with the id."
    )
