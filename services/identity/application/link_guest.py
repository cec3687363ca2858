"""Link a guest to the login account that registration asks for, or release it (I2, I3, R21)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from identity.application.dependencies import AccountDetails, BeingErased, BeingMerged, Dependencies
from identity.application.repository import LoadedAccount, find_account, get_or_import, new_account
from identity.application.usernames import plain_username, username_taken
from identity.domain.errors import (
    AccountInUse,
    AccountNotFound,
    MalformedUsername,
    RefusalReason,
    UsernameTaken,
)
from identity.domain.guest_link import GuestLink, Linked
from shared.kernel.errors import RuleBroken


async def release_guest(link: GuestLink, deps: Dependencies, now: datetime) -> Sequence[LoadedAccount]:
    """Release the guest and the account it was linked to; both are free then. What is to be saved along."""
    former = link.answer
    link.release(now)
    if not isinstance(former, Linked):
        return []
    loaded = await find_account(former.account_id, deps)
    if loaded is None:
        return []
    loaded.account.release(link.id, now)
    return [loaded]


MERGED = "guests-merged.v1"
REASONS: Mapping[type[RuleBroken], RefusalReason] = {
    AccountNotFound: RefusalReason.UNKNOWN_ACCOUNT,
    AccountInUse: RefusalReason.ACCOUNT_IN_USE,
    UsernameTaken: RefusalReason.USERNAME_TAKEN,
    MalformedUsername: RefusalReason.MALFORMED_USERNAME,
}


@dataclass(frozen=True, slots=True)
class RequestedAccount:
    """The account that registration asks for. `new`: registration minted its id, it is to be opened."""

    account_id: str
    new: bool


def requested_account(login_account: Mapping[str, Any] | None) -> RequestedAccount | None:
    """Read a message's `login_account`; None: no account is asked for, what there is stays."""
    if login_account is None or login_account["choice"] == "none":
        return None
    return RequestedAccount(login_account["account_id"], new=login_account["choice"] == "new")


async def link_guest(
    link: GuestLink, asked: RequestedAccount | None, deps: Dependencies, now: datetime
) -> Sequence[LoadedAccount]:
    """Link, or refuse with the reason; each request gets an answer of its own. What is to be saved along.

    Asking for another account lets go of the former one, also when the other is refused then: what
    registration asked last is what holds. Raises RegistrationUnavailable, DirectoryUnavailable, BeingErased,
    BeingMerged.
    """
    if asked is None:
        return []
    replaced = isinstance(link.answer, Linked) and not link.concerns(asked.account_id)
    changed = [*await release_guest(link, deps, now)] if replaced else []
    try:
        loaded = await _account(link, asked, deps)
        linked = loaded.account.link(link.id, link.organisation, link.guest_status, now)
    except tuple(REASONS) as refusal:
        if isinstance(refusal, AccountInUse):
            await _is_there(refusal.guest_id, link, asked, deps)
        link.refuse(asked.account_id, REASONS[type(refusal)], now)
        return changed
    link.confirm(linked, now)
    return [*changed, loaded]


async def _is_there(guest_id: UUID, link: GuestLink, asked: RequestedAccount, deps: Dependencies) -> None:
    """Whoever has the account may be erased and registered anew (I9), or merged into this guest (R18).

    This news can come before that.
    """
    known = await deps.registration.registrations(link.organisation, account_id=asked.account_id)
    if all(guest.guest_id != guest_id for guest in known):
        raise BeingErased
    if any(told.type == MERGED for guest in known if guest.guest_id == guest_id for told in guest.messages):
        raise BeingMerged


async def _account(link: GuestLink, asked: RequestedAccount, deps: Dependencies) -> LoadedAccount:
    if asked.new:
        return await _opened(link, asked.account_id, deps)
    loaded = await get_or_import(asked.account_id, deps)
    if loaded is None:
        raise AccountNotFound
    return loaded


async def _opened(link: GuestLink, account_id: str, deps: Dependencies) -> LoadedAccount:
    """The account that registration wants opened, under the id that it minted."""
    if known := await find_account(account_id, deps):
        return known
    wanted = await deps.registration.new_account(link.id, account_id)
    if wanted is None:
        raise AccountNotFound
    username = plain_username(wanted.username)
    if await username_taken(username, wanted.home_isil, account_id, deps):
        raise UsernameTaken
    details = AccountDetails(account_id, username, wanted.email, wanted.home_isil, None)
    return await new_account(details, deps, person=link.person_ref, username_must_be_free=True)
