"""Show what is held of a login account, and of an actor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from identity.application.dependencies import AccountDetails, Dependencies
from identity.application.repository import details_of, find_account
from identity.domain.actor import Actor
from identity.domain.errors import AccountNotFound, ActorNotFound
from identity.domain.login_account import FirstLogin, GuestOfAccount, LoginAccount


@dataclass(frozen=True, slots=True)
class ShownActor:
    """The actor, with the guests and the first logins that go by it, of whatever account."""

    actor: Actor
    guests: tuple[GuestOfAccount, ...]
    logins: tuple[FirstLogin, ...]


async def show_actor(actor_id: UUID, deps: Dependencies) -> ShownActor:
    """Read it from the streams of actor and accounts. Raises ActorNotFound, also once all were erased."""
    actor = await load_actor(actor_id, deps)
    accounts = await accounts_of(actor, deps)
    if not accounts:
        raise ActorNotFound
    return ShownActor(
        actor,
        tuple(guest for each in accounts for guest in each.guests.values() if guest.actor_id == actor_id),
        tuple(
            login for each in accounts for login in each.first_logins.values() if login.actor_id == actor_id
        ),
    )


async def load_actor(actor_id: UUID, deps: Dependencies) -> Actor:
    """Load an actor. Raises ActorNotFound."""
    actor = await deps.store.find(Actor, actor_id)
    if actor is None:
        raise ActorNotFound
    return actor


async def accounts_of(actor: Actor, deps: Dependencies) -> Sequence[LoginAccount]:
    """The accounts whose logins may go on as this actor: its own, and those of who was merged into it."""
    merged = [await deps.store.load(Actor, each) for each in actor.merged_from]
    account_ids = dict.fromkeys(each.account_id for each in (actor, *merged))
    found = [await find_account(each, deps) for each in account_ids]
    return [loaded.account for loaded in found if loaded is not None]


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


async def show_login_account(account_id: str, deps: Dependencies) -> ShownAccount:
    """Read it from its stream, else from the directory. Raises AccountNotFound, DirectoryUnavailable."""
    if loaded := await find_account(account_id, deps):
        return await _shown(loaded.account, deps)
    listed = await deps.directory.by_id(account_id)
    if listed is None:
        raise AccountNotFound
    return ShownAccount(account_id, listed.home_isil, details=listed)


async def show_opened_account(account_stream: UUID, deps: Dependencies) -> ShownAccount:
    """The account of this stream, just after it was opened. Raises AccountNotFound."""
    account = await deps.store.find(LoginAccount, account_stream)
    if account is None:
        raise AccountNotFound
    return await _shown(account, deps)


async def _shown(account: LoginAccount, deps: Dependencies) -> ShownAccount:
    return ShownAccount(
        account_id=account.account_id,
        home_isil=account.home_isil,
        actor_id=account.actor_id,
        details=await details_of(account, deps),
        guests=tuple(account.guests.values()),
        logins=tuple(account.first_logins.values()),
    )
