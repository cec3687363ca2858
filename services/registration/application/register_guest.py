"""Register a member of another library as a guest: the counter's main job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from uuid import UUID

from registration.application.account_choice import verify_choice
from registration.application.dependencies import Context, Dependencies, Lookup, LookupKind, Organisation
from registration.application.home_reply import HomeReply, apply_reply
from registration.application.looking_up import looking_up, outcome_of
from registration.application.membership import (
    accepted,
    answer_of,
    current_isil,
    home_isil,
    references_of,
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
    keep_number,
    key_for,
    person_row,
    registered_guest,
    save_guest,
)
from registration.domain.errors import (
    AlreadyRegistered,
    CardOfAnotherGuest,
    LikelyDuplicate,
    LikelyGuest,
    OtherPerson,
    UnknownBranch,
    UnknownOrganisation,
)
from registration.domain.guest import Admission, Guest
from registration.domain.guest_state import Preferences
from registration.domain.login_link import LoginAccountChoice, VerifiedChoice
from registration.domain.merge import NothingEqual
from registration.domain.term import picked
from registration.domain.term_check import Status
from registration.domain.text_matching import same_name_birth_date_address
from registration.domain.verdict import PatronDetails, Refused, Valid
from shared.event_log import CommandResult, VersionConflict, retry_on_conflict, set_data_key
from shared.kernel.amsterdam import day_of
from shared.kernel.errors import RuleBroken
from shared.kernel.library_card import Isil, canonical_card_number

MOST_LIKELY = 5


@dataclass(frozen=True, slots=True)
class RegisterGuest:
    """What the clerk filled in. `home_isil` None: find it from the card (R2).

    `subscription_code` None: the subscription on offer, if there is only one (R7). `preferences` None: they
    were not asked, so all is off (R27). `same_as`: the guest who is the person at the counter, with another
    card of the same library. `not_same_as`: the guests who look like that person and are another one (R28).
    """

    card_number: str
    home_isil: str | None
    branch: str
    card_has_chip: bool
    identity_document_checked: bool
    login_account: LoginAccountChoice
    subscription_code: str | None = None
    preferences: Preferences | None = None
    same_as: UUID | None = None
    not_same_as: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the home library says of the person, and the guests who look like the same one (R28)."""

    membership: Valid
    likely: Sequence[LikelyGuest]


async def register_guest(command: RegisterGuest, context: Context, deps: Dependencies) -> CommandResult:
    """Register a guest, once per person per library (R10), after a fresh reply of the home library (R4).

    With `same_as` nobody is registered: that guest gets the card number (R24, R28).

    Raises MalformedCardNumber, MalformedIsil, UnknownSubscription, UnknownBranch, UnknownOrganisation,
    UnknownHomeLibrary, HomePatronNotFound, AmbiguousHomeLibrary, HomeLibraryUnknownForCard, OwnLibrary,
    ChainedGuest, GuestRefused, AlreadyRegistered, LikelyDuplicate, OtherPerson, HomeLibraryUnavailable,
    CardOfAnotherGuest and NothingEqual (both only with `same_as`), and what `verify_choice` raises. Then
    nobody was registered. Raises LogOverloaded before anything else while links come late (ADR 0036).
    """
    await deps.link_backlog.require_bearable()
    organisation = _organisation(context.organisation, deps)
    if command.branch not in organisation.branches:
        raise UnknownBranch
    scanned = canonical_card_number(command.card_number)
    picked(command.subscription_code)
    home = await home_isil(command.home_isil, scanned, deps)
    found_ids: Sequence[UUID] = ()
    try:
        asked_at = deps.clock.now()
        membership = await _admit(home, scanned, organisation, context, deps)
        arrival = _Arrival(home, scanned, HomeReply(membership, asked_at), membership)
        likely = await _likely_duplicates(membership, home, context, deps)
        found_ids = [guest.guest_id for guest in likely]
        if command.same_as is not None:
            return await _give_number(command.same_as, likely, arrival, context, deps)
        if not command.not_same_as.issuperset(found_ids):
            raise LikelyDuplicate(likely)
        return await _register_person(command, arrival, context, deps)
    except RuleBroken as refused:  # it says something of the card, and no event says who asked
        lookup = Lookup(LookupKind.REGISTRATION, scanned, str(home), outcome_of(refused), guest_ids=found_ids)
        await deps.lookups.record(lookup, context)
        raise


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Who is at the counter: the scanned number, and the reply of the home library about it."""

    home: Isil
    scanned: str
    reply: HomeReply
    membership: Valid

    @property
    def card(self) -> Card:
        return Card.answered(self.membership.canonical_card_number, self.scanned)


async def _register_person(
    command: RegisterGuest, arrival: _Arrival, context: Context, deps: Dependencies
) -> CommandResult:
    home, card = arrival.home, arrival.card
    choice = await verify_choice(command.login_account, str(home), card.numbers, context, deps)
    person = PersonalData(card, arrival.membership.details)
    return await retry_on_conflict(
        lambda: _register(command, choice, home=home, person=person, context=context, deps=deps)
    )


async def _give_number(
    guest_id: UUID, likely: Sequence[LikelyGuest], arrival: _Arrival, context: Context, deps: Dependencies
) -> CommandResult:
    """Apply the reply about the new card to the guest: its number, details and term (R12, R24, R28)."""
    if not any(guest.guest_id == guest_id and guest.same_home_library for guest in likely):
        raise NothingEqual
    known, _ = await _known(context.organisation, arrival.home, arrival.card, deps)
    owner = await _guest_among(known.values(), deps)
    if owner is not None and owner.id != guest_id:
        raise CardOfAnotherGuest(owner.id)
    result, reply = await apply_reply(guest_id, arrival.reply, context, deps)
    await deps.term_checks.record(guest_id, reply.outcome())
    await keep_number(guest_id, arrival.scanned, context, deps)
    return result


async def _likely_duplicates(
    membership: Valid, home: Isil, context: Context, deps: Dependencies
) -> Sequence[LikelyGuest]:
    """Find registered guests with the same surname, birth date and address (R28)."""
    found = await deps.guests_by_person.like(context.organisation, membership.details)
    likely: dict[UUID, LikelyGuest] = {}
    for guest_id in found:
        guest = await find_person(guest_id, deps)
        if guest is None or guest.state.status in {Status.DEREGISTERED, Status.ERASED}:
            continue
        person = decrypt_personal_data(guest)
        if person and same_name_birth_date_address(person.details, membership.details):
            same_library = current_isil(guest.state.home_isil, deps).same_library(home)
            likely[guest.id] = LikelyGuest(guest.id, same_library)
    return list(likely.values())[:MOST_LIKELY]


async def prepare_registration(
    card_number: str, home_isil: str, context: Context, deps: Dependencies
) -> Prepared:
    """Ask the home library as `register_guest` will do again (R4, R10, R11); nobody is registered.

    Raises MalformedCardNumber, MalformedIsil, UnknownOrganisation, OwnLibrary, AlreadyRegistered,
    OtherPerson, UnknownHomeLibrary, HomePatronNotFound, GuestRefused, ChainedGuest,
    HomeLibraryUnavailable, TooManyLookups.
    """
    known = _organisation(context.organisation, deps)
    card, home = canonical_card_number(card_number), current_isil(home_isil, deps)
    async with looking_up(LookupKind.HOME_PATRON, card, context, deps, home_isil=str(home)) as lookup:
        try:
            membership = await _admit(home, card, known, context, deps)
        except AlreadyRegistered as already:
            lookup.guest_ids = (already.guest_id,)
            raise
        likely = await _likely_duplicates(membership, home, context, deps)
        lookup.guest_ids = [guest.guest_id for guest in likely]
        lookup.outcome = "valid"
    return Prepared(membership, likely)


def _organisation(code: str, deps: Dependencies) -> Organisation:
    organisation = deps.organisations.get(code)
    if organisation is None:
        raise UnknownOrganisation
    return organisation


async def _admit(
    home: Isil, card_number: str, organisation: Organisation, context: Context, deps: Dependencies
) -> Valid:
    """Return the membership if this person can become a guest here.

    A registered guest is reported before the home library is asked: the clerk needs the guest also when the
    home library is silent or refuses.
    """
    require_other_library(home, organisation, deps)
    registered = await registered_guest(organisation.code, refs_of(home, card_number, deps), deps)
    if registered is not None:
        raise AlreadyRegistered(registered.id)
    answer = await answer_of(home, card_number, deps)
    await _require_no_other_number(answer, home, card_number, context, deps)
    return accepted(answer)


async def _require_no_other_number(
    answer: Valid | Refused, home: Isil, scanned: str, context: Context, deps: Dependencies
) -> None:
    """Raise AlreadyRegistered for a guest with the number in the reply; the scanned one is kept too (R10)."""
    number = answer.canonical_card_number
    if number is None or number == scanned:
        return
    guest = await registered_guest(context.organisation, refs_of(home, number, deps), deps)
    if guest is None:
        return
    _require_same_person(guest, answer.details)
    await keep_number(guest.id, scanned, context, deps)
    raise AlreadyRegistered(guest.id, by_other_number=True)


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
    known, known_as = await _known(organisation.code, home, person.card, deps)
    guest = await _guest_among(known.values(), deps)
    if guest is not None and guest.state.status is Status.ERASED:
        raise VersionConflict(guest.id)  # erased since the index was read: the index no longer finds it (R19)
    if guest is not None:
        _require_same_person(guest, person.details)
    key, key_rows = key_for(guest, deps)
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
    new_refs = [ref for ref, guests in known.items() if not guests]
    rows = [person_row(organisation.code, ref, guest.id, known_as) for ref in new_refs]
    accounts = account_rows(organisation.code, admission.link_request.account_id, guest.id)
    result = await save_guest(guest, context, deps, *key_rows, *rows, *accounts)
    return replace(result, saved=guest)


def _require_same_person(guest: Guest, details: PatronDetails | None) -> None:
    """Raise OtherPerson when the guest who has or had the number was born on another day (R25)."""
    known = decrypt_personal_data(guest)
    if known is not None and known.details.born_otherwise(details):
        raise OtherPerson


async def _known(
    organisation: str, home: Isil, card: Card, deps: Dependencies
) -> tuple[dict[str, Sequence[UUID]], str]:
    """Map the person's references, the canonical one first, to the guests that the index finds (R10).

    Also returns the ISIL bases that these references are of.
    """
    references = references_of(home, card.numbers, deps)
    refs = references.refs
    guests = await asyncio.gather(*(deps.registrations.guests_of(organisation, ref) for ref in refs))
    return dict(zip(refs, guests, strict=True)), references.known_as


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
