"""Somebody logs in: who is it? Rule I4, with the barrier of decision A6."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from identity.application.dependencies import ApplyNow, Context, Dependencies, RegisteredGuest
from identity.application.repository import LoadedAccount, find_account, get_or_import, save
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
from shared.event_log import create_id, retry_on_conflict


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


async def log_in(command: LogIn, context: Context, deps: Dependencies, apply_now: ApplyNow) -> LoggedIn:
    """Decide a login, in the order of I4.

    Raises LinkRequired, AccountNotFound; RegistrationUnavailable, DirectoryUnavailable, CannotApply: then
    nothing was decided, and the login is to be tried again.
    """
    return await retry_on_conflict(lambda: _decide(command, context, deps, apply_now))


async def logged_in_before(account_stream: UUID, organisation: str, deps: Dependencies) -> LoggedIn:
    """The answer of the first login there, once more: for who asks again with the same Idempotency-Key."""
    account = await deps.store.load(LoginAccount, account_stream)
    first = account.first_logins[organisation]
    return LoggedIn(account.id, first.actor_id, first.new_actor, True, account.guest_at(organisation), None)


async def _decide(command: LogIn, context: Context, deps: Dependencies, apply_now: ApplyNow) -> LoggedIn:
    loaded = await get_or_import(command.account_id, deps)
    if known := _known(loaded, command, deps):
        return await _recognise(*known, command, context, deps)

    of_person, asked = await _registrations(command, loaded, deps, apply_now)
    loaded = await find_account(command.account_id, deps) or loaded
    if known := _known(loaded, command, deps):
        return await _recognise(*known, command, context, deps)

    require_no_registration(command.account_id, of_person, asked)
    if loaded is None:
        raise AccountNotFound
    if seen := actor_seen_before(loaded.account, command.organisation):
        return await _recognise(loaded, seen, command, context, deps)
    return await _new_actor(loaded, command, context, deps)


def _known(
    loaded: LoadedAccount | None, command: LogIn, deps: Dependencies
) -> tuple[LoadedAccount, Recognised] | None:
    if loaded is None:
        return None
    at_home = deps.organisations.is_home_of(command.organisation, loaded.account.home_isil)
    known = recognised_without_asking(loaded.account, command.organisation, at_home=at_home)
    return None if known is None else (loaded, known)


async def _registrations(
    command: LogIn, loaded: LoadedAccount | None, deps: Dependencies, apply_now: ApplyNow
) -> tuple[Sequence[GuestLink], Sequence[GuestLink]]:
    """I4.3: what registration has committed of this person and for this account, all of it applied here.

    An account that nobody knows can still be one that registration has just asked to be opened.
    """
    by_account, by_person = await asyncio.gather(
        deps.registration.registrations(command.organisation, account_id=command.account_id),
        _of_person(command, loaded, deps),
    )
    for guest in {guest.guest_id: guest for guest in (*by_account, *by_person)}.values():
        await apply_now(guest.guest_id, guest.messages)
    return await _links(by_person, deps), await _links(by_account, deps)


async def _of_person(
    command: LogIn, loaded: LoadedAccount | None, deps: Dependencies
) -> Sequence[RegisteredGuest]:
    if loaded is None:
        return []
    return await deps.registration.registrations(command.organisation, person_ref=loaded.account.person_ref)


async def _links(guests: Iterable[RegisteredGuest], deps: Dependencies) -> Sequence[GuestLink]:
    found = [await deps.store.find(GuestLink, guest.guest_id) for guest in guests]
    return [link for link in found if link is not None]


async def _recognise(
    loaded: LoadedAccount, known: Recognised, command: LogIn, context: Context, deps: Dependencies
) -> LoggedIn:
    """Only the first login per organisation is an event (I4); all others only read."""
    now = deps.clock.now()
    first = loaded.account.record_first_login(command.organisation, known.actor_id, new_actor=False, now=now)
    position = await _save(loaded, [], context, deps) if first else None
    return LoggedIn(loaded.account.id, known.actor_id, False, first, known.guest, position)


async def _new_actor(loaded: LoadedAccount, command: LogIn, context: Context, deps: Dependencies) -> LoggedIn:
    """I4.6: nobody of this person is registered there, so a new actor is right."""
    now = deps.clock.now()
    actor = Actor.open(create_id(), account_id=command.account_id, organisation=command.organisation, now=now)
    loaded.account.record_first_login(command.organisation, actor.id, new_actor=True, now=now)
    position = await _save(loaded, [actor], context, deps)
    return LoggedIn(loaded.account.id, actor.id, True, True, None, position)


async def _save(loaded: LoadedAccount, actors: Sequence[Actor], context: Context, deps: Dependencies) -> int:
    return await save(
        deps,
        *actors,
        *loaded.aggregates,
        metadata=context.metadata,
        side_rows=[*context.side_rows(loaded.account.id), *loaded.side_rows],
    )
