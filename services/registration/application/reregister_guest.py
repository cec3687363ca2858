"""Register an expired guest again (R14)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from registration.application.account_choice import card_numbers_of, verify_choice
from registration.application.dependencies import Context, Dependencies
from registration.application.membership import accepted, answer_of, current_isil
from registration.application.repository import (
    account_rows,
    decrypt_personal_data,
    encrypt_card,
    encrypt_details,
    encrypt_link_request,
    key_for,
    load_guest,
    save_guest,
    take_reply,
)
from registration.domain.errors import GuestErased, OtherPerson
from registration.domain.guest import Guest, Renewal
from registration.domain.guest_state import Preferences
from registration.domain.login_link import LoginAccountChoice, VerifiedChoice
from registration.domain.verdict import Valid
from shared.event_log import CommandResult, retry_on_conflict
from shared.kernel.amsterdam import day_of


@dataclass(frozen=True, slots=True)
class ReregisterGuest:
    """A guest, the choice of login account, and what the guest wants; None keeps each as it is."""

    guest_id: UUID
    patron_type: str
    login_account: LoginAccountChoice | None = None
    preferences: Preferences | None = None


async def reregister_guest(command: ReregisterGuest, context: Context, deps: Dependencies) -> CommandResult:
    """Re-register after a fresh reply of the home library: the same guest, no new strips (R14).

    Raises GuestNotFound, WrongPatronType, NotExpired, NoLongerRegistered, GuestErased, AlreadyLinked,
    ChainedGuest, GuestRefused, HomePatronNotFound, UnknownHomeLibrary, HomeLibraryUnavailable, OtherPerson,
    CardOfAnotherGuest, and what `verify_choice` raises. Then nothing was written.
    """
    guest = await load_guest(command.guest_id, context.organisation, deps)
    guest.may_reregister(command.patron_type)
    membership = await _agreed_at_home(guest, deps)
    choice = None
    if command.login_account is not None:
        known = await card_numbers_of((guest.id, *guest.state.merged_from), deps)
        numbers = (membership.canonical_card_number, *known)
        choice = await verify_choice(command.login_account, guest.state.home_isil, numbers, context, deps)
    return await retry_on_conflict(lambda: _renew(command, choice, membership, context, deps))


async def _agreed_at_home(guest: Guest, deps: Dependencies) -> Valid:
    known = decrypt_personal_data(guest)
    if known is None:
        raise GuestErased  # erased just now: the card is not known any more
    home = current_isil(guest.state.home_isil, deps)
    answer = await answer_of(home, known.card.number, deps)
    if known.details.born_otherwise(answer.details):
        raise OtherPerson  # also when that person is refused: the reason is not the guest's (R25)
    return accepted(answer)


async def _renew(
    command: ReregisterGuest,
    choice: VerifiedChoice | None,
    membership: Valid,
    context: Context,
    deps: Dependencies,
) -> CommandResult:
    guest = await load_guest(command.guest_id, context.organisation, deps)
    known = decrypt_personal_data(guest)
    if known is None:
        raise GuestErased
    person, rows = await take_reply(guest, known, membership, deps)
    key, key_rows = key_for(guest, deps)
    link_request = None if choice is None else encrypt_link_request(choice, key)
    card, details = encrypt_card(person.card, key), encrypt_details(person.details, key)
    renewal = Renewal(card, details, link_request, command.preferences)
    now = deps.clock.now()
    guest.reregister(command.patron_type, renewal, today=day_of(now), now=now)
    accounts = account_rows(context.organisation, link_request.account_id if link_request else None, guest.id)
    return await save_guest(guest, context, deps, *key_rows, *rows, *accounts)
