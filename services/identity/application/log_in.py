"""Decide which person logs in (I4), behind the login barrier (I5, ADR 0004)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from identity.application.dependencies import ApplyNow, Context, Dependencies, RegisteredGuest
from identity.application.repository import (
    LoadedAccount,
    actor_id,
    find_account,
    get_or_import,
    person_of,
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
from shared.event_log import retry_on_conflict


@dataclass(frozen=True, slots=True)
class LogIn:
    """An account logs in at the catalogue of an organisation."""

    account_id: str
    organisation: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The decision on a login.

    `position`: the log's position after the first login was written. None: nothing was written.
    """

    account_stream: UUID
    actor_id: UUID
    new_actor: bool
    first_login: bool
    guest: GuestOfAccount | None
    position: int | None


async def log_in(command: LogIn, context: Context, deps: Dependencies, apply_now: ApplyNow) -> LoggedIn:
    """Decide a login, in the order of I4.

    Raises LinkRequired, AccountNotFound, UnknownOrganisation. Raises RegistrationUnavailable,
    DirectoryUnavailable or CannotApply when the login cannot be decided now: the caller tries again.
    """
    deps.organisations.require(command.organisation)
    return await retry_on_conflict(lambda: _decide(command, context, deps, apply_now))


async def logged_in_before(account_stream: UUID, organisation: str, deps: Dependencies) -> LoggedIn:
    """Return the decision on the first login at an organisation again.

    Used for a repeated request with the same Idempotency-Key.
    """
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

    if loaded is not None and await _is_at_home_now(loaded, command, deps):
        at_home = Recognised(loaded.account.actor_id, None)
        return await _recognise(loaded, at_home, command, context, deps)
    require_no_registration(command.account_id, of_person, asked)
    if loaded is None:
        raise AccountNotFound
    if seen := actor_seen_before(loaded.account, command.organisation):
        return await _recognise(loaded, seen, command, context, deps)
    on_new_card = await _registrations_on_new_card(command, loaded, deps, apply_now)
    require_no_registration(command.account_id, on_new_card, asked)
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
    """Ask registration about this person and this account, and apply all messages of its reply (I4, step 3).

    Returns the links of the person's guests, and the links of the guests for which a clerk asked for this
    account. Also asks about an unknown account: registration may have just asked to open it.
    """
    by_account, by_person = await asyncio.gather(
        deps.registration.registrations(command.organisation, account_id=command.account_id),
        _guests_of_person(command, loaded, deps),
    )
    for guest in {guest.guest_id: guest for guest in (*by_account, *by_person)}.values():
        await apply_now(guest.guest_id, guest.messages)
    return await _links(by_person, deps), await _links(by_account, deps)


async def _guests_of_person(
    command: LogIn, loaded: LoadedAccount | None, deps: Dependencies
) -> Sequence[RegisteredGuest]:
    if loaded is None:
        return []
    account = loaded.account
    return await deps.registration.registrations(
        command.organisation, person_ref=account.person_ref, home_isil=account.home_isil
    )


async def _registrations_on_new_card(
    command: LogIn, loaded: LoadedAccount, deps: Dependencies, apply_now: ApplyNow
) -> Sequence[GuestLink]:
    """Ask registration about the card that the directory lists with the account today.

    The account was opened with the card of that day, which may have been replaced since (R24): a guest who is
    registered with the new one is this person (I5). Nobody is asked for an account that was opened just now.
    """
    if loaded.actor is not None:
        return []
    listed = await deps.directory.by_id(command.account_id)
    if listed is None or person_of(listed, deps) == loaded.account.person_ref:
        return []
    guests = await deps.registration.registrations(
        command.organisation, person_ref=person_of(listed, deps), home_isil=listed.home_isil
    )
    for guest in guests:
        await apply_now(guest.guest_id, guest.messages)
    return await _links(guests, deps)


async def _is_at_home_now(loaded: LoadedAccount, command: LogIn, deps: Dependencies) -> bool:
    """Ask whether the account's home library merged into one of the organisation (I4, step 2; I10)."""
    return await deps.registration.is_own_library(command.organisation, loaded.account.home_isil)


async def _links(guests: Iterable[RegisteredGuest], deps: Dependencies) -> Sequence[GuestLink]:
    found = [await deps.store.find(GuestLink, guest.guest_id) for guest in guests]
    return [link for link in found if link is not None]


async def _recognise(
    loaded: LoadedAccount, known: Recognised, command: LogIn, context: Context, deps: Dependencies
) -> LoggedIn:
    """Write the first login at an organisation as an event; a later login rarely writes anything (I4)."""
    now = deps.clock.now()
    first = loaded.account.record_first_login(command.organisation, known.actor_id, new_actor=False, now=now)
    position = await _save(loaded, [], context, deps) if first else None
    if not first and loaded.account.note_login(now):
        # Without the rows of the request: repeated, it has the same result without them.
        await save(deps, loaded.account, metadata=context.metadata, side_rows=())
    return LoggedIn(loaded.account.id, known.actor_id, False, first, known.guest, position)


async def _new_actor(loaded: LoadedAccount, command: LogIn, context: Context, deps: Dependencies) -> LoggedIn:
    """Open a new actor: this person is not registered at the organisation (I4, step 6)."""
    now = deps.clock.now()
    account_stream = loaded.account.id
    derived = actor_id(account_stream, command.organisation, deps)
    actor = Actor.open(derived, account_stream=account_stream, organisation=command.organisation, now=now)
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
