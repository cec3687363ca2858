"""Take back a registration that was a mistake (R21)."""

from __future__ import annotations

from uuid import UUID

from registration.application.dependencies import Context, Dependencies
from registration.application.repository import change_guest
from registration.domain.guest import Guest
from shared.event_log import CommandResult
from shared.kernel.amsterdam import day_of


async def deregister_guest(
    guest_id: UUID, reason: str, context: Context, deps: Dependencies
) -> CommandResult:
    """Deregister a guest, with the reason; the card may be registered again (R21).

    Raises GuestNotFound, NoLongerRegistered, GuestErased.
    """

    def deregister(guest: Guest) -> None:
        now = deps.clock.now()
        guest.deregister(reason, today=day_of(now), now=now)

    return await change_guest(guest_id, deregister, context, deps)
