"""Forms as the browser sends them, and the writer that runs a form once even if it is sent twice."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Literal
from uuid import UUID

import orjson
from fastapi import Depends, Form, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from registration.api.dependencies import Clerk
from registration.api.schemas import LONGEST_HANDLE, Existing, New
from registration.application.dependencies import Context
from registration.counter_ui.auth import CounterClerkDep, Staff, StaffDep
from registration.counter_ui.drafts import fields_of, forget_draft
from registration.counter_ui.i18n import Texts
from registration.domain.guest_state import Preferences
from registration.domain.login_link import LoginAccountChoice, NoAccount
from shared.event_log import CommandResult
from shared.kernel.library_card import usual_isil
from shared.kernel.text import tidy, without_unseen
from shared.web.idempotency import IdempotencyKeys, IdempotentRequest

Text = Annotated[str, Field(max_length=254)]
_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
Choice = Literal["existing", "new", "none", "keep"]


class AccountForm(BaseModel):
    """The choice of login account (R17).

    `account_handle`: the found account, which only this service can name. `linked`: the clerk took it.
    `account_reason`: why, if it is on another card. `referral`: the catalogue's, if it sent the patron here.
    """

    model_config = ConfigDict(frozen=True)

    choice: Choice = "existing"
    username: Text = ""
    account_handle: Annotated[str, Field(max_length=LONGEST_HANDLE)] = ""
    account_reason: Text = ""
    linked: bool = False
    referral: Annotated[str, Field(max_length=LONGEST_HANDLE)] = ""
    new_username: Text = ""
    new_email: Text = ""

    def chosen(self) -> LoginAccountChoice | None:
        """Return the choice as a domain object; None keeps the link as it is. Raises ValidationError."""
        match self.choice:
            case "existing":
                reason = self.account_reason.strip() or None
                return Existing(choice="existing", account_handle=self.account_handle, reason=reason).chosen()
            case "new":
                return New(
                    choice="new", username=self.new_username.strip(), email=self.new_email.strip()
                ).chosen()
            case "none":
                return NoAccount()
            case "keep":
                return None


class PreferencesForm(BaseModel):
    """What the guest wants (R27). A box that is not ticked is not sent. No language: nothing was asked."""

    model_config = ConfigDict(frozen=True)

    preferred_language: Literal["nl", "en"] | None = None
    newsletter: bool = False
    lending_history: bool = False

    def preferences(self) -> Preferences | None:
        """Return the preferences as a domain object; None if they were not asked."""
        if self.preferred_language is None:
            return None
        return Preferences(self.preferred_language, self.newsletter, self.lending_history)


class Draft(AccountForm, PreferencesForm):
    """A registration that is not saved yet. `branch`: the clerk's branch, if it differs from the session's.

    `name` to `ends_on` are only shown: the home library is asked again when the form is saved.
    `canonical_card_number`: the number in the library's reply, for the comparison with a found account.
    `likely`: the ids of guests who look like the person (R28), with commas between. `decision`: `other`, or
    `same:` or `merge:` and the id of the guest who is the person, with a card of the same or another library.
    """

    card_number: Text = ""
    canonical_card_number: Text = ""
    home_isil: Annotated[Text, AfterValidator(usual_isil)] = ""
    name: Text = ""
    birth_date: Text = ""
    address: Text = ""
    email: Text = ""
    ends_on: Text = ""
    subscription_code: Text = ""
    branch: Text = ""
    identity_document_checked: bool = False
    card_has_chip: bool = False
    likely: Annotated[Text, Field(pattern=rf"^({_ID}(,{_ID})*)?$")] = ""
    decision: Annotated[Text, Field(pattern=rf"^(other|(same|merge):{_ID})?$")] = ""
    idempotency_key: Text = ""

    @property
    def likely_ids(self) -> Sequence[UUID]:
        """The guests who look like the person."""
        return [UUID(guest_id) for guest_id in self.likely.split(",") if guest_id]

    @property
    def same_as(self) -> UUID | None:
        """The guest who gets the card number."""
        return self._decided("same")

    @property
    def merge_with(self) -> UUID | None:
        """The guest to merge with after the registration."""
        return self._decided("merge")

    @property
    def not_same_as(self) -> frozenset[UUID]:
        """The guests who are another person than the one who is registered now."""
        compared = self.decision == "other" or self.merge_with is not None
        return frozenset(self.likely_ids) if compared else frozenset()

    def _decided(self, what: str) -> UUID | None:
        decision, _, guest_id = self.decision.partition(":")
        return UUID(guest_id) if decision == what else None


class Reregistration(AccountForm, PreferencesForm):
    """The re-registration of an expired guest (R14)."""

    choice: Choice = "keep"
    patron_type: Text = ""
    idempotency_key: Text = ""


class ReasonForm(BaseModel):
    """Why a clerk or an operator does it (R21). `guest_id`: whose message, where a page has several forms."""

    model_config = ConfigDict(frozen=True)

    reason: str = ""
    guest_id: str = ""


TypedReason = Annotated[str, Form(max_length=200)]
"""Any text: `fault_of_reason` says what is wrong with it, and `require_text` puts it on one line."""
NO_REASON: Texts = ("Vul in waarom.", "Fill in why.")
SCANNED: Texts = (
    "Dit lijkt op een gescand pasnummer. Schrijf in woorden waarom.",
    "This looks like a scanned card number. Write the reason in words.",
)
FEWEST_DIGITS, MOST_LETTERS = 6, 2
"""One word of so many digits and hardly a letter is a card number: the scanner read a card while the field of
the reason had the focus. The number of a ticket has more letters."""


def fault_of_reason(reason: str, missing: Texts = NO_REASON) -> Texts | None:
    """Return what is wrong with a reason: it is `missing`, or a scanned card number. None: nothing is."""
    words = without_unseen(tidy(reason)).split()
    if not words:
        return missing
    digits, letters = sum(map(str.isdigit, words[0])), sum(map(str.isalpha, words[0]))
    is_card = len(words) == 1 and digits >= FEWEST_DIGITS and letters <= MOST_LETTERS
    return SCANNED if is_card else None


def mistakes(error: ValidationError) -> set[str]:
    """Return the names of the fields that are wrong."""
    return {str(fault["loc"][-1]) for fault in error.errors(include_url=False, include_input=False)}


Command = Callable[[Context], Awaitable[CommandResult]]
_KEY = re.compile(r"[\x20-\x7e]{1,100}")


class FormWrite:
    """A callable that runs a command for the clerk, once per rendered form (`idempotency_key`)."""

    def __init__(self, request: Request, staff: Staff, clerk: Clerk) -> None:
        self._request = request
        self._staff = staff
        self._clerk = clerk

    async def __call__(self, command: Command) -> CommandResult:
        """Run `command`, or return the result that the same form had before."""
        keys: IdempotencyKeys = self._request.app.state.idempotency_keys
        result = await keys.run_once(
            await self._idempotent(), lambda rows: command(self._clerk.context(rows))
        )
        await forget_draft(self._request)
        return result

    async def _idempotent(self) -> IdempotentRequest | None:
        form = await self._request.form()
        key = form.get("idempotency_key")
        if not isinstance(key, str) or _KEY.fullmatch(key) is None:
            return None
        body = orjson.dumps(await fields_of(self._request), option=orjson.OPT_SORT_KEYS)
        route = f"form {self._request.url.path}"
        return IdempotentRequest(self._staff.subject, self._staff.organisation, route, key, body)


async def _form_write(request: Request, staff: StaffDep, clerk: CounterClerkDep) -> FormWrite:
    return FormWrite(request, staff, clerk)


FormWriteDep = Annotated[FormWrite, Depends(_form_write)]
