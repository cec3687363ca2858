"""Show what is held of a login account, and of an actor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from identity.application.dependencies import AccountDetails, Identity
from identity.application.repository import details_of, own_account
from identity.domain.actor import Actor
from identity.domain.errors import AccountNotFound, ActorNotFound
from identity.domain.login_account import FirstLogin, GuestOfAccount, LoginAccount


@dataclass(frozen=True, slots=True)
class ShownActor:
    """The actor, with the guests and the first logins that go by it, of whatever account."""

    actor: Actor
    guests: tuple[GuestOfAccount, ...]
    logins: tuple[FirstLogin, ...]


async def show_actor(actor_id: UUID, identity: Identity) -> ShownActor:
    """Read it from the streams of actor and accounts. Raises ActorNotFound, also once all were erased."""
    actor = await load_actor(actor_id, identity)
    accounts = await accounts_of(actor, identity)
    if not accounts:
        raise ActorNotFound
    return ShownActor(
        actor,
        tuple(guest for each in accounts for guest in each.guests.values() if guest.actor_id == actor_id),
        tuple(
            login for each in accounts for login in each.first_logins.values() if login.actor_id == actor_id
        ),
    )


async def load_actor(actor_id: UUID, identity: Identity) -> Actor:
    """Load an actor. Raises ActorNotFound."""
    actor = await identity.store.find(Actor, actor_id)
    if actor is None:
        raise ActorNotFound
    return actor


async def accounts_of(actor: Actor, identity: Identity) -> Sequence[LoginAccount]:
    """The accounts whose logins may go on as this actor: its own, and those of who was merged into it."""
    merged = [await identity.store.load(Actor, each) for each in actor.merged_from]
    account_ids = dict.fromkeys(each.account_id for each in (actor, *merged))
    found = [await own_account(each, identity) for each in account_ids]
    return [at_hand.account for at_hand in found if at_hand is not None]


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
