"""The login account on a form: search, take, and check it. All forms with a login account use this."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError

from registration.application.account_choice import card_numbers_of, is_on_card
from registration.application.dependencies import Context, Dependencies
from registration.application.find_login_account import find_login_account
from registration.application.show_guest import GuestView
from registration.counter_ui.forms import AccountForm, fault_of_reason, mistakes
from registration.counter_ui.i18n import Texts
from registration.domain.errors import AccountHandleInvalid
from registration.domain.login_link import LoginAccountChoice
from shared.kernel.text import comparable, has_line_end, tidy

F = TypeVar("F", bound=AccountForm)

NO_SUCH_ACCOUNT: Texts = (
    "Bij de thuisbibliotheek bestaat geen inlogaccount met deze gebruikersnaam.",
    "The home library has no login account with this username.",
)
EMPTY: Texts = (
    "Vul de gebruikersnaam van het inlogaccount bij de thuisbibliotheek in.",
    "Fill in the username of the login account at the home library.",
)
NOT_TAKEN: Texts = (
    "Druk op Koppelen als dit het inlogaccount van de klant is.",
    "Press Link if this is the patron's login account.",
)
NO_REASON: Texts = (
    "Vul in waarom dit inlogaccount bij deze klant hoort.",
    "Fill in why this login account belongs to this patron.",
)
NO_USERNAME: Texts = (
    "Vul een gebruikersnaam in: letters en cijfers, met . _ - + @ ' ertussen, geen spaties.",
    "Fill in a username: letters and digits, with . _ - + @ ' between them, no spaces.",
)
TAKEN: Texts = (
    "Deze gebruikersnaam is bij de thuisbibliotheek al in gebruik. Kies een andere.",
    "This username is taken at the home library. Choose another one.",
)
NO_EMAIL: Texts = (
    "Vul een geldig e-mailadres in, zoals naam@voorbeeld.nl.",
    "Fill in a valid e-mail address, such as name@example.org.",
)
LONGEST_USERNAME = 200


@dataclass(frozen=True, slots=True)
class Patron:
    """What is known of the patron in an account search: the home library and the card numbers."""

    home_isil: str
    card_numbers: Sequence[str]


async def patron_of(guest: GuestView, deps: Dependencies) -> Patron:
    """Return what is known of a guest, with the records that were merged into it (R18)."""
    guest_ids = (guest.guest_id, *(record.guest_id for record in guest.merged_from))
    return Patron(guest.home_isil, await card_numbers_of(guest_ids, deps))


@dataclass(frozen=True, slots=True)
class ShownAccount:
    """The found account as the page shows it. `other_person`: it is on another card than the patron's."""

    username: str
    email: str
    other_person: bool


@dataclass(frozen=True, slots=True)
class Searched(Generic[F]):
    """The form after a search, with the errors of its fields, by field name."""

    form: F
    errors: dict[str, Texts]


async def search_account(form: F, patron: Patron, by: Context, deps: Dependencies) -> Searched[F]:
    """Search for the username and fill in what was found. Raises MalformedIsil, LoginAccountsUnavailable."""
    username = tidy(form.username).strip()
    form = form.model_copy(
        update={"linked": False, "account_handle": "", "account_reason": "", "choice": "existing"}
    )
    if not username:
        return Searched(form, {"username": EMPTY})
    if len(username) > LONGEST_USERNAME or has_line_end(form.username.strip()):
        return Searched(form, {"username": NO_SUCH_ACCOUNT})
    found = await find_login_account(username, patron.home_isil, by, deps)
    if found is None:
        return Searched(form, {"username": NO_SUCH_ACCOUNT})
    update = {"username": found.account.username, "account_handle": found.handle}
    return Searched(form.model_copy(update=update), {})


def shown_account(form: AccountForm, patron: Patron, by: Context, deps: Dependencies) -> ShownAccount | None:
    """Return the account that the search found, as the form's handle names it.

    None: there was no search, its handle is not valid any more, or another username was typed since.
    """
    try:
        return _named(form, patron, by, deps)
    except AccountHandleInvalid:
        return None


def take(form: F, patron: Patron, by: Context, deps: Dependencies) -> Searched[F]:
    """Mark the found account as the patron's: the clerk pressed Koppelen. Raises AccountHandleInvalid."""
    found = _named(form, patron, by, deps)
    if found and found.other_person and (wrong := fault_of_reason(form.account_reason, NO_REASON)):
        return Searched(form.model_copy(update={"linked": False}), {"account_reason": wrong})
    return Searched(form.model_copy(update={"linked": found is not None}), {})


def own_taken(searched: Searched[F], patron: Patron, by: Context, deps: Dependencies) -> Searched[F]:
    """Mark an account that is on the patron's own card as taken: the clerk saves it with one more Enter.

    It is shown before that, and an account on another card is taken with its reason only (R17).
    """
    found = None if searched.errors else shown_account(searched.form, patron, by, deps)
    if found is None or found.other_person:
        return searched
    return Searched(searched.form.model_copy(update={"linked": True}), {})


async def account_chosen(
    form: F, patron: Patron, by: Context, deps: Dependencies
) -> LoginAccountChoice | Searched[F] | None:
    """Return the clerk's choice (None: keep the link), or the form again if it is not complete (R17).

    A username that was not searched yet is searched first. Raises what `search_account` and `take` raise.
    """
    if form.choice == "existing":
        if _named(form, patron, by, deps) is None:
            return await search_account(form, patron, by, deps)
        if not form.linked:
            return Searched(form, {"linked": NOT_TAKEN})
        if (took := take(form, patron, by, deps)).errors:
            return took
    try:
        return form.chosen()
    except ValidationError as error:
        shown = {
            "username": ("new_username", NO_USERNAME),
            "email": ("new_email", NO_EMAIL),
            "reason": ("account_reason", NO_REASON),
        }
        return Searched(form, dict(shown[name] for name in mistakes(error) if name in shown))


def _named(form: AccountForm, patron: Patron, by: Context, deps: Dependencies) -> ShownAccount | None:
    if not form.account_handle:
        return None
    account = deps.account_handles.open(form.account_handle, by)
    if comparable(account.username) != comparable(form.username.strip()):
        return None
    mine = is_on_card(account, patron.home_isil, patron.card_numbers, deps)
    return ShownAccount(account.username, account.email, other_person=not mine)
