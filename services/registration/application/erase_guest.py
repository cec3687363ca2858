"""Erase the personal data of a guest (R19); the history stays and can be replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from registration.application.dependencies import Dependencies
from registration.domain.errors import GuestNotFound
from registration.domain.guest import Guest
from registration.domain.guest_state import GuestState
from shared.event_log import (
    CommandResult,
    ErasedAgain,
    Metadata,
    RecordUnreadable,
    erase_again,
    erasure_row,
    retry_on_conflict,
)
from shared.kernel.amsterdam import day_of


async def erase_personal_data(guest_id: UUID, metadata: Metadata, deps: Dependencies) -> CommandResult:
    """Destroy the guest's key and every row that finds the guest, in one append with the event.

    The records merged into the guest are erased as well: they belong to the same person (R18). A merged
    record can be erased alone. An operator may erase guests of every organisation. A repeated erasure changes
    nothing and is noted in the ledger again, because a caller without a response repeats it. Raises
    GuestNotFound; OSError when the ledger cannot be written.
    """

    async def attempt() -> tuple[CommandResult, Sequence[UUID]]:
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
    """Erase a guest if the condition is true in the same transaction; return whether it was erased."""

    async def attempt() -> Sequence[UUID]:
        guest = await deps.store.find(Guest, guest_id)
        if guest is None or not condition(guest.state):
            return ()
        return (await _erase(guest, metadata, deps))[1]

    ids = await retry_on_conflict(attempt)
    await deps.erasure_ledger.note(ids)
    return bool(ids)


async def _erase(
    guest: Guest, metadata: Metadata, deps: Dependencies
) -> tuple[CommandResult, Sequence[UUID]]:
    records = [await deps.store.load(Guest, record_id) for record_id in guest.state.merged_from]
    erased = [*records, guest]
    now = deps.clock.now()
    for record in erased:
        record.erase_personal_data(today=day_of(now), now=now)
    ids = [record.id for record in erased]
    rows = [erasure_row(record_id) for record_id in ids]
    position = await deps.store.save(*erased, metadata=metadata, side_rows=rows)
    return CommandResult(guest.id, position), ids


async def apply_erasures(metadata: Metadata, deps: Dependencies) -> ErasedAgain:
    """Erase again the guests of the erasure ledger that a restored backup brought back."""

    async def erase(subject_id: UUID) -> None:
        try:
            await erase_personal_data(subject_id, metadata, deps)
        except (GuestNotFound, RecordUnreadable):
            # Registered after the backup was made, or not readable: the row destroys the key all the same.
            await deps.store.log.append([], [erasure_row(subject_id)])

    return await erase_again(deps.store.log, deps.erasure_ledger, erase)
