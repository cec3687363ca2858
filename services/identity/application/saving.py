"""One append for all that a decision changes; when another was first, decide again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from eventsourcing.domain import Aggregate

from identity.application.ports import Identity
from shared.event_log import Metadata, SideRow, SideRowConflict, VersionConflict

T = TypeVar("T")

# Written along only by what a decision opens. Held by another: the decision was made on an old state.
_OURS = frozenset({"data_keys_pkey", "usernames_pkey"})
_ATTEMPTS = 20


async def save(
    identity: Identity, *aggregates: Aggregate, metadata: Metadata, side_rows: Sequence[SideRow]
) -> int:
    """Save all or nothing; the log's position. Raises VersionConflict: decide again."""
    try:
        return await identity.store.save(*aggregates, metadata=metadata, side_rows=side_rows)
    except SideRowConflict as conflict:
        if conflict.constraint in _OURS:
            raise VersionConflict(conflict.constraint) from conflict
        raise


async def decided_again(decide: Callable[[], Awaitable[T]]) -> T:
    """Decide and save; when another command changed the same stream first, load and decide again."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(VersionConflict):
            return await decide()
    return await decide()
