"""Orphans: guests that identity has and registration does not, since its database was restored (ADR 0033)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from identity.application.dependencies import MOST_ASKED_GUESTS, Context, Dependencies
from identity.application.repository import release_guest, save
from identity.domain.errors import NotAnOrphan, OtherRegistrationLog
from identity.domain.guest_link import GuestLink
from shared.event_log import SideRow, retry_on_conflict

PAGE = MOST_ASKED_GUESTS
NOTED = GuestLink.Noted.TOPIC


@dataclass(frozen=True, slots=True)
class ReleaseOrphan:
    """Let a guest go that registration lost. `followed`: the log of registration that identity follows."""

    guest_id: UUID
    reason: str
    followed: str | None


async def find_orphans(
    followed: str | None, deps: Dependencies, on_progress: Callable[[int], None] = lambda _: None
) -> AsyncIterator[GuestLink]:
    """Find the guests that count as registered here, and that registration does not have.

    Identity hears of a guest only after registration committed it, so a new guest is never found. `followed`:
    the log of registration that identity follows. Raises RegistrationUnavailable, OtherRegistrationLog.
    """
    position = 0
    while events := await deps.store.log.read(position, PAGE):
        noted = [event.stream_id for event in events if event.event_type == NOTED]
        for guest_id in await _unknown(noted, followed, deps):
            link = await deps.store.load(GuestLink, guest_id)
            if link.registered:
                yield link
        position = events[-1].position
        on_progress(position)


async def _unknown(guest_ids: Sequence[UUID], followed: str | None, deps: Dependencies) -> list[UUID]:
    """Return those guests that registration does not have, at most MOST_ASKED_GUESTS."""
    if not guest_ids:
        return []
    known = await deps.registration.known_guests(guest_ids)
    if known.source != followed:
        raise OtherRegistrationLog
    return [guest_id for guest_id in guest_ids if guest_id not in known.guest_ids]


async def release_orphan(command: ReleaseOrphan, context: Context, deps: Dependencies) -> None:
    """End the guest's link as a deregistration does (R21), and keep who did it and why.

    The account is free for the same person's next registration, and logs in as the same actor. Raises
    NotAnOrphan for a guest that is not one (any more), RegistrationUnavailable, OtherRegistrationLog.
    """
    await retry_on_conflict(partial(_release, command, context, deps))


async def _release(command: ReleaseOrphan, context: Context, deps: Dependencies) -> None:
    link = await deps.store.find(GuestLink, command.guest_id)
    if link is None or not link.registered:
        raise NotAnOrphan
    if not await _unknown([link.id], command.followed, deps):
        raise NotAnOrphan
    now = deps.clock.now()
    changed = await release_guest(link, deps, now)
    link.change_guest_status(link.guest_status.deregistered(), now)
    released = SideRow(
        "released_orphans",
        {"guest_id": link.id, "reason": command.reason, "released_by": context.metadata.caused_by},
    )
    await save(
        deps,
        link,
        *(aggregate for loaded in changed for aggregate in loaded.aggregates),
        metadata=context.metadata,
        side_rows=[released, *(row for loaded in changed for row in loaded.side_rows)],
    )
