"""Load and save guests with their index rows; retry when another command was first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from registration.application.dependencies import REGISTRATION_TAKEN, Context, Dependencies, Written
from registration.application.membership import current_isil, refs_of
from registration.domain.errors import GuestNotFound
from registration.domain.guest import Guest
from registration.domain.term_check import Status
from shared.event_log import SideRow, SideRowConflict, VersionConflict, retry_on_conflict


async def load_guest(guest_id: UUID, organisation: str, deps: Dependencies) -> Guest:
    """Load a guest of this organisation. Another's does not exist for it: GuestNotFound (R20)."""
    guest = await deps.store.find(Guest, guest_id)
    if guest is None or guest.state.organisation != organisation:
        raise GuestNotFound
    return guest


async def find_person(guest_id: UUID, deps: Dependencies) -> Guest | None:
    """Find a guest, or whom it is a signpost to (R18); that is never a signpost itself."""
    guest = await deps.store.find(Guest, guest_id)
    if guest is None or guest.state.status is Status.ERASED or guest.state.merged_into is None:
        return guest
    return await deps.store.find(Guest, guest.state.merged_into)


async def save_guest(guest: Guest, context: Context, deps: Dependencies, *side_rows: SideRow) -> Written:
    """Save what happened, with the command's own rows and these.

    Raises VersionConflict when another command was first, also with registering this person (R10).
    """
    rows = (*context.side_rows(guest.id), *side_rows)
    try:
        position = await deps.store.save(guest, metadata=context.metadata, side_rows=rows)
    except SideRowConflict as conflict:
        if conflict.constraint == REGISTRATION_TAKEN:
            raise VersionConflict(conflict.constraint) from conflict
        raise
    return Written(guest.id, position)


async def change_guest(
    guest_id: UUID, change: Callable[[Guest], None], context: Context, deps: Dependencies
) -> Written:
    """Load a guest, change it and save it."""

    async def attempt() -> Written:
        guest = await load_guest(guest_id, context.organisation, deps)
        change(guest)
        return await save_guest(guest, context, deps)

    return await retry_on_conflict(attempt)


def account_rows(organisation: str, account_id: str | None, guest_id: UUID) -> Sequence[SideRow]:
    """Make the row that finds a guest by a login account that was asked for, if one was."""
    if account_id is None:
        return ()
    values = {"organisation": organisation, "account_id": account_id, "guest_id": guest_id}
    return (SideRow("registration_accounts", values, or_ignore=True),)


def person_row(organisation: str, person_ref: str, guest_id: UUID) -> SideRow:
    """Make the row that finds a guest by person; being first with it is what makes a guest the only one."""
    values = {"organisation": organisation, "person_ref": person_ref, "guest_id": guest_id}
    return SideRow("registrations", values)


def new_number_rows(guest: Guest, card_number: str | None, deps: Dependencies) -> Sequence[SideRow]:
    """Make the rows that find the guest by a number that home gave out since, if it did (R10).

    When that number was registered as another guest meanwhile, it stays with that one.
    """
    if card_number is None:
        return ()
    refs = refs_of(current_isil(guest.state.home_isil, deps), card_number, deps)
    if guest.state.person_ref in refs:
        return ()
    return [replace(person_row(guest.state.organisation, ref, guest.id), or_ignore=True) for ref in refs]
