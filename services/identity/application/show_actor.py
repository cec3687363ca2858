"""Show who is behind a login."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from identity.application.accounts import own_account
from identity.application.ports import Identity
from identity.domain.account_history import FirstLogin, GuestOfAccount
from identity.domain.actor import Actor
from identity.domain.errors import ActorNotFound


@dataclass(frozen=True, slots=True)
class ShownActor:
    """The actor, with the guests and the first logins that go by it."""

    actor: Actor
    guests: tuple[GuestOfAccount, ...]
    logins: tuple[FirstLogin, ...]


async def show_actor(actor_id: UUID, identity: Identity) -> ShownActor:
    """Read it from the streams of actor and account. Raises ActorNotFound."""
    actor = await identity.store.find(Actor, actor_id)
    at_hand = None if actor is None else await own_account(actor.account_id, identity)
    if actor is None or at_hand is None:
        raise ActorNotFound
    account = at_hand.account
    return ShownActor(
        actor,
        tuple(guest for guest in account.guests.values() if guest.actor_id == actor_id),
        tuple(login for login in account.first_logins.values() if login.actor_id == actor_id),
    )
