"""Show what is held of a login account."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from identity.application.accounts import details_of, own_account
from identity.application.ports import AccountDetails, Identity
from identity.domain.account_history import FirstLogin, GuestOfAccount
from identity.domain.errors import AccountNotFound
from identity.domain.login_account import LoginAccount


@dataclass(frozen=True, slots=True)
class ShownAccount:
    """The account with its links and logins.

    `actor_id` None: so far it is in the directory only. `details` None: they were erased.
    """

    account_id: str
    home_isil: str
    actor_id: UUID | None = None
    details: AccountDetails | None = None
    guests: tuple[GuestOfAccount, ...] = ()
    logins: tuple[FirstLogin, ...] = ()


async def show_login_account(account_id: str, identity: Identity) -> ShownAccount:
    """Read it from its stream, else from the directory. Raises AccountNotFound, DirectoryUnavailable."""
    if at_hand := await own_account(account_id, identity):
        return await _shown(at_hand.account, identity)
    listed = await identity.directory.by_id(account_id)
    if listed is None:
        raise AccountNotFound
    return ShownAccount(account_id, listed.home_isil, details=listed)


async def show_opened_account(account_stream: UUID, identity: Identity) -> ShownAccount:
    """The account of this stream, just after it was opened. Raises AccountNotFound."""
    account = await identity.store.find(LoginAccount, account_stream)
    if account is None:
        raise AccountNotFound
    return await _shown(account, identity)


async def _shown(account: LoginAccount, identity: Identity) -> ShownAccount:
    return ShownAccount(
        account_id=account.account_id,
        home_isil=account.home_isil,
        actor_id=account.actor_id,
        details=await details_of(account, identity),
        guests=tuple(account.guests.values()),
        logins=tuple(account.first_logins.values()),
    )
