"""Open a guest at the counter (R13)."""

from __future__ import annotations

from uuid import UUID

from registration.application.check_terms import WHILE_A_CLERK_WAITS, check_term
from registration.application.ports import Context, Registration
from registration.application.show_guest import GuestView, show_guest


async def open_guest(guest_id: UUID, context: Context, registration: Registration) -> GuestView:
    """Show a guest; about an expired one home is asked again at once.

    `home` then tells what a re-registration would meet: "valid" that it would succeed, "refused" why not,
    "unavailable" that home was too slow or silent: the guest is shown as it was, its term marked stale.
    Raises GuestNotFound (R20).
    """
    shown = await show_guest(guest_id, context.organisation, registration)
    if shown.status != "expired":
        return shown
    await check_term(guest_id, context, registration, within=WHILE_A_CLERK_WAITS)
    return await show_guest(guest_id, context.organisation, registration)
