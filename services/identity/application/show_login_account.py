"""Show a login account or an actor, with its links and first logins."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from identity.application.dependencies import AccountDetails, Dependencies
from identity.application.repository import (
    account_of,
    accounts_of,
    details_of,
    find_account,
    load_actor,
    person_of,
)
from identity.domain.actor import Actor
from identity.domain.errors import AccountNotFound, ActorNotFound
from identity.domain.login_account import FirstLogin, GuestOfAccount, LoginAccount


@dataclass(frozen=True, slots=True)
class ShownActor:
    """An actor with its guests and first logins. These can belong to several accounts.

    `account_id`: the account for which it was opened; None after the erasure of that account.
    """

    actor: Actor
    account_id: str | None
    guests: tuple[GuestOfAccount, ...]
    logins: tuple[FirstLogin, ...]


async def show_actor(actor_id: UUID, deps: Dependencies) -> ShownActor:
    """Load the actor from its stream and the streams of its accounts.

    Raises ActorNotFound, also when all its accounts were erased.
    """
    actor = await load_actor(actor_id, deps)
    accounts = await accounts_of(actor, deps)
    if not accounts:
        raise ActorNotFound
    guests = (guest for account in accounts for guest in account.guests.values())
    logins = (login for account in accounts for login in account.first_logins.values())
    own = await account_of(actor, deps)
    return ShownActor(
        actor,
        None if own is None else own.account_id,
        tuple(guest for guest in guests if guest.actor_id == actor_id),
        tuple(login for login in logins if login.actor_id == actor_id),
    )


@dataclass(frozen=True, slots=True)
class ShownAccount:
    """A login account with its links and first logins.

    `person_ref`: the person whose home card it is on. `actor_id` None: only the directory knows the account.
    `details` None: they were erased.
    """

    account_id: str
    home_isil: str
    person_ref: str
    actor_id: UUID | None = None
    details: AccountDetails | None = None
    guests: tuple[GuestOfAccount, ...] = ()
    logins: tuple[FirstLogin, ...] = ()


async def show_login_account(account_id: str, deps: Dependencies) -> ShownAccount:
    """Load the account from its stream, or else from the directory.

    Raises AccountNotFound, DirectoryUnavailable.
    """
    if loaded := await find_account(account_id, deps):
        return await _shown(loaded.account, deps)
    listed = await deps.directory.by_id(account_id)
    if listed is None:
        raise AccountNotFound
    return ShownAccount(account_id, listed.home_isil, person_of(listed, deps), details=listed)


async def show_opened_account(account_stream: UUID, deps: Dependencies) -> ShownAccount:
    """Load the account of this stream, right after it was opened. Raises AccountNotFound."""
    account = await deps.store.find(LoginAccount, account_stream)
    if account is None:
        raise AccountNotFound
    return await _shown(account, deps)


async def _shown(account: LoginAccount, deps: Dependencies) -> ShownAccount:
    return ShownAccount(
        account_id=account.account_id,
        home_isil=account.home_isil,
        person_ref=account.person_ref,
        actor_id=account.actor_id,
        details=await details_of(account, deps),
        guests=tuple(account.guests.values()),
        logins=tuple(account.first_logins.values()),
    )
