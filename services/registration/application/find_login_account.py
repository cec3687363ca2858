"""Find login accounts by their username, show those of a guest, and find whose they are (R17, I3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from registration.application.dependencies import (
    Context,
    Dependencies,
    FoundAccount,
    GuestAccount,
    LookupKind,
)
from registration.application.looking_up import looking_up
from registration.application.membership import current_isil, merged_into
from registration.application.repository import decrypt_personal_data, find_person, load_guest
from registration.domain.errors import LoginAccountsUnavailable
from registration.domain.guest import Guest
from shared.kernel.library_card import Isil
from shared.kernel.login_account import MOST_LIBRARIES, MOST_NAMED, Referral
from shared.platform import limits


@dataclass(frozen=True, slots=True)
class AccountOnOffer:
    """A found account, and the handle by which this clerk can choose it."""

    account: FoundAccount
    handle: str


async def find_login_account(
    username: str, home_isil: str, context: Context, deps: Dependencies
) -> AccountOnOffer | None:
    """Find by exact username, at the home library first, then at those that merged into it (I10).

    Raises MalformedIsil, LoginAccountsUnavailable, TooManyLookups.
    """
    home = current_isil(home_isil, deps)
    async with looking_up(LookupKind.LOGIN_ACCOUNT, username, context, deps, home_isil=str(home)) as lookup:
        found = await account_named(username, home, deps)
        lookup.outcome = "found" if found else "none"
        lookup.account_id = found.account_id if found else None
    return None if found is None else AccountOnOffer(found, deps.account_handles.seal(found, context))


async def find_referred_account(
    referral: Referral, context: Context, deps: Dependencies
) -> AccountOnOffer | None:
    """Find the account with which a catalogue sent the patron here (I12). Only a clerk can link it.

    Raises LoginAccountsUnavailable, TooManyLookups.
    """
    async with looking_up(LookupKind.LOGIN_ACCOUNT, referral.account_id, context, deps) as lookup:
        found = await deps.login_accounts.by_id(referral.account_id)
        lookup.outcome = "found" if found else "none"
        lookup.account_id = found.account_id if found else None
    return None if found is None else AccountOnOffer(found, deps.account_handles.seal(found, context))


async def account_named(username: str, home: Isil, deps: Dependencies) -> FoundAccount | None:
    """Return the account with this username at this present ISIL, or at one that merged into it (I10).

    The caller records the look-up. Raises LoginAccountsUnavailable.
    """
    for isil in (str(home), *merged_into(home, deps)):
        if (found := await deps.login_accounts.find(username, isil)) is not None:
            return found
    return None


async def find_guests_of_account(
    username: str, home_isil: str, context: Context, deps: Dependencies
) -> list[UUID]:
    """Find the guests here that have the account with this username, or are getting it.

    Raises MalformedIsil, LoginAccountsUnavailable, TooManyLookups.
    """
    home, found = current_isil(home_isil, deps), list[UUID]()
    async with looking_up(LookupKind.GUESTS, username, context, deps, home_isil=str(home)) as lookup:
        if account := await account_named(username, home, deps):
            lookup.account_id = account.account_id
            for guest_id in await deps.registrations.guests_asking_for(
                context.organisation, account.account_id
            ):
                guest = await find_person(guest_id, deps)
                link = guest.state.link if guest else None
                if guest and link and link.is_wanted and link.account_id == account.account_id:
                    found.append(guest.id)
        lookup.guest_ids, lookup.outcome = found, "found" if found else "none"
    return found


async def show_accounts(
    guest_id: UUID, account_ids: Iterable[str | None], organisation: str, deps: Dependencies
) -> Mapping[str, GuestAccount]:
    """Return the accounts with these ids, each by its id; identity gets one question, and little time (R26).

    The caller names ids of this guest's own events only. Identity is asked for the first `MOST_NAMED`.
    Raises GuestNotFound (R20).
    """
    guest = await load_guest(guest_id, organisation, deps)
    wanted = list(dict.fromkeys(account_id for account_id in account_ids if account_id))
    named = {account.account_id: account for account in await _names(wanted[:MOST_NAMED], deps)}
    asked_for = await _new_accounts(guest, deps)
    shown = [named.get(account_id, GuestAccount(account_id, "unavailable")) for account_id in wanted]
    return {
        account.account_id: asked_for.get(account.account_id, account)
        if account.state == "unknown"
        else account
        for account in shown
    }


async def _names(account_ids: Sequence[str], deps: Dependencies) -> Sequence[GuestAccount]:
    """Return what identity says in time, which may be nothing."""
    if not account_ids:
        return []
    try:
        async with asyncio.timeout(limits.BESIDE_A_PAGE):
            return await deps.login_accounts.names(account_ids)
    except (LoginAccountsUnavailable, TimeoutError):
        return []


async def _new_accounts(guest: Guest, deps: Dependencies) -> Mapping[str, GuestAccount]:
    key = await deps.data_keys.get(guest.id) if guest.state.new_accounts else None
    if key is None:
        return {}
    opened = {account_id: key.decrypt(sealed) for account_id, sealed in guest.state.new_accounts.items()}
    return {
        account_id: GuestAccount(account_id, "found", new["username"], new["email"])
        for account_id, new in opened.items()
    }


@dataclass(frozen=True, slots=True)
class AccountHolder:
    """The guest that has an account. `name` is empty after the erasure of personal data."""

    guest_id: UUID
    name: str


async def other_holder(
    guest_id: UUID, account_id: str, organisation: str, deps: Dependencies
) -> AccountHolder | None:
    """Return the other guest of this organisation that has the account, or None (I3)."""
    async for other in _holders(account_id, organisation, deps):
        if other.id != guest_id:
            person = decrypt_personal_data(other)
            return AccountHolder(other.id, person.details.name if person else "")
    return None


async def _holders(account_id: str, organisation: str, deps: Dependencies) -> AsyncIterator[Guest]:
    """Yield the guests of this organisation that have the account: one, if all is well (I3)."""
    for asking_id in await deps.registrations.guests_asking_for(organisation, account_id):
        guest = await find_person(asking_id, deps)
        if guest is None or guest.state.organisation != organisation:
            continue
        if guest.state.link.is_tied and guest.state.link.account_id == account_id:
            yield guest


@dataclass(frozen=True, slots=True)
class GuestsOfUsername:
    """The guests of an organisation whose login account has a username.

    `state` "unavailable": identity did not reply in time, or it is not known yet at which libraries to look
    (I10).
    """

    state: Literal["searched", "unavailable"]
    guest_ids: Sequence[UUID] = ()


async def guests_with_username(username: str, organisation: str, deps: Dependencies) -> GuestsOfUsername:
    """Find the guests whose account was linked, by its exact username at any home library of a guest.

    The caller records the look-up.
    """
    try:
        account_ids = await _accounts_with_username(username, deps)
    except (LoginAccountsUnavailable, TimeoutError):
        return GuestsOfUsername("unavailable")
    guests = [
        guest.id for account_id in account_ids async for guest in _holders(account_id, organisation, deps)
    ]
    return GuestsOfUsername("searched", list(dict.fromkeys(guests)))


async def _accounts_with_username(username: str, deps: Dependencies) -> Sequence[str]:
    """Ask identity, at all home libraries that a guest is known at. Raises LoginAccountsUnavailable."""
    known_as = (await deps.registrations.state()).known_as
    libraries = sorted({base for bases in known_as for base in bases.split()})
    if not all(known_as) or len(libraries) > MOST_LIBRARIES:
        raise LoginAccountsUnavailable
    if not libraries:
        return []
    async with asyncio.timeout(limits.BESIDE_A_PAGE):
        return await deps.login_accounts.with_username(username, libraries)
