"""The login account on a form: search, take, and check it. All forms with a login account use this."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError

from registration.application.dependencies import Dependencies
from registration.application.find_login_account import find_login_account
from registration.counter_ui.forms import AccountForm, mistakes
from registration.counter_ui.i18n import Texts
from registration.domain.login_link import LoginAccountChoice
from shared.kernel.text import has_line_end, tidy

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
NO_USERNAME: Texts = ("Vul een gebruikersnaam in.", "Fill in a username.")
NO_EMAIL: Texts = ("Dit is geen e-mailadres.", "This is not an e-mail address.")
LONGEST_USERNAME = 200


@dataclass(frozen=True, slots=True)
class Searched(Generic[F]):
    """The form after a search, with the errors of its fields, by field name."""

    form: F
    errors: dict[str, Texts]


async def search_account(form: F, home_isil: str, deps: Dependencies) -> Searched[F]:
    """Search for the username and fill in what was found. Raises MalformedIsil, LoginAccountsUnavailable."""
    username = tidy(form.username).strip()
    form = form.model_copy(update={"linked": False, "account_id": "", "choice": "existing"})
    if not username:
        return Searched(form, {"username": EMPTY})
    if len(username) > LONGEST_USERNAME or has_line_end(form.username.strip()):
        return Searched(form, {"username": NO_SUCH_ACCOUNT})
    found = await find_login_account(username, home_isil, deps)
    if found is None:
        return Searched(form, {"username": NO_SUCH_ACCOUNT})
    update = {
        "username": found.username,
        "account_id": found.account_id,
        "account_username": found.username,
        "account_email": found.email,
    }
    return Searched(form.model_copy(update=update), {})


def taken(form: F) -> F:
    """Mark the found account as the patron's: the clerk pressed Koppelen."""
    return form.model_copy(update={"linked": form.found})


async def account_chosen(
    form: F, home_isil: str, deps: Dependencies
) -> LoginAccountChoice | Searched[F] | None:
    """Return the clerk's choice (None: keep the link), or the form again if it is not complete (R17).

    A username that was not searched yet is searched first.
    """
    if form.choice == "existing" and not form.found:
        return await search_account(form, home_isil, deps)
    if form.choice == "existing" and not form.linked:
        return Searched(form, {"linked": NOT_TAKEN})
    try:
        return form.chosen()
    except ValidationError as error:
        shown = {"username": ("new_username", NO_USERNAME), "email": ("new_email", NO_EMAIL)}
        return Searched(form, dict(shown[name] for name in mistakes(error) if name in shown))
