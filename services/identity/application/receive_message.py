"""Apply the messages of registration about a guest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from identity.application.dependencies import MERGED, Dependencies
from identity.application.erase_guest import erase_guest
from identity.application.link_guest import RequestedAccount, link_guest
from identity.application.repository import LoadedAccount, find_account, release_guest, save
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.guest_status import GuestStatus
from shared.event_log import Metadata, SideRow, erased_by, erasure_row
from shared.messaging.envelope import Identifier, Message, data_of
from shared.messaging.errors import MalformedMessage

REGISTERED = "guest-registered.v1"
IMPORTED = "guest-imported.v1"
ERASED = "personal-data-erased.v1"
UNLINKED = "login-account-unlinked.v1"
RELEASING = {UNLINKED, "guest-deregistered.v1", MERGED}
"""The messages that release the guest's login account."""
LINK_REQUESTED = "login-account-link-requested.v1"

Changed = Sequence[LoadedAccount]


class _Ending(BaseModel):
    """A term, or its confirmation. `end` None: open-ended."""

    end: date | None


class _WithTerm(BaseModel):
    """A registration or a re-registration."""

    term: _Ending


class _Expired(BaseModel):
    """An expiry on this day."""

    on: date


class _LoginAccount(BaseModel):
    """The account that registration asks for; with the choice `none` it asks for none."""

    choice: Literal["existing", "new", "none"]
    account_id: Identifier | None = None


class _Request(BaseModel):
    """A message that may ask for an account. None: the present link stays."""

    login_account: _LoginAccount | None = None


class _Registered(_WithTerm):
    """A registration."""

    organisation: Identifier
    person_ref: Identifier
    login_account: _LoginAccount


class _Imported(_Registered):
    """A guest of before. `expired_on` None: the subscription runs."""

    expired_on: date | None


class _Merged(BaseModel):
    """The guest that the guest was merged into."""

    into: UUID


async def receive_message(message: Message, inbox_row: SideRow, *, deps: Dependencies) -> None:
    """Apply one message of registration. This is the handler of identity's inbox.

    One append writes the link, the accounts, the actors, the inbox row and the rows of an erasure. The inbox
    row is written also when nothing else changes. An erasure is written to the ledger afterwards.

    Raises VersionConflict when another command was first: call it again. Raises TryAgain when something is
    unavailable: wait. Raises MalformedMessage for data that the message must not have.
    """
    if message.type not in HAVE_AN_EFFECT:
        await save(
            deps, metadata=Metadata("identity", message.correlation_id, message.id), side_rows=[inbox_row]
        )
        return
    now = deps.clock.now()
    link = await deps.store.find(GuestLink, message.subject)
    changed: Changed = []
    if link is not None:
        changed = await _apply(message, link, deps, now)
    elif message.type in BEGINNINGS and not message.erased:
        link, changed = await BEGINNINGS[message.type](message, deps, now)
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


async def _registered(message: Message, deps: Dependencies, now: datetime) -> tuple[GuestLink, Changed]:
    registered = data_of(message, _Registered)
    link = _note_guest(message.subject, registered, now)
    return link, await link_guest(link, _requested_account(registered.login_account), deps, now)


async def _imported(message: Message, deps: Dependencies, now: datetime) -> tuple[GuestLink, Changed]:
    """Note a guest of before. A link that it had is never too late (I13)."""
    imported = data_of(message, _Imported)
    link = _note_guest(message.subject, imported, now)
    if imported.expired_on is not None:
        link.change_guest_status(link.guest_status.expired(imported.expired_on), now)
    asked = _requested_account(imported.login_account)
    return link, await link_guest(link, asked, deps, now, existed=True)


BEGINNINGS = {REGISTERED: _registered, IMPORTED: _imported}
"""The messages with which a guest begins."""


def _requested_account(asked: _LoginAccount | None) -> RequestedAccount | None:
    """Return the account that is asked for. None: no account is, so a link stays."""
    if asked is None or asked.choice == "none":
        return None
    if asked.account_id is None:
        raise MalformedMessage("data.login_account.account_id: it is missing")
    return RequestedAccount(asked.account_id, new=asked.choice == "new")


def _note_guest(guest_id: UUID, registered: _Registered, now: datetime) -> GuestLink:
    return GuestLink.note(
        guest_id,
        organisation=registered.organisation,
        person_ref=registered.person_ref,
        ends_on=registered.term.end,
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
            link.merge_into(data_of(message, _Merged).into, now)
        changed = await release_guest(link, deps, now)
        if message.type != UNLINKED:
            link.change_guest_status(link.guest_status.deregistered(), now)
        return changed
    if message.erased:
        return []
    if message.type in STATUS_CHANGES:
        link.change_guest_status(STATUS_CHANGES[message.type](link.guest_status, message), now)
    if asked := _requested_account(data_of(message, _Request).login_account):
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


STATUS_CHANGES: Mapping[str, Callable[[GuestStatus, Message], GuestStatus]] = {
    REGISTERED: lambda status, message: status.registered_until(data_of(message, _WithTerm).term.end),
    "guest-reregistered.v1": lambda status, message: status.registered_until(
        data_of(message, _WithTerm).term.end
    ),
    "term-confirmed.v1": lambda status, message: status.confirmed_until(data_of(message, _Ending).end),
    "subscription-expired.v1": lambda status, message: status.expired(data_of(message, _Expired).on),
    "guest-suspended.v1": lambda status, _: status.suspended(),
    "guest-reinstated.v1": lambda status, _: status.reinstated(),
}
"""Message type -> the new guest status (I7). A deregistered guest may be registered again (R21)."""

HAVE_AN_EFFECT = {*BEGINNINGS, ERASED, LINK_REQUESTED, *RELEASING, *STATUS_CHANGES}
"""All other messages only move the inbox, so nothing is read for them."""
