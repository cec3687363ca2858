"""Link a guest to the login account that registration asks for (I2, I3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from identity.application.dependencies import AccountDetails, BeingErased, BeingMerged, Dependencies
from identity.application.one_actor import with_one_actor
from identity.application.repository import (
    LoadedAccount,
    find_account,
    get_or_import,
    new_account,
    release_guest,
    require_new_username,
    username_taken,
)
from identity.domain.errors import (
    AccountInUse,
    AccountNotFound,
    MalformedUsername,
    OtherHomeLibrary,
    RefusalReason,
    UsernameTaken,
)
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.login_account import LoginAccount
from shared.kernel.errors import RuleBroken

REASONS: Mapping[type[RuleBroken], RefusalReason] = {
    AccountNotFound: RefusalReason.UNKNOWN_ACCOUNT,
    AccountInUse: RefusalReason.ACCOUNT_IN_USE,
    UsernameTaken: RefusalReason.USERNAME_TAKEN,
    MalformedUsername: RefusalReason.MALFORMED_USERNAME,
    OtherHomeLibrary: RefusalReason.OTHER_HOME_LIBRARY,
}


@dataclass(frozen=True, slots=True)
class RequestedAccount:
    """The account that registration asks for. `new`: open it, under the id that registration created."""

    account_id: str
    new: bool


async def link_guest(
    link: GuestLink,
    asked: RequestedAccount | None,
    deps: Dependencies,
    now: datetime,
    *,
    existed: bool = False,
) -> Sequence[LoadedAccount]:
    """Link the guest, or refuse the link with a reason. Returns the accounts to save with the link.

    `existed`: the link existed in another system before the logins here, so it is never too late (I13).

    Without a requested account nothing changes. Each request gets its own reply. A request for another
    account releases the present one, also when the new link is refused: only the last request counts.

    Raises RegistrationUnavailable, DirectoryUnavailable, BeingErased, BeingMerged.
    """
    if asked is None:
        return []
    replaced = isinstance(link.answer, Linked) and not link.concerns(asked.account_id)
    changed = [*await release_guest(link, deps, now)] if replaced else []
    try:
        loaded = await _load_requested(link, asked, deps)
        if existed:
            loaded = await with_one_actor(loaded, link.organisation, deps, now)
        linked = loaded.account.link(link.id, link.organisation, link.guest_status, now)
    except tuple(REASONS) as refusal:
        if isinstance(refusal, AccountInUse):
            await _require_in_use(refusal.guest_id, link, asked, deps)
        link.refuse(asked.account_id, REASONS[type(refusal)], now)
        return changed
    link.confirm(linked, now)
    return [*changed, loaded]


async def _require_in_use(
    guest_id: UUID, link: GuestLink, asked: RequestedAccount, deps: Dependencies
) -> None:
    """Check at registration that the guest that has the account still has a claim to it.

    That guest may have been erased (I9) or merged into another guest (R18), and identity may receive that
    message after this one. Raises BeingErased, BeingMerged, RegistrationUnavailable.
    """
    guests = await deps.registration.registrations(link.organisation, account_id=asked.account_id)
    holders = [guest for guest in guests if guest.guest_id == guest_id]
    if not holders:
        raise BeingErased
    if any(guest.merged for guest in holders):
        raise BeingMerged


async def _load_requested(link: GuestLink, asked: RequestedAccount, deps: Dependencies) -> LoadedAccount:
    if asked.new:
        return await _get_or_open(link, asked.account_id, deps)
    loaded = await get_or_import(asked.account_id, deps)
    if loaded is None:
        raise AccountNotFound
    await _require_same_library(link, loaded.account, deps)
    return loaded


async def _require_same_library(link: GuestLink, account: LoginAccount, deps: Dependencies) -> None:
    """Check that the account belongs to the guest's home library, as registration did before (R17).

    An account on the guest's own card belongs to it, and a link that exists stays. Else registration is
    asked: it knows the guest's library and the libraries that merged (R3).

    Raises OtherHomeLibrary, RegistrationUnavailable.
    """
    if account.person_ref == link.person_ref or link.id in account.guests:
        return
    if not await deps.registration.is_home_library(link.id, account.home_isil):
        raise OtherHomeLibrary


async def _get_or_open(link: GuestLink, account_id: str, deps: Dependencies) -> LoadedAccount:
    """Load the account that registration wants opened, or open it under the id that registration created."""
    if loaded := await find_account(account_id, deps):
        return loaded
    wanted = await deps.registration.new_account(link.id, account_id)
    if wanted is None:
        raise AccountNotFound
    username = require_new_username(wanted.username)
    for isil in (wanted.home_isil, *wanted.merged_isils):  # a search finds one account in all of them (I10)
        if await username_taken(username, isil, account_id, deps):
            raise UsernameTaken
    details = AccountDetails(account_id, username, wanted.email, wanted.home_isil, None)
    return await new_account(details, deps, person=link.person_ref, username_must_be_free=True)
