"""Change what a guest wants: language, newsletter, keeping what was borrowed (R27)."""

from __future__ import annotations

from uuid import UUID

from registration.application.dependencies import Context, Dependencies
from registration.application.repository import change_guest
from registration.domain.guest import Guest
from registration.domain.guest_state import Preferences
from shared.event_log import CommandResult


async def change_preferences(
    guest_id: UUID, preferences: Preferences, context: Context, deps: Dependencies
) -> CommandResult:
    """Record the preferences; the same as before is no event. A consent ends without a reason, as it began.

    Raises GuestNotFound, GuestMerged, GuestErased.
    """

    def change(guest: Guest) -> None:
        guest.change_preferences(preferences, now=deps.clock.now())

    return await change_guest(guest_id, change, context, deps)
