"""Register an expired guest again (R14)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from registration.application.dependencies import Context, Registration, Written
from registration.application.membership import current_isil, membership_of
from registration.application.personal_data import (
    Card,
    PersonalData,
    key_for,
    open_personal_data,
    seal_card,
    seal_details,
    seal_wish,
)
from registration.application.repository import account_rows, decided, load_guest, new_number_rows, save_guest
from registration.domain.errors import GuestErased
from registration.domain.guest import Guest, Renewal
from registration.domain.login_link import LoginAccountChoice
from shared.kernel.amsterdam import day_of


@dataclass(frozen=True, slots=True)
class ReregisterGuest:
    """`login_account` None: the link stays as it is."""

    guest_id: UUID
    patron_type: str
    login_account: LoginAccountChoice | None = None


async def reregister_guest(command: ReregisterGuest, context: Context, registration: Registration) -> Written:
    """Re-register after a fresh check at home: same guest, no new strips.

    Raises GuestNotFound, WrongPatronType, NotExpired, NoLongerRegistered, GuestErased, AlreadyLinked,
    ChainedGuest, GuestRefused, HomePatronNotFound, UnknownHomeLibrary, HomeLibraryUnavailable. Then nothing
    was written.
    """
    guest = await load_guest(command.guest_id, context.organisation, registration)
    guest.may_reregister(command.patron_type)
    person = await _agreed_at_home(guest, registration)
    return await decided(lambda: _renew(command, person, context, registration))


async def _agreed_at_home(guest: Guest, registration: Registration) -> PersonalData:
    known = await open_personal_data(guest, registration)
    if known is None:
        raise GuestErased  # just now: nobody knows any more whom to ask about
    home = current_isil(guest.state.home_isil, registration)
    membership = await membership_of(home, known.card.number, registration)
    card = Card.answered(membership.canonical_card_number, known.card.number, *known.card.aliases)
    return PersonalData(card, membership.details)


async def _renew(
    command: ReregisterGuest, person: PersonalData, context: Context, registration: Registration
) -> Written:
    guest = await load_guest(command.guest_id, context.organisation, registration)
    key, key_rows = await key_for(guest.id, registration)
    choice = command.login_account
    wish = None if choice is None else seal_wish(choice, key)
    renewal = Renewal(seal_card(person.card, key), seal_details(person.details, key), wish)
    now = registration.clock.now()
    guest.reregister(command.patron_type, renewal, today=day_of(now), now=now)
    accounts = account_rows(context.organisation, wish.account_id if wish else None, guest.id)
    numbers = new_number_rows(guest, person.card.number, registration)
    return await save_guest(guest, context, registration, *key_rows, *numbers, *accounts)
