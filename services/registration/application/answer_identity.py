"""What identity may ask: registrations, new accounts, home libraries, equal birth dates (I2, I4, I6)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from uuid import UUID

from registration.application.dependencies import Dependencies
from registration.application.follow_aliases import is_behind
from registration.application.membership import current_isil, is_library_of, merged_into
from registration.application.repository import decrypt_personal_data
from registration.domain.errors import GuestNotFound, ReferencesIncomplete
from registration.domain.guest import Guest
from shared.kernel.library_card import Isil
from shared.messaging.envelope import Message
from shared.messaging.feed import Feed


@dataclass(frozen=True, slots=True)
class RegistrationsQuery:
    """An organisation, and an account or a person or both.

    `home_isil`: the library of the card that `person_ref` is of; None when that is not known.
    """

    organisation: str
    account_id: str | None = None
    person_ref: str | None = None
    home_isil: str | None = None


@dataclass(frozen=True, slots=True)
class RegisteredGuest:
    """A guest with all its messages from the first version."""

    guest_id: UUID
    messages: Sequence[Message]


async def list_registrations(
    query: RegistrationsQuery, deps: Dependencies, feed: Feed
) -> list[RegisteredGuest]:
    """Return the registrations from committed state (I4); `feed` is this service's own.

    A merged record comes together with its guest (R18), and before it: the account that the merge released
    must be free before the guest can have it.

    Raises ReferencesIncomplete while the index may not find the person under this reference (I10),
    MalformedIsil.
    """
    if query.person_ref is not None:
        await _require_references(query.home_isil, deps)
    guest_ids = await _guest_ids(query, deps)
    found = [await deps.store.find(Guest, guest_id) for guest_id in guest_ids]
    merged = {guest.id: guest.state.merged_into for guest in found if guest and guest.state.merged_into}
    ordered = dict.fromkeys([*merged, *guest_ids, *merged.values()])
    return [
        RegisteredGuest(guest_id, await feed.of_subject(guest_id, after_version=0)) for guest_id in ordered
    ]


async def _guest_ids(query: RegistrationsQuery, deps: Dependencies) -> list[UUID]:
    found: list[UUID] = []
    if query.person_ref is not None:
        for ref in await deps.registrations.references_of(query.person_ref):
            found += await deps.registrations.guests_of(query.organisation, ref)
    if query.account_id is not None:
        found += await deps.registrations.guests_asking_for(query.organisation, query.account_id)
    return list(dict.fromkeys(found))


async def _require_references(isil: str | None, deps: Dependencies) -> None:
    home = None if isil is None else Isil.parse(isil)
    if is_behind(await deps.registrations.state(), dict(deps.isil_aliases), home):
        raise ReferencesIncomplete


async def is_own_library(organisation: str, isil: str, deps: Dependencies) -> bool:
    """Return whether this library belongs to the organisation (I4), also after a merger (R3).

    Raises ReferencesIncomplete, MalformedIsil.
    """
    await _require_references(isil, deps)
    known = deps.organisations.get(organisation)
    return known is not None and is_library_of(current_isil(isil, deps), known, deps)


async def is_home_library(guest_id: UUID, isil: str, deps: Dependencies) -> bool:
    """Return whether this library is the guest's home library today (I2), also after a merger (R3).

    Raises GuestNotFound, ReferencesIncomplete, MalformedIsil.
    """
    await _require_references(isil, deps)
    guest = await deps.store.find(Guest, guest_id)
    if guest is None:
        raise GuestNotFound
    return current_isil(isil, deps).same_library(current_isil(guest.state.home_isil, deps))


async def known_guests(guest_ids: Collection[UUID], deps: Dependencies) -> set[UUID]:
    """Return those guests that this log has, erased and merged ones too: not those that a restore lost."""
    return await deps.store.log.existing(guest_ids)


class BirthDates(StrEnum):
    """How birth dates compare. Unknown and erased dates are left out."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


async def compare_birth_dates(one: Sequence[UUID], other: Sequence[UUID], deps: Dependencies) -> BirthDates:
    """Compare the birth dates of two groups of guests, of any organisation (I6)."""
    dates = [await _birth_dates(guest_ids, deps) for guest_ids in (one, other)]
    if not all(dates):
        return BirthDates.UNKNOWN
    return BirthDates.SAME if len(set.union(*dates)) == 1 else BirthDates.DIFFERENT


async def _birth_dates(guest_ids: Sequence[UUID], deps: Dependencies) -> set[date]:
    found = [await deps.store.find(Guest, guest_id) for guest_id in guest_ids]
    people = [decrypt_personal_data(guest) for guest in found if guest is not None]
    return {person.details.birth_date for person in people if person and person.details.birth_date}


@dataclass(frozen=True, slots=True)
class NewAccount:
    """The data for a new account. Username and e-mail are personal.

    `merged_isils`: the libraries that are one with the home library now; a username is taken at all of them.
    """

    account_id: str
    home_isil: str
    username: str
    email: str
    merged_isils: Sequence[str] = ()


async def new_account(guest_id: UUID, account_id: str | None, deps: Dependencies) -> NewAccount | None:
    """Return the data requested for this account id (None: the last one); None if there is none, or erased.

    Raises GuestNotFound.
    """
    guest = await deps.store.find(Guest, guest_id)
    if guest is None:
        raise GuestNotFound
    requested = guest.state.new_accounts
    wanted = account_id or next(reversed(list(requested)), None)
    sealed = requested.get(wanted or "")
    key = await deps.data_keys.get(guest_id)
    if wanted is None or sealed is None or key is None:
        return None
    opened = key.decrypt(sealed)
    home = current_isil(guest.state.home_isil, deps)
    return NewAccount(wanted, str(home), opened["username"], opened["email"], merged_into(home, deps))
