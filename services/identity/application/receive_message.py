"""Hear from registration what happened to a guest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

from identity.application.dependencies import Dependencies
from identity.application.erase_guest import erase_guest
from identity.application.link_guest import MERGED, link_guest, release_guest, requested_account
from identity.application.repository import LoadedAccount, find_account, save
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.guest_status import GuestStatus
from shared.event_log import Metadata, SideRow, erased_by, erasure_row
from shared.messaging.envelope import Message

Changed = Sequence[LoadedAccount]


async def receive_guest_event(message: Message, inbox_row: SideRow, *, deps: Dependencies) -> None:
    """Apply one message of registration: the handler of identity's inbox.

    Guest, account, actor and inbox row go in one append, the row also when nothing changes here; so do the
    rows of an erasure, which then goes into the ledger. Raises VersionConflict (call it again) and TryAgain
    (wait).
    """
    now = deps.clock.now()
    link = await deps.store.find(GuestLink, message.subject)
    changed: Changed = []
    if link is not None:
        changed = await _apply(message, link, deps, now)
    elif message.type == REGISTERED and not message.erased:
        link = _noted(message, now)
        changed = await link_guest(link, requested_account(message.data["login_account"]), deps, now)
    rows = [row for loaded in changed for row in loaded.side_rows]
    if message.type == ERASED:
        rows.append(erasure_row(message.subject))
    await save(
        deps,
        *([] if link is None else [link]),
        *(aggregate for loaded in changed for aggregate in loaded.aggregates),
        metadata=Metadata("identity", message.correlation_id, message.id),
        side_rows=[inbox_row, *rows],
    )
    await deps.erasure_ledger.note(erased_by(rows))


REGISTERED = "guest-registered.v1"
ERASED = "personal-data-erased.v1"
UNLINKED = "login-account-unlinked.v1"
LETTING_GO = {UNLINKED, "guest-deregistered.v1", MERGED}


def _noted(message: Message, now: datetime) -> GuestLink:
    return GuestLink.note(
        message.subject,
        organisation=message.data["organisation"],
        person_ref=message.data["person_ref"],
        ends_on=_day(message.data["term"]["end"]),
        now=now,
    )


async def _apply(message: Message, link: GuestLink, deps: Dependencies, now: datetime) -> Changed:
    """The effect on a guest that is known. An erased message only still lets go; other types have none."""
    if link.erased:
        return []
    if message.type == ERASED:
        return await erase_guest(link, deps, now)
    if message.type in LETTING_GO:
        if message.type == MERGED:
            link.merge_into(UUID(message.data["into"]), now)
        changed = await release_guest(link, deps, now)
        if message.type != UNLINKED:
            link.change_guest_status(link.guest_status.deregistered(), now)
        return changed
    if message.erased:
        return []
    if message.type in STATUS_CHANGES:
        link.change_guest_status(STATUS_CHANGES[message.type](link.guest_status, message), now)
    if asked := requested_account(message.data.get("login_account")):
        return await link_guest(link, asked, deps, now)
    return await _reporting(link, deps, now)


async def _reporting(link: GuestLink, deps: Dependencies, now: datetime) -> Changed:
    """The linked account, which answers logins by itself and so has to know the standing too (I7)."""
    if not link.pending_events or not isinstance(link.answer, Linked):
        return []
    loaded = await find_account(link.answer.account_id, deps)
    if loaded is None:
        return []
    loaded.account.change_guest_status(link.id, link.guest_status, now)
    return [loaded]


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


STATUS_CHANGES: Mapping[str, Callable[[GuestStatus, Message], GuestStatus]] = {
    REGISTERED: lambda was, told: was.registered_until(_day(told.data["term"]["end"])),
    "guest-reregistered.v1": lambda was, told: was.registered_until(_day(told.data["term"]["end"])),
    "term-confirmed.v1": lambda was, told: was.confirmed_until(_day(told.data["end"])),
    "subscription-expired.v1": lambda was, _: was.expired(),
    "guest-suspended.v1": lambda was, _: was.suspended(),
    "guest-reinstated.v1": lambda was, _: was.reinstated(),
}
"""What registration tells of a guest's standing (I7); a card that was taken back may be registered afresh."""
