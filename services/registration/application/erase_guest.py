"""Destroy all that is personal of a guest (R19); the history stays, and can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from registration.application.dependencies import Dependencies, Written
from registration.domain.errors import GuestNotFound
from registration.domain.guest import Guest
from registration.domain.guest_state import GuestState
from shared.event_log import Metadata, brought_back, erasure_row, retry_on_conflict
from shared.kernel.amsterdam import day_of


async def erase_personal_data(guest_id: UUID, metadata: Metadata, deps: Dependencies) -> Written:
    """Destroy the guest's key and every row that finds the guest, in one append with the event.

    So too of the records that were merged into the guest: they are of the same person (R18). A signpost can
    be erased by itself. An operator may, at every organisation. Done before, it changes nothing, and goes
    into the ledger once more: whoever got no answer asks again. Raises GuestNotFound; OSError when the
    ledger cannot be written.
    """

    async def attempt() -> tuple[Written, Sequence[UUID]]:
        guest = await deps.store.find(Guest, guest_id)
        if guest is None:
            raise GuestNotFound
        return await _erase(guest, metadata, deps)

    written, ids = await retry_on_conflict(attempt)
    await deps.erasure_ledger.note(ids)
    return written


async def erase_if(
    condition: Callable[[GuestState], bool], guest_id: UUID, metadata: Metadata, deps: Dependencies
) -> bool:
    """Do the same to a guest of whom this holds at that very moment; answer whether it did."""

    async def attempt() -> Sequence[UUID]:
        guest = await deps.store.find(Guest, guest_id)
        if guest is None or not condition(guest.state):
            return ()
        return (await _erase(guest, metadata, deps))[1]

    ids = await retry_on_conflict(attempt)
    await deps.erasure_ledger.note(ids)
    return bool(ids)


async def _erase(guest: Guest, metadata: Metadata, deps: Dependencies) -> tuple[Written, Sequence[UUID]]:
    signposts = [await deps.store.load(Guest, each) for each in guest.state.merged_from]
    erased = [*signposts, guest]
    now = deps.clock.now()
    for each in erased:
        each.erase_personal_data(today=day_of(now), now=now)
    ids = [each.id for each in erased]
    rows = [erasure_row(each) for each in ids]
    position = await deps.store.save(*erased, metadata=metadata, side_rows=rows)
    return Written(guest.id, position), ids


async def apply_erasures(metadata: Metadata, deps: Dependencies) -> int:
    """Erase whomever the ledger knows as erased and a restored backup brought back; answer how many."""
    subjects = await brought_back(deps.store.log, deps.erasure_ledger)
    for subject_id in subjects:
        try:
            await erase_personal_data(subject_id, metadata, deps)
        except GuestNotFound:  # registered after the backup: only a key may have come from elsewhere
            await deps.store.log.append([], [erasure_row(subject_id)])
    return len(subjects)
