"""Correct whether a guest's card has a chip (R9, R21)."""

from __future__ import annotations

from uuid import UUID

from registration.application.dependencies import Context, Dependencies
from registration.application.repository import change_guest
from registration.domain.guest import Guest
from shared.event_log import CommandResult


async def change_chip(
    guest_id: UUID, card_has_chip: bool, reason: str, context: Context, deps: Dependencies
) -> CommandResult:
    """Record whether the guest's card has a chip, with the reason (R9, R21).

    Raises GuestNotFound, NoLongerRegistered, GuestMerged, GuestErased.
    """

    def change(guest: Guest) -> None:
        guest.change_chip(card_has_chip, reason, now=deps.clock.now())

    return await change_guest(guest_id, change, context, deps)
