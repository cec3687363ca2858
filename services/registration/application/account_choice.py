"""The check of a chosen login account, before anything is written: the same for all use cases (R17)."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from registration.application.dependencies import Context, Dependencies, FoundAccount, Lookup, LookupKind
from registration.application.find_login_account import account_named
from registration.application.looking_up import outcome_of
from registration.application.membership import current_isil, refs_of
from registration.application.repository import decrypt_personal_data
from registration.domain.errors import AccountOfOtherLibrary, AccountOfOtherPerson, UsernameTaken
from registration.domain.guest import Guest
from registration.domain.login_link import (
    ExistingAccount,
    LoginAccountChoice,
    NewLoginAccount,
    SearchedAccount,
    VerifiedAccount,
    VerifiedChoice,
)
from shared.kernel.errors import RuleBroken


async def verify_choice(
    choice: LoginAccountChoice,
    home_isil: str,
    card_numbers: Iterable[str],
    context: Context,
    deps: Dependencies,
) -> VerifiedChoice:
    """Compare an existing account with the guest's home library and card numbers.

    Only a handle is believed; for an account id identity is asked, and a refusal is recorded (R22). An id
    that identity does not know is passed on: identity refuses the link with its reason (I2).

    The username of a new account must be free; identity decides that once more when it opens it (I2).

    Raises AccountHandleInvalid, AccountOfOtherLibrary, AccountOfOtherPerson (an account on another card needs
    a reason), UsernameTaken, LoginAccountsUnavailable.
    """
    match choice:
        case SearchedAccount(handle, reason):
            account = deps.account_handles.open(handle, context)
        case ExistingAccount(account_id, reason):
            found = await deps.login_accounts.by_id(account_id)
            if found is None:
                return VerifiedAccount(account_id)
            account = found
        case NewLoginAccount(username):
            await _require_free(username, home_isil, context, deps)
            return choice
        case _:
            return choice
    try:
        return _compared(account, reason, home_isil, card_numbers, deps)
    except RuleBroken as refused:
        if isinstance(choice, ExistingAccount):  # no search was recorded, and the refusal says that it exists
            await _record(refused, choice.account_id, home_isil, context, deps)
        raise


def _compared(
    account: FoundAccount,
    reason: str | None,
    home_isil: str,
    card_numbers: Iterable[str],
    deps: Dependencies,
) -> VerifiedAccount:
    if not current_isil(account.home_isil, deps).same_library(current_isil(home_isil, deps)):
        raise AccountOfOtherLibrary
    if is_on_card(account, home_isil, card_numbers, deps):
        return VerifiedAccount(account.account_id)
    if reason is None:
        raise AccountOfOtherPerson
    return VerifiedAccount(account.account_id, reason)


async def _require_free(username: str, home_isil: str, context: Context, deps: Dependencies) -> None:
    """Raise UsernameTaken, which says that an account exists and is recorded for that (R22)."""
    home = current_isil(home_isil, deps)
    if await account_named(username, home, deps) is None:
        return
    await _record(UsernameTaken(), username, home_isil, context, deps)
    raise UsernameTaken


async def _record(
    refused: RuleBroken, named: str, home_isil: str, context: Context, deps: Dependencies
) -> None:
    home = str(current_isil(home_isil, deps))
    await deps.lookups.record(Lookup(LookupKind.REGISTRATION, named, home, outcome_of(refused)), context)


async def card_numbers_of(guest_ids: Iterable[UUID], deps: Dependencies) -> list[str]:
    """Return all card numbers of a person: of the guest and of the records merged into it (R10, R18).

    None of an erased record.
    """
    guests = [await deps.store.find(Guest, guest_id) for guest_id in guest_ids]
    people = [decrypt_personal_data(guest) for guest in guests if guest is not None]
    return [number for person in people if person for number in (person.card.number, *person.card.aliases)]


def is_on_card(
    account: FoundAccount, home_isil: str, card_numbers: Iterable[str], deps: Dependencies
) -> bool:
    """Return whether the account is on one of these cards of this home library, or of one merged into it."""
    home = current_isil(home_isil, deps)
    return any(account.person_ref in refs_of(home, number, deps) for number in card_numbers)
