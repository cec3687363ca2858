"""The work of the commands `parked …`."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared.cli.operated import OperatedService, database_of
from shared.cli.running import Failed

if TYPE_CHECKING:  # heavy: only the command that needs them imports them
    from shared.messaging.held import HeldGuest, HeldGuests
    from shared.messaging.inbox import Inbox

Shown = dict[str, Any]


async def overview(service: OperatedService) -> tuple[Sequence[Shown], Sequence[Shown]]:
    """All guests who are held, and all that came in and cannot be read."""
    from shared.messaging.held import HeldGuests  # noqa: PLC0415
    from shared.messaging.unreadable import kept  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        guests = [_shown(guest) for guest in await HeldGuests(pool).overview()]
        unreadable = [
            {"id": each.id, "received_at": each.received_at, "bytes": len(each.body), "reason": each.reason}
            for each in await kept(pool)
        ]
    return guests, unreadable


async def in_line(service: OperatedService, guest_id: UUID) -> tuple[Shown, Sequence[Shown]]:
    """One guest, and the messages in line. Raises Failed when the guest is not held."""
    from shared.messaging.held import HeldGuests  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        held = HeldGuests(pool)
        guest = await _find(held, guest_id, service)
        messages = await held.messages(guest_id)
    line = [
        {
            "version": message.stream_version,
            "type": message.type,
            "event_id": message.id,
            "time": message.time,
            "data": message.data,
        }
        for message in messages
    ]
    return _shown(guest), line


async def retried(service: OperatedService, guest_id: UUID) -> Shown | None:
    """Try a guest again; None when through, else how it is held now. Raises Failed when it is not held."""
    async with _inbox(service) as inbox:
        await _find(inbox.held, guest_id, service)
        through = await inbox.retry_parked(guest_id)
        return None if through else _shown(await inbox.held.show(guest_id))


async def discarded(
    service: OperatedService, guest_id: UUID, reason: str, by: str
) -> tuple[Shown, Shown | None]:
    """Pass over what is in the way; how the guest was held before, and how after. Raises Failed."""
    from shared.messaging.held import State  # noqa: PLC0415

    async with _inbox(service) as inbox:
        before = await _find(inbox.held, guest_id, service)
        if before.state is State.WAITING:
            raise Failed(
                f"Guest {guest_id} is only waiting ({before.reason}) and is tried by itself:"
                f" what is awaited must not be discarded. `{service.name} parked retry` tries it now."
            )
        through = await inbox.discard(guest_id, reason=reason, by=by)
        return _shown(before), None if through else _shown(await inbox.held.show(guest_id))


@asynccontextmanager
async def _inbox(service: OperatedService) -> "AsyncIterator[Inbox]":
    async with service.inbox() as inbox:
        # What the inbox logs of this guest is what the command itself says in its one line.
        logging.root.setLevel(logging.CRITICAL)
        yield inbox


async def _find(held: "HeldGuests", guest_id: UUID, service: OperatedService) -> "HeldGuest":
    from shared.messaging.errors import NotHeld  # noqa: PLC0415

    try:
        return await held.show(guest_id)
    except NotHeld:
        told = f"Guest {guest_id} is not held: `{service.name} parked list` shows those who are."
        raise Failed(told) from None


def _shown(guest: "HeldGuest") -> Shown:
    from shared.messaging.envelope import TYPE_PREFIX  # noqa: PLC0415

    return {
        "guest_id": guest.guest_id,
        "state": guest.state,
        "message": guest.message_type and guest.message_type.removeprefix(TYPE_PREFIX),
        "version": guest.message_version,
        "reason": guest.reason,
        "since": guest.since,
        "attempts": guest.attempts,
        "next_try": guest.next_try,
        "messages": guest.messages,
    }
