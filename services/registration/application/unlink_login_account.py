"""Take a wrong login account off a guest (R21)."""

from __future__ import annotations

from uuid import UUID

from registration.application.guests import change_guest
from registration.application.ports import Context, Registration, Written
from registration.domain.guest import Guest


async def unlink_login_account(
    guest_id: UUID, reason: str, context: Context, registration: Registration
) -> Written:
    """Unlink, with the reason. Raises GuestNotFound, NotLinked, GuestErased."""

    def unlink(guest: Guest) -> None:
        guest.unlink(reason, now=registration.clock.now())

    return await change_guest(guest_id, unlink, context, registration)
