"""Merge two records of the same person: ontdubbelen (R18)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from registration.application.dependencies import Context, Dependencies
from registration.application.membership import current_isil, refs_of
from registration.application.repository import decrypt_personal_data, find_person, load_guest
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
from shared.event_log import CommandResult, retry_on_conflict


@dataclass(frozen=True, slots=True)
class MergeGuests:
    """`guest_id` becomes a merged record of `into`."""

    guest_id: UUID
    into: UUID


@dataclass(frozen=True, slots=True)
class Merge:
    """Both records as they are now. `merged`: the merge is done.

    Otherwise `same_by` says why they are one person, or `blocked` why they cannot be merged. The login
    account `kept_account` stays; `released_account` would be released.
    """

    guest: GuestView
    into: GuestView
    merged: bool
    same_by: Sameness | None = None
    blocked: MergeBlocked | None = None
    kept_account: str | None = None
    released_account: str | None = None


async def show_merge(command: MergeGuests, organisation: str, deps: Dependencies) -> Merge:
    """Return what a merge would do, or has done; nothing is written. Raises GuestNotFound (R20)."""
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


async def merge_guests(command: MergeGuests, context: Context, deps: Dependencies) -> CommandResult:
    """Merge two records; a repeated merge changes nothing. `into` keeps its login account (R18).

    Earlier merged records of `guest_id` point to `into` afterwards, in the same append: a merged record never
    points to another merged record. Raises GuestNotFound, MergeBlocked.
    """
    return await retry_on_conflict(lambda: _merge(command, context, deps))


async def _merge(command: MergeGuests, context: Context, deps: Dependencies) -> CommandResult:
    guest = await load_guest(command.guest_id, context.organisation, deps)
    into = await load_guest(command.into, context.organisation, deps)
    records: list[Guest] = []
    if guest.state.merged_into != into.id:
        await _same_person(guest, into, deps)
        earlier = [await deps.store.load(Guest, record_id) for record_id in guest.state.merged_from]
        records = [*(record for record in earlier if record.state.status is not Status.ERASED), guest]
    now = deps.clock.now()
    for record in records:
        record.merge_into(into.id, now=now)
        into.absorb(record.id, now=now)
    # The guest comes last, so that the result's position is the one of its stream.
    position = await deps.store.save(
        into, *records, metadata=context.metadata, side_rows=context.side_rows(guest.id)
    )
    return CommandResult(guest.id, position)


async def _same_person(guest: Guest, into: Guest, deps: Dependencies) -> Sameness:
    may_be_merged(guest, into)
    return same_person(await _particulars(guest, deps), await _particulars(into, deps))


async def _particulars(guest: Guest, deps: Dependencies) -> Particulars:
    person = decrypt_personal_data(guest)
    if person is None:
        raise MergedWithErased  # erased just now
    home = current_isil(guest.state.home_isil, deps)
    numbers = (person.card.number, *person.card.aliases)
    refs = {ref for number in numbers for ref in refs_of(home, number, deps)}
    refs.add(guest.state.person_ref)
    check = await deps.term_checks.last(guest.id)
    if check is not None and check.other_guest is not None:
        named = await find_person(check.other_guest, deps)
        refs |= {named.state.person_ref} if named is not None else set()
    return Particulars(frozenset(refs), person.details)
