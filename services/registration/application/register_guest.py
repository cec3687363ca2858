"""Register a member of another library as a guest: the counter's main job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from uuid import UUID

from registration.application.account_choice import verify_choice
from registration.application.dependencies import Context, Dependencies, Lookup, LookupKind, Organisation
from registration.application.looking_up import looking_up, outcome_of
from registration.application.membership import (
    current_isil,
    home_isil,
    known_as,
    membership_of,
    refs_of,
    require_other_library,
)
from registration.application.repository import (
    Card,
    PersonalData,
    account_rows,
    decrypt_personal_data,
    encrypt_card,
    encrypt_details,
    encrypt_link_request,
    find_person,
    key_for,
    person_row,
    registered_guest,
    save_guest,
)
from registration.domain.errors import AlreadyRegistered, OtherPerson, UnknownBranch, UnknownOrganisation
from registration.domain.guest import Admission, Guest
from registration.domain.guest_state import Preferences
from registration.domain.login_link import LoginAccountChoice, VerifiedChoice
from registration.domain.term import picked
from registration.domain.term_check import Status
from registration.domain.verdict import Valid
from shared.event_log import CommandResult, VersionConflict, retry_on_conflict, set_data_key
from shared.kernel.amsterdam import day_of
from shared.kernel.errors import RuleBroken
from shared.kernel.library_card import Isil, canonical_card_number


@dataclass(frozen=True, slots=True)
class RegisterGuest:
    """What the clerk filled in. `home_isil` None: find it from the card (R2).

    `subscription_code` None: the subscription on offer, if there is only one (R7). `preferences` None: they
    were not asked, so all is off (R27).
    """

    card_number: str
    home_isil: str | None
    branch: str
    card_has_chip: bool
    identity_document_checked: bool
    login_account: LoginAccountChoice
    subscription_code: str | None = None
    preferences: Preferences | None = None


async def register_guest(command: RegisterGuest, context: Context, deps: Dependencies) -> CommandResult:
    """Register a guest, once per person per library (R10), after a fresh reply of the home library (R4).

    Raises MalformedCardNumber, MalformedIsil, UnknownSubscription, UnknownBranch, UnknownOrganisation,
    UnknownHomeLibrary, HomePatronNotFound, AmbiguousHomeLibrary, HomeLibraryUnknownForCard, OwnLibrary,
    ChainedGuest, GuestRefused, AlreadyRegistered, OtherPerson, HomeLibraryUnavailable, and what
    `verify_choice` raises. Then nothing was written.
    """
    organisation = _organisation(context.organisation, deps)
    if command.branch not in organisation.branches:
        raise UnknownBranch
    scanned = canonical_card_number(command.card_number)
    picked(command.subscription_code)
    home = await home_isil(command.home_isil, scanned, deps)
    try:
        membership = await _admit(home, scanned, organisation, deps)
        card = Card.answered(membership.canonical_card_number, scanned)
        numbers = (card.number, *card.aliases)
        choice = await verify_choice(command.login_account, str(home), numbers, context, deps)
        person = PersonalData(card, membership.details)
        return await retry_on_conflict(
            lambda: _register(command, choice, home=home, person=person, context=context, deps=deps)
        )
    except RuleBroken as refused:  # it says something of the card, and no event says who asked
        lookup = Lookup(LookupKind.REGISTRATION, scanned, str(home), outcome_of(refused))
        await deps.lookups.record(lookup, context)
        raise


async def prepare_registration(
    card_number: str, home_isil: str, context: Context, deps: Dependencies
) -> Valid:
    """Ask the home library as `register_guest` will do again (R4, R10, R11); nothing is written.

    Raises MalformedCardNumber, MalformedIsil, UnknownOrganisation, OwnLibrary, AlreadyRegistered,
    UnknownHomeLibrary, HomePatronNotFound, GuestRefused, ChainedGuest, HomeLibraryUnavailable,
    TooManyLookups.
    """
    known = _organisation(context.organisation, deps)
    card, home = canonical_card_number(card_number), current_isil(home_isil, deps)
    async with looking_up(LookupKind.HOME_PATRON, card, context, deps, home_isil=str(home)) as lookup:
        try:
            membership = await _admit(home, card, known, deps)
        except AlreadyRegistered as already:
            lookup.guest_ids = (already.guest_id,)
            raise
        lookup.outcome = "valid"
    return membership


def _organisation(code: str, deps: Dependencies) -> Organisation:
    organisation = deps.organisations.get(code)
    if organisation is None:
        raise UnknownOrganisation
    return organisation


async def _admit(home: Isil, card_number: str, organisation: Organisation, deps: Dependencies) -> Valid:
    """Return the membership if this person can become a guest here.

    A registered guest is reported before the home library is asked: the clerk needs the guest also when the
    home library is silent or refuses.
    """
    require_other_library(home, organisation, deps)
    registered = await registered_guest(organisation.code, refs_of(home, card_number, deps), deps)
    if registered is not None:
        raise AlreadyRegistered(registered.id)
    return await membership_of(home, card_number, deps)


async def _register(
    command: RegisterGuest,
    choice: VerifiedChoice,
    *,
    home: Isil,
    person: PersonalData,
    context: Context,
    deps: Dependencies,
) -> CommandResult:
    organisation = deps.organisations[context.organisation]
    known = await _known(organisation.code, home, person.card, deps)
    guest = await _guest_among(known.values(), deps)
    if guest is not None and guest.state.status is Status.ERASED:
        raise VersionConflict(guest.id)  # erased since the index was read: the index no longer finds it (R19)
    if guest is not None:
        await _require_same_person(guest, person, deps)
    key, key_rows = await key_for(guest.id if guest else None, deps)
    admission = Admission(
        organisation=organisation.code,
        branch=command.branch,
        home_isil=str(home),
        person_ref=next(iter(known)),
        card_has_chip=command.card_has_chip,
        identity_document_checked=command.identity_document_checked,
        subscription_code=picked(command.subscription_code).code,
        sealed_card=encrypt_card(person.card, key),
        sealed_details=encrypt_details(person.details, key),
        link_request=encrypt_link_request(choice, key),
        preferences=command.preferences,
    )
    guest = _registered(guest, admission, key.subject_id, deps)
    set_data_key(guest, key)
    if organisation.grants_strips:
        guest.grant_strips(now=deps.clock.now())
    new_refs, bases = [ref for ref, guests in known.items() if not guests], known_as(home, deps)
    rows = [person_row(organisation.code, ref, guest.id, bases) for ref in new_refs]
    accounts = account_rows(organisation.code, admission.link_request.account_id, guest.id)
    return await save_guest(guest, context, deps, *key_rows, *rows, *accounts)


async def _require_same_person(guest: Guest, person: PersonalData, deps: Dependencies) -> None:
    """Raise OtherPerson when the guest who had the number before was born on another day (R25)."""
    known = await decrypt_personal_data(guest, deps)
    if known is not None and known.details.born_otherwise(person.details):
        raise OtherPerson


async def _known(organisation: str, home: Isil, card: Card, deps: Dependencies) -> dict[str, Sequence[UUID]]:
    """Map the person's references, the canonical one first, to the guests that the index finds (R10)."""
    refs = [ref for number in (card.number, *card.aliases) for ref in refs_of(home, number, deps)]
    return {ref: await deps.registrations.guests_of(organisation, ref) for ref in refs}


async def _guest_among(known: Iterable[Sequence[UUID]], deps: Dependencies) -> Guest | None:
    """Return the guest to register: of several (I10), the one who is registered now comes first."""
    people = [await find_person(guest_id, deps) for guest_id in dict.fromkeys(chain.from_iterable(known))]
    guests = [guest for guest in people if guest is not None]
    return min(guests, key=lambda guest: guest.state.status is Status.DEREGISTERED, default=None)


def _registered(guest: Guest | None, admission: Admission, guest_id: UUID, deps: Dependencies) -> Guest:
    now = deps.clock.now()
    if guest is None:
        return Guest.register(guest_id, admission, today=day_of(now), now=now)
    guest.register_afresh(admission, today=day_of(now), now=now)
    return guest
