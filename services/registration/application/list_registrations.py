"""Tell identity which registrations a person or an account has at an organisation (A6, I4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from registration.application.ports import Registration
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
    query: RegistrationsQuery, registration: Registration, feed: Feed
) -> list[RegisteredGuest]:
    """List them from committed state; `feed` is our own (LogFeed).

    A record that was merged comes with the guest that it points at (R18), and before it: what the merge
    released must be free before the other can have it.
    """
    guest_ids = await _guest_ids(query, registration)
    found = [await registration.store.find(Guest, each) for each in guest_ids]
    signposts = {guest.id: guest.state.merged_into for guest in found if guest and guest.state.merged_into}
    ordered = dict.fromkeys([*signposts, *guest_ids, *signposts.values()])
    return [RegisteredGuest(each, await feed.of_guest(each, after_version=0)) for each in ordered]


async def _guest_ids(query: RegistrationsQuery, registration: Registration) -> list[UUID]:
    found: list[UUID] = []
    if query.person_ref is not None:
        by_person = await registration.registrations.guest_of(query.organisation, query.person_ref)
        found += [] if by_person is None else [by_person]
    if query.account_id is not None:
        found += await registration.registrations.guests_asking_for(query.organisation, query.account_id)
    return list(dict.fromkeys(found))
