"""Hear from registration what happened to a guest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from uuid import UUID

from identity.application.dependencies import Identity
from identity.application.erase_guest import erase_guest
from identity.application.link_guest import MERGED, link_guest, release_guest, requested_account
from identity.application.repository import AccountAtHand, own_account, save
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.guest_status import Standing
from shared.event_log import Metadata, SideRow, erased_by, erasure_row
from shared.messaging.envelope import Message

Changed = Sequence[AccountAtHand]


async def receive_guest_event(message: Message, inbox_row: SideRow, *, identity: Identity) -> None:
    """Apply one message of registration: the handler of identity's inbox.

    Guest, account, actor and inbox row go in one append, the row also when nothing changes here; so do the
    rows of an erasure, which then goes into the ledger. Raises VersionConflict (call it again) and TryAgain
    (wait).
    """
    now = identity.clock.now()
    link = await identity.store.find(GuestLink, message.subject)
    changed: Changed = []
    if link is not None:
        changed = await _apply(message, link, identity, now)
    elif message.type == REGISTERED and not message.erased:
        link = _noted(message, now)
        changed = await link_guest(link, requested_account(message.data["login_account"]), identity, now)
    rows = [row for at_hand in changed for row in at_hand.side_rows]
    if message.type == ERASED:
        rows.append(erasure_row(message.subject))
    await save(
        identity,
        *([] if link is None else [link]),
        *(aggregate for at_hand in changed for aggregate in at_hand.aggregates),
        metadata=Metadata("identity", message.correlation_id, message.id),
        side_rows=[inbox_row, *rows],
    )
    await identity.erasure_ledger.note(erased_by(rows))


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


async def _apply(message: Message, link: GuestLink, identity: Identity, now: datetime) -> Changed:
    """The effect on a guest that is known. An erased message only still lets go; other types have none."""
    if link.erased:
        return []
    if message.type == ERASED:
        return await erase_guest(link, identity, now)
    if message.type in LETTING_GO:
        if message.type == MERGED:
            link.become_signpost(UUID(message.data["into"]), now)
        changed = await release_guest(link, identity, now)
        if message.type != UNLINKED:
            link.change_standing(link.standing.deregistered(), now)
        return changed
    if message.erased:
        return []
    if message.type in STANDINGS:
        link.change_standing(STANDINGS[message.type](link.standing, message), now)
    if asked := requested_account(message.data.get("login_account")):
        return await link_guest(link, asked, identity, now)
    return await _reporting(link, identity, now)


async def _reporting(link: GuestLink, identity: Identity, now: datetime) -> Changed:
    """The linked account, which answers logins by itself and so has to know the standing too (I7)."""
    if not link.pending_events or not isinstance(link.answer, Linked):
        return []
    at_hand = await own_account(link.answer.account_id, identity)
    if at_hand is None:
        return []
    at_hand.account.change_standing(link.id, link.standing, now)
    return [at_hand]


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


STANDINGS: Mapping[str, Callable[[Standing, Message], Standing]] = {
    REGISTERED: lambda was, told: was.registered_until(_day(told.data["term"]["end"])),
    "guest-reregistered.v1": lambda was, told: was.registered_until(_day(told.data["term"]["end"])),
    "term-confirmed.v1": lambda was, told: was.confirmed_until(_day(told.data["end"])),
    "subscription-expired.v1": lambda was, _: was.expired(),
    "guest-suspended.v1": lambda was, _: was.suspended(),
    "guest-reinstated.v1": lambda was, _: was.reinstated(),
}
"""What registration tells of a guest's standing (I7); a card that was taken back may be registered afresh."""
