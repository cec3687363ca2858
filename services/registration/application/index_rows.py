"""The rows of the registration index, written in the append's own transaction (A6, R10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from registration.application.home import current_isil, refs_of
from registration.application.ports import Registration
from registration.domain.guest import Guest
from shared.event_log import SideRow


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


def new_number_rows(guest: Guest, card_number: str | None, registration: Registration) -> Sequence[SideRow]:
    """Make the rows that find the guest by a number that home gave out since, if it did (R10).

    When that number was registered as another guest meanwhile, it stays with that one.
    """
    if card_number is None:
        return ()
    refs = refs_of(current_isil(guest.state.home_isil, registration), card_number, registration)
    if guest.state.person_ref in refs:
        return ()
    return [replace(person_row(guest.state.organisation, ref, guest.id), or_ignore=True) for ref in refs]
