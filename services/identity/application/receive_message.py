"""Apply the messages of registration about a guest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from identity.application.dependencies import MERGED, Dependencies
from identity.application.erase_guest import erase_guest
from identity.application.link_guest import RequestedAccount, link_guest
from identity.application.repository import LoadedAccount, find_account, release_guest, save
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.guest_status import GuestStatus
from shared.event_log import Metadata, SideRow, erased_by, erasure_row
from shared.messaging.envelope import Message

REGISTERED = "guest-registered.v1"
ERASED = "personal-data-erased.v1"
UNLINKED = "login-account-unlinked.v1"
RELEASING = {UNLINKED, "guest-deregistered.v1", MERGED}
"""The messages that release the guest's login account."""

Changed = Sequence[LoadedAccount]


async def receive_message(message: Message, inbox_row: SideRow, *, deps: Dependencies) -> None:
    """Apply one message of registration. This is the handler of identity's inbox.

    One append writes the link, the accounts, the actors, the inbox row and the rows of an erasure. The inbox
    row is written also when nothing else changes. An erasure is written to the ledger afterwards.

    Raises VersionConflict when another command was first: call it again. Raises TryAgain when something is
    unavailable: wait.
    """
    now = deps.clock.now()
    link = await deps.store.find(GuestLink, message.subject)
    changed: Changed = []
    if link is not None:
        changed = await _apply(message, link, deps, now)
    elif message.type == REGISTERED and not message.erased:
        link = _note_guest(message, now)
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


def requested_account(login_account: Mapping[str, Any] | None) -> RequestedAccount | None:
    """Read the `login_account` of a message. None: the message asks for no account, so a link stays."""
    if login_account is None or login_account["choice"] == "none":
        return None
    return RequestedAccount(login_account["account_id"], new=login_account["choice"] == "new")


def _note_guest(message: Message, now: datetime) -> GuestLink:
    return GuestLink.note(
        message.subject,
        organisation=message.data["organisation"],
        person_ref=message.data["person_ref"],
        ends_on=_day(message.data["term"]["end"]),
        now=now,
    )


async def _apply(message: Message, link: GuestLink, deps: Dependencies, now: datetime) -> Changed:
    """Apply a message to a known guest. Returns the accounts to save.

    Of an erased guest's messages only a release or the erasure has an effect. Message types that are not
    named here have none.
    """
    if link.erased:
        return []
    if message.type == ERASED:
        return await erase_guest(link, deps, now)
    if message.type in RELEASING:
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
    return await _report_to_account(link, deps, now)


async def _report_to_account(link: GuestLink, deps: Dependencies, now: datetime) -> Changed:
    """Change the guest status in the linked account too (I7). Returns the account to save.

    A login of a linked account reads only the account (ADR 0006).
    """
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
    REGISTERED: lambda status, message: status.registered_until(_day(message.data["term"]["end"])),
    "guest-reregistered.v1": lambda status, message: status.registered_until(
        _day(message.data["term"]["end"])
    ),
    "term-confirmed.v1": lambda status, message: status.confirmed_until(_day(message.data["end"])),
    "subscription-expired.v1": lambda status, _: status.expired(),
    "guest-suspended.v1": lambda status, _: status.suspended(),
    "guest-reinstated.v1": lambda status, _: status.reinstated(),
}
"""Message type -> the new guest status (I7). A deregistered guest may be registered again (R21)."""
