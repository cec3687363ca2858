"""The commands `registration webhooks …`: how far receivers are, what waits, and what to do about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from registration.service_handle import settings_of_command
from shared.cli.console import echo, show_json, show_pairs, show_table
from shared.cli.running import By, Failed, in_loop, name_of
from shared.cli.service_handle import database_of
from shared.kernel.text import require_text, visible

if TYPE_CHECKING:
    from shared.messaging.webhook_state import ReceiverState, WaitingSubject, WebhookState

EXAMPLE_ID = "0b7c9e5e-5f0a-4c55-9d0e-0d7d5f1f6a11"
webhooks = typer.Typer(
    no_args_is_help=True,
    help="Receivers of webhooks.\n\nExample: registration webhooks list",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The receiver, as its file names it.")]
GuestId = Annotated[UUID, typer.Argument(metavar="GUEST_ID", help="The guest's id.")]
MOST_SHOWN = 1000
SHOWN = ("name", "lag", "delivered", "waiting", "parked", "failing_since", "failure", "stopped_at")


@webhooks.command("list", epilog="Example: registration webhooks list --json")
def list_receivers(as_json: Json = False) -> None:
    """List the receivers: how far each is, how many guests wait, and why it takes nothing."""
    found = in_loop(_receivers())
    if as_json:
        show_json([asdict(receiver) for receiver in found])
    elif found:
        show_table(SHOWN, [[_text(getattr(receiver, name)) for name in SHOWN] for receiver in found])
    else:
        echo("There is no receiver yet: see docs/webhooks.md.")


@webhooks.command(epilog="Example: registration webhooks show catalogue")
def show(name: Name, as_json: Json = False) -> None:
    """Show one receiver, and the guests whose messages it did not take."""
    receiver, waiting = in_loop(_shown(name))
    if as_json:
        show_json({**asdict(receiver), "guests": [_json(found) for found in waiting]})
        return
    show_pairs({key: _text(value) for key, value in asdict(receiver).items()})
    columns = ("guest_id", "version", "state", "since", "attempts", "reason")
    if waiting:
        show_table(columns, [[_text(_json(found)[name]) for name in columns] for found in waiting], title="")


@webhooks.command(epilog=f"Example: registration webhooks retry catalogue {EXAMPLE_ID}")
def retry(name: Name, guest_id: GuestId, by: By = None, as_json: Json = False) -> None:
    """Send the messages of a guest again; the worker does it within seconds."""
    who = name_of(by)
    in_loop(_act(name, guest_id, lambda state: state.retry(name, guest_id, who)))
    _say({"receiver": name, "guest_id": guest_id}, f"Guest {guest_id} is tried again now.", as_json)


@webhooks.command(
    epilog=f"Example: registration webhooks skip catalogue {EXAMPLE_ID} --reason 'a test guest'"
)
def skip(
    name: Name,
    guest_id: GuestId,
    reason: Annotated[str, typer.Option(help="Why it is skipped; the reason is stored.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Skip the message that the receiver does not take, permanently. The later ones are sent."""
    who = name_of(by)
    try:
        why = require_text(reason)
    except ValueError:
        raise typer.BadParameter("a reason is needed", param_hint="--reason") from None
    version = in_loop(_act(name, guest_id, lambda state: state.skip(name, guest_id, why, who)))
    done = {"receiver": name, "guest_id": guest_id, "skipped": version}
    _say(done, f"Skipped version {version} of guest {guest_id}.", as_json)


@webhooks.command(epilog="Example: registration webhooks resume catalogue")
def resume(name: Name, by: By = None, as_json: Json = False) -> None:
    """Send again to a receiver that answered 410; it gets all messages since."""
    in_loop(_resumed(name, name_of(by)))
    _say({"receiver": name}, f"Messages are sent to {visible(name)} again.", as_json)


def _say(done: dict[str, Any], sentence: str, as_json: bool) -> None:
    show_json(done) if as_json else echo(sentence)


def _text(value: object) -> str:
    return "–" if value is None else visible(str(value))


def _json(found: WaitingSubject) -> dict[str, Any]:
    record = asdict(found)
    return {"guest_id": record.pop("subject"), **record}


@asynccontextmanager
async def _state() -> AsyncIterator[WebhookState]:
    from shared.messaging.webhook_state import WebhookState  # noqa: PLC0415

    async with database_of(settings_of_command()) as pool:
        yield WebhookState(pool)


async def _receivers() -> list[ReceiverState]:
    async with _state() as state:
        return await state.receivers()


async def _shown(name: str) -> tuple[ReceiverState, list[WaitingSubject]]:
    async with _state() as state:
        for found in await state.receivers():
            if found.name == name:
                return found, await state.waiting(name, MOST_SHOWN)
    raise _no_such(name)


async def _act(name: str, guest_id: UUID, action: Any) -> Any:
    from shared.messaging.errors import NotParked  # noqa: PLC0415

    async with _state() as state:
        try:
            return await action(state)
        except NotParked:
            raise Failed(
                f"No message of guest {guest_id} waits for {name}: `registration webhooks show` lists them."
            ) from None


async def _resumed(name: str, by: str) -> None:
    from shared.messaging.webhook_state import NoSuchReceiver  # noqa: PLC0415

    async with _state() as state:
        try:
            await state.resume(name, by)
        except NoSuchReceiver:
            raise _no_such(name) from None


def _no_such(name: str) -> Failed:
    return Failed(f"There is no receiver {name}: `registration webhooks list` shows all.")
