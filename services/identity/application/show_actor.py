"""Show who is behind a login."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from identity.application.accounts import own_account
from identity.application.ports import Identity
from identity.domain.account_history import FirstLogin, GuestOfAccount
from identity.domain.actor import Actor
from identity.domain.errors import ActorNotFound
from identity.domain.login_account import LoginAccount


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
