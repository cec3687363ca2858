"""What identity may ask: registrations, the data of a new account, equal birth dates (I2, I4, I6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from uuid import UUID

from registration.application.dependencies import Dependencies
from registration.application.personal_data import decrypt_personal_data
from registration.domain.errors import GuestNotFound
from registration.domain.guest import Guest
from shared.messaging.envelope import Message
from shared.messaging.feed import Feed


@dataclass(frozen=True, slots=True)
class RegistrationsQuery:
    """An organisation, and an account or a person or both."""

    organisation: str
    account_id: str | None = None
    person_ref: str | None = None


@dataclass(frozen=True, slots=True)
class RegisteredGuest:
    """A guest with all of its messages, from the first version on."""

    guest_id: UUID
    messages: Sequence[Message]


async def list_registrations(
    query: RegistrationsQuery, deps: Dependencies, feed: Feed
) -> list[RegisteredGuest]:
    """List them from committed state; `feed` is our own (LogFeed).

    A record that was merged comes with the guest that it points at (R18), and before it: what the merge
    released must be free before the other can have it.
    """
    guest_ids = await _guest_ids(query, deps)
    found = [await deps.store.find(Guest, each) for each in guest_ids]
    signposts = {guest.id: guest.state.merged_into for guest in found if guest and guest.state.merged_into}
    ordered = dict.fromkeys([*signposts, *guest_ids, *signposts.values()])
    return [RegisteredGuest(each, await feed.of_guest(each, after_version=0)) for each in ordered]


async def _guest_ids(query: RegistrationsQuery, deps: Dependencies) -> list[UUID]:
    found: list[UUID] = []
    if query.person_ref is not None:
        by_person = await deps.registrations.guest_of(query.organisation, query.person_ref)
        found += [] if by_person is None else [by_person]
    if query.account_id is not None:
        found += await deps.registrations.guests_asking_for(query.organisation, query.account_id)
    return list(dict.fromkeys(found))


class BirthDates(StrEnum):
    """How they compare. An unknown date, or one that was erased, is left out."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


async def compare_birth_dates(one: Sequence[UUID], other: Sequence[UUID], deps: Dependencies) -> BirthDates:
    """Compare each of these guests with each of those, of whatever organisation."""
    dates = [await _birth_dates(guest_ids, deps) for guest_ids in (one, other)]
    if not all(dates):
        return BirthDates.UNKNOWN
    return BirthDates.SAME if len(set.union(*dates)) == 1 else BirthDates.DIFFERENT


async def _birth_dates(guest_ids: Sequence[UUID], deps: Dependencies) -> set[date]:
    found = [await deps.store.find(Guest, each) for each in guest_ids]
    people = [await decrypt_personal_data(guest, deps) for guest in found if guest is not None]
    return {person.details.birth_date for person in people if person and person.details.birth_date}


@dataclass(frozen=True, slots=True)
class NewAccount:
    """The wishes for an account that does not exist yet; username and e-mail are personal."""

    account_id: str
    home_isil: str
    username: str
    email: str


async def new_account(guest_id: UUID, account_id: str | None, deps: Dependencies) -> NewAccount | None:
    """Give what was asked for under this account id (None: the last one); None when never, or erased.

    Raises GuestNotFound.
    """
    guest = await deps.store.find(Guest, guest_id)
    if guest is None:
        raise GuestNotFound
    new_account_request = guest.state.new_accounts
    wanted = account_id or next(reversed(list(new_account_request)), None)
    sealed = new_account_request.get(wanted or "")
    key = await deps.data_keys.get(guest_id)
    if wanted is None or sealed is None or key is None:
        return None
    opened = key.decrypt(sealed)
    return NewAccount(wanted, guest.state.home_isil, opened["username"], opened["email"])
