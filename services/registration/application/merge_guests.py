"""Make one of two records of the same person: ontdubbelen (R18)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from registration.application.dependencies import Context, Dependencies, Written
from registration.application.membership import current_isil, refs_of
from registration.application.personal_data import decrypt_personal_data
from registration.application.repository import load_guest
from registration.application.show_guest import GuestView, show_guest
from registration.domain.guest import Guest
from registration.domain.merge import (
    MergeBlocked,
    MergedWithErased,
    Particulars,
    Sameness,
    may_be_merged,
    same_person,
)
from registration.domain.term_check import Status
from shared.event_log import retry_on_conflict


@dataclass(frozen=True, slots=True)
class MergeGuests:
    """`guest_id` becomes a signpost to `into`."""

    guest_id: UUID
    into: UUID


@dataclass(frozen=True, slots=True)
class Merge:
    """Both records as they are now. `merged`: it was done.

    Otherwise `same_by` shows that they are one person, or `blocked` why they cannot be merged. The login
    account `kept_account` stays, `released_account` is or would be let go.
    """

    guest: GuestView
    into: GuestView
    merged: bool
    same_by: Sameness | None = None
    blocked: MergeBlocked | None = None
    kept_account: str | None = None
    released_account: str | None = None


async def show_merge(command: MergeGuests, organisation: str, deps: Dependencies) -> Merge:
    """Show what a merge would do, or what it did; nothing is written. Raises GuestNotFound (R20)."""
    guest = await load_guest(command.guest_id, organisation, deps)
    into = await load_guest(command.into, organisation, deps)
    shown = (
        await show_guest(guest.id, organisation, deps),
        await show_guest(into.id, organisation, deps),
    )
    kept, released = into.state.link.account_id, guest.state.link.account_id
    if guest.state.merged_into == into.id:
        return Merge(*shown, merged=True, kept_account=kept)
    try:
        same_by = await _same_person(guest, into, deps)
    except MergeBlocked as blocked:
        return Merge(*shown, merged=False, blocked=blocked)
    return Merge(*shown, merged=False, same_by=same_by, kept_account=kept, released_account=released)


async def merge_guests(command: MergeGuests, context: Context, deps: Dependencies) -> Written:
    """Merge; done before, it changes nothing. The login account of `into` wins, the other is released.

    Signposts to the merged record point at `into` from now on, all in one append: no signpost ever points at
    a signpost. Raises GuestNotFound, MergeBlocked.
    """
    return await retry_on_conflict(lambda: _merge(command, context, deps))


async def _merge(command: MergeGuests, context: Context, deps: Dependencies) -> Written:
    guest = await load_guest(command.guest_id, context.organisation, deps)
    into = await load_guest(command.into, context.organisation, deps)
    signposts: list[Guest] = []
    if guest.state.merged_into != into.id:
        await _same_person(guest, into, deps)
        found = [await deps.store.load(Guest, each) for each in guest.state.merged_from]
        signposts = [*(each for each in found if each.state.status is not Status.ERASED), guest]
    now = deps.clock.now()
    for signpost in signposts:
        signpost.merge_into(into.id, now=now)
        into.absorb(signpost.id, now=now)
    # The guest comes last: the position that its Idempotency-Key remembers is that of its stream.
    position = await deps.store.save(
        into, *signposts, metadata=context.metadata, side_rows=context.side_rows(guest.id)
    )
    return Written(guest.id, position)


async def _same_person(guest: Guest, into: Guest, deps: Dependencies) -> Sameness:
    may_be_merged(guest, into)
    return same_person(await _particulars(guest, deps), await _particulars(into, deps))


async def _particulars(guest: Guest, deps: Dependencies) -> Particulars:
    person = await decrypt_personal_data(guest, deps)
    if person is None:
        raise MergedWithErased  # just now
    home = current_isil(guest.state.home_isil, deps)
    numbers = (person.card.number, *person.card.aliases)
    refs = {ref for number in numbers for ref in refs_of(home, number, deps)}
    return Particulars(frozenset(refs | {guest.state.person_ref}), person.details)
