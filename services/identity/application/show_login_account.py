"""Show a login account or an actor, with its links and first logins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from identity.application.dependencies import AccountDetails, Dependencies, DirectoryUnavailable
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
from shared.platform import limits


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


@dataclass(frozen=True, slots=True)
class NamedAccount:
    """What an account is called. `state` "unavailable": only the directory may know it, and did not reply.

    Username and e-mail are empty unless it was found, and after their erasure.
    """

    account_id: str
    state: Literal["found", "unknown", "unavailable"]
    username: str = ""
    email: str = ""


async def name_accounts(account_ids: Sequence[str], deps: Dependencies) -> Sequence[NamedAccount]:
    """Return what these accounts are called, in the same order.

    The directory is asked for those that identity does not have, for all at once and for a short time.
    """
    own = [await find_account(account_id, deps) for account_id in account_ids]
    return await asyncio.gather(
        *(
            _named_here(loaded.account, deps) if loaded else _named_by_directory(account_id, deps)
            for account_id, loaded in zip(account_ids, own, strict=True)
        )
    )


async def _named_here(account: LoginAccount, deps: Dependencies) -> NamedAccount:
    return _named(account.account_id, await details_of(account, deps))


async def _named_by_directory(account_id: str, deps: Dependencies) -> NamedAccount:
    try:
        async with asyncio.timeout(limits.DIRECTORY_BESIDE_A_PAGE):
            listed = await deps.directory.by_id(account_id)
    except (DirectoryUnavailable, TimeoutError):
        return NamedAccount(account_id, "unavailable")
    return NamedAccount(account_id, "unknown") if listed is None else _named(account_id, listed)


def _named(account_id: str, details: AccountDetails | None) -> NamedAccount:
    if details is None:
        return NamedAccount(account_id, "found")
    return NamedAccount(account_id, "found", details.username, details.email)
