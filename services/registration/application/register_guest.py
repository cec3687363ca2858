"""Register a member of another library as a guest: the counter's main job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from registration.application.dependencies import Context, Dependencies, Organisation, Written
from registration.application.membership import current_isil, home_isil, membership_of, refs_of
from registration.application.personal_data import (
    Card,
    encrypt_card,
    encrypt_details,
    encrypt_link_request,
    key_for,
)
from registration.application.repository import account_rows, find_person, person_row, save_guest
from registration.domain.errors import AlreadyRegistered, OwnLibrary, UnknownBranch, UnknownOrganisation
from registration.domain.guest import Admission, Guest
from registration.domain.login_link import LoginAccountChoice
from registration.domain.subscriptions import picked
from registration.domain.term_check import Status
from registration.domain.verdict import Valid
from shared.event_log import DataKey, VersionConflict, retry_on_conflict
from shared.kernel.amsterdam import day_of
from shared.kernel.library_card import Isil, canonical_card_number


@dataclass(frozen=True, slots=True)
class RegisterGuest:
    """What the clerk filled in. `home_isil` None: find it from the card (R2).

    `subscription_code` None: the one on offer, as long as there is one (R7).
    """

    card_number: str
    home_isil: str | None
    branch: str
    card_has_chip: bool
    identity_document_checked: bool
    login_account: LoginAccountChoice
    subscription_code: str | None = None


async def register_guest(command: RegisterGuest, context: Context, deps: Dependencies) -> Written:
    """Register, once per person per library (R10), after a fresh answer from home (R4).

    Raises MalformedCardNumber, MalformedIsil, UnknownSubscription, UnknownBranch, UnknownOrganisation,
    UnknownHomeLibrary, HomePatronNotFound, AmbiguousHomeLibrary, HomeLibraryUnknownForCard, OwnLibrary,
    ChainedGuest, GuestRefused, AlreadyRegistered, HomeLibraryUnavailable. Then nothing was written.
    """
    organisation = _organisation(command, context, deps)
    scanned = canonical_card_number(command.card_number)
    picked(command.subscription_code)
    home = await home_isil(command.home_isil, scanned, deps)
    not_our_own(home, organisation, deps)
    await not_registered_yet(organisation, refs_of(home, scanned, deps), deps)
    membership = await membership_of(home, scanned, deps)
    candidate = _Candidate(command, organisation, home, scanned, membership)
    return await retry_on_conflict(lambda: _admit(candidate, context, deps))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Somebody whom home vouches for."""

    command: RegisterGuest
    organisation: Organisation
    home: Isil
    scanned: str
    membership: Valid

    @property
    def card(self) -> Card:
        """R10: the number that home answers with is canonical, the scanned one an alias."""
        return Card.answered(self.membership.canonical_card_number, self.scanned)


async def _admit(candidate: _Candidate, context: Context, deps: Dependencies) -> Written:
    organisation = candidate.organisation
    known = await _known(candidate, deps)
    guest_id = next((guest_id for guest_id in known.values() if guest_id), None)
    guest = None if guest_id is None else await find_person(guest_id, deps)
    if guest is not None and guest.state.status is Status.ERASED:
        raise VersionConflict(guest.id)  # erased since the index was read: it finds nobody now (R19)
    key, key_rows = await key_for(guest.id if guest else None, deps)
    admission = _admission(candidate, key, next(iter(known)))
    guest = _registered(guest, admission, key.subject_id, deps)
    if organisation.grants_strips:
        guest.grant_strips(now=deps.clock.now())
    rows = [person_row(organisation.code, ref, guest.id) for ref, owner in known.items() if owner is None]
    accounts = account_rows(organisation.code, admission.link_request.account_id, guest.id)
    return await save_guest(guest, context, deps, *key_rows, *rows, *accounts)


async def _known(candidate: _Candidate, deps: Dependencies) -> dict[str, UUID | None]:
    """Map the person's references, the canonical one first, to the guest that each finds."""
    card = candidate.card
    code = candidate.organisation.code
    refs = [ref for number in (card.number, *card.aliases) for ref in refs_of(candidate.home, number, deps)]
    return {ref: await deps.registrations.guest_of(code, ref) for ref in refs}


def _registered(guest: Guest | None, admission: Admission, guest_id: UUID, deps: Dependencies) -> Guest:
    now = deps.clock.now()
    if guest is None:
        return Guest.register(guest_id, admission, today=day_of(now), now=now)
    guest.register_afresh(admission, today=day_of(now), now=now)
    return guest


def _admission(candidate: _Candidate, key: DataKey, person_ref: str) -> Admission:
    command = candidate.command
    return Admission(
        organisation=candidate.organisation.code,
        branch=command.branch,
        home_isil=str(candidate.home),
        person_ref=person_ref,
        card_has_chip=command.card_has_chip,
        identity_document_checked=command.identity_document_checked,
        subscription_code=picked(command.subscription_code).code,
        sealed_card=encrypt_card(candidate.card, key),
        sealed_details=encrypt_details(candidate.membership.details, key),
        link_request=encrypt_link_request(command.login_account, key),
    )


def _organisation(command: RegisterGuest, context: Context, deps: Dependencies) -> Organisation:
    organisation = deps.organisations.get(context.organisation)
    if organisation is None:
        raise UnknownOrganisation
    if command.branch not in organisation.branches:
        raise UnknownBranch
    return organisation


def not_our_own(home: Isil, organisation: Organisation, deps: Dependencies) -> None:
    """R11: nobody is a guest at their own library."""
    if any(home.same_library(current_isil(own, deps)) for own in organisation.isils):
        raise OwnLibrary


async def not_registered_yet(organisation: Organisation, refs: Sequence[str], deps: Dependencies) -> None:
    """R10, told before home is asked: the clerk needs the guest, also when home is silent or says no."""
    for ref in refs:
        guest_id = await deps.registrations.guest_of(organisation.code, ref)
        guest = None if guest_id is None else await find_person(guest_id, deps)
        if guest is not None and guest.state.status not in {Status.DEREGISTERED, Status.ERASED}:
            raise AlreadyRegistered(guest.id)


async def prepare_registration(
    card_number: str, home_isil: str, organisation: str, deps: Dependencies
) -> Valid:
    """Ask home as registering will do once more (R4, R10, R11); nothing is written.

    Raises MalformedCardNumber, MalformedIsil, UnknownOrganisation, OwnLibrary, AlreadyRegistered,
    UnknownHomeLibrary, HomePatronNotFound, GuestRefused, ChainedGuest, HomeLibraryUnavailable.
    """
    known = deps.organisations.get(organisation)
    if known is None:
        raise UnknownOrganisation
    card = canonical_card_number(card_number)
    home = current_isil(home_isil, deps)
    not_our_own(home, known, deps)
    await not_registered_yet(known, refs_of(home, card, deps), deps)
    return await membership_of(home, card, deps)
