"""Somebody logs in: who is it? Rule I4, with the barrier of decision A6."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from identity.application.dependencies import ApplyNow, Context, Identity, RegisteredGuest
from identity.application.repository import (
    AccountAtHand,
    account_on_first_need,
    decided_again,
    own_account,
    save,
)
from identity.domain.actor import Actor
from identity.domain.errors import AccountNotFound
from identity.domain.guest_link import GuestLink
from identity.domain.login import (
    Recognised,
    actor_seen_before,
    recognised_without_asking,
    require_no_registration,
)
from identity.domain.login_account import GuestOfAccount, LoginAccount
from shared.event_log import mint_id


@dataclass(frozen=True, slots=True)
class LogIn:
    """An account, and the organisation at whose catalogue it logs in."""

    account_id: str
    organisation: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The answer. `position`: of the log, when this first login was written; None: nothing was."""

    account_stream: UUID
    actor_id: UUID
    new_actor: bool
    first_login: bool
    guest: GuestOfAccount | None
    position: int | None


async def log_in(command: LogIn, context: Context, identity: Identity, apply_now: ApplyNow) -> LoggedIn:
    """Decide a login, in the order of I4.

    Raises LinkRequired, AccountNotFound; RegistrationUnavailable, DirectoryUnavailable, CannotApply: then
    nothing was decided, and the login is to be tried again.
    """
    return await decided_again(lambda: _decide(command, context, identity, apply_now))


async def logged_in_before(account_stream: UUID, organisation: str, identity: Identity) -> LoggedIn:
    """The answer of the first login there, once more: for who asks again with the same Idempotency-Key."""
    account = await identity.store.load(LoginAccount, account_stream)
    first = account.first_logins[organisation]
    return LoggedIn(account.id, first.actor_id, first.new_actor, True, account.guest_at(organisation), None)


async def _decide(command: LogIn, context: Context, identity: Identity, apply_now: ApplyNow) -> LoggedIn:
    at_hand = await account_on_first_need(command.account_id, identity)
    if known := _known(at_hand, command, identity):
        return await _recognise(*known, command, context, identity)

    of_person, asked = await _registrations(command, at_hand, identity, apply_now)
    at_hand = await own_account(command.account_id, identity) or at_hand
    if known := _known(at_hand, command, identity):
        return await _recognise(*known, command, context, identity)

    require_no_registration(command.account_id, of_person, asked)
    if at_hand is None:
        raise AccountNotFound
    if seen := actor_seen_before(at_hand.account, command.organisation):
        return await _recognise(at_hand, seen, command, context, identity)
    return await _new_actor(at_hand, command, context, identity)


def _known(
    at_hand: AccountAtHand | None, command: LogIn, identity: Identity
) -> tuple[AccountAtHand, Recognised] | None:
    if at_hand is None:
        return None
    at_home = identity.organisations.is_home_of(command.organisation, at_hand.account.home_isil)
    known = recognised_without_asking(at_hand.account, command.organisation, at_home=at_home)
    return None if known is None else (at_hand, known)


async def _registrations(
    command: LogIn, at_hand: AccountAtHand | None, identity: Identity, apply_now: ApplyNow
) -> tuple[Sequence[GuestLink], Sequence[GuestLink]]:
    """I4.3: what registration has committed of this person and for this account, all of it applied here.

    An account that nobody knows can still be one that registration has just asked to be opened.
    """
    by_account, by_person = await asyncio.gather(
        identity.registration.registrations(command.organisation, account_id=command.account_id),
        _of_person(command, at_hand, identity),
    )
    for guest in {guest.guest_id: guest for guest in (*by_account, *by_person)}.values():
        await apply_now(guest.guest_id, guest.messages)
    return await _links(by_person, identity), await _links(by_account, identity)


async def _of_person(
    command: LogIn, at_hand: AccountAtHand | None, identity: Identity
) -> Sequence[RegisteredGuest]:
    if at_hand is None:
        return []
    return await identity.registration.registrations(
        command.organisation, person_ref=at_hand.account.person_ref
    )


async def _links(guests: Iterable[RegisteredGuest], identity: Identity) -> Sequence[GuestLink]:
    found = [await identity.store.find(GuestLink, guest.guest_id) for guest in guests]
    return [link for link in found if link is not None]


async def _recognise(
    at_hand: AccountAtHand, known: Recognised, command: LogIn, context: Context, identity: Identity
) -> LoggedIn:
    """Only the first login per organisation is an event (I4); all others only read."""
    now = identity.clock.now()
    first = at_hand.account.record_first_login(command.organisation, known.actor_id, new_actor=False, now=now)
    position = await _save(at_hand, [], context, identity) if first else None
    return LoggedIn(at_hand.account.id, known.actor_id, False, first, known.guest, position)


async def _new_actor(
    at_hand: AccountAtHand, command: LogIn, context: Context, identity: Identity
) -> LoggedIn:
    """I4.6: nobody of this person is registered there, so a new actor is right."""
    now = identity.clock.now()
    actor = Actor.open(mint_id(), account_id=command.account_id, organisation=command.organisation, now=now)
    at_hand.account.record_first_login(command.organisation, actor.id, new_actor=True, now=now)
    position = await _save(at_hand, [actor], context, identity)
    return LoggedIn(at_hand.account.id, actor.id, True, True, None, position)


async def _save(at_hand: AccountAtHand, actors: Sequence[Actor], context: Context, identity: Identity) -> int:
    return await save(
        identity,
        *actors,
        *at_hand.aggregates,
        metadata=context.metadata,
        side_rows=[*context.side_rows(at_hand.account.id), *at_hand.side_rows],
    )
