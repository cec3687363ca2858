"""What clerks fill in, as the browser sends it; a form that is sent twice is executed once."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import orjson
from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registration.api.dependencies import KeysDep
from registration.api.schemas import Existing, New
from registration.application.dependencies import Context, Written
from registration.counter_ui.auth import CounterClerkDep, StaffDep
from registration.domain.login_link import LoginAccountChoice, NoAccount
from shared.web.idempotency import CommandResult, IdempotentRequest, Rows

Text = Annotated[str, Field(max_length=254)]
Choice = Literal["existing", "new", "none", "keep"]


class AccountForm(BaseModel):
    """The choice of login account (R17). `account_*`: what the search found, `linked`: the clerk took it."""

    model_config = ConfigDict(frozen=True)

    choice: Choice = "existing"
    username: Text = ""
    account_id: Text = ""
    account_username: Text = ""
    account_email: Text = ""
    linked: bool = False
    new_username: Text = ""
    new_email: Text = ""

    @property
    def found(self) -> bool:
        """Whether the account that the search found is the one that stands in the field."""
        return bool(self.account_id) and self.account_username.lower() == self.username.strip().lower()

    def chosen(self) -> LoginAccountChoice | None:
        """As the domain knows it; None leaves the link as it is. Raises ValidationError."""
        match self.choice:
            case "existing":
                return Existing(choice="existing", account_id=self.account_id).chosen()
            case "new":
                return New(
                    choice="new", username=self.new_username.strip(), email=self.new_email.strip()
                ).chosen()
            case "none":
                return NoAccount()
            case "keep":
                return None


class Draft(AccountForm):
    """A registration under way. Name to `ends_on` are shown only: home is asked again when it is saved.

    `branch`: where the clerk sits, when it is another than the session knows.
    """

    card_number: Text = ""
    home_isil: Text = ""
    name: Text = ""
    birth_date: Text = ""
    address: Text = ""
    email: Text = ""
    ends_on: Text = ""
    subscription_code: Text = ""
    branch: Text = ""
    identity_document_checked: bool = False
    card_has_chip: bool = False
    idempotency_key: Text = ""


class Reregistration(AccountForm):
    """An expired guest's (R14)."""

    choice: Choice = "keep"
    patron_type: Text = ""
    idempotency_key: Text = ""


def mistakes(error: ValidationError) -> set[str]:
    """The names of the fields that are wrong."""
    return {str(fault["loc"][-1]) for fault in error.errors(include_url=False, include_input=False)}


Command = Callable[[Context], Awaitable[Written]]
_LONGEST_KEY = 100


class FormWrite:
    """Runs a command for the clerk, once per rendered form (`idempotency_key`)."""

    def __init__(self, request: Request, staff: StaffDep, clerk: CounterClerkDep, keys: KeysDep) -> None:
        self._request = request
        self._staff = staff
        self._clerk = clerk
        self._keys = keys

    async def __call__(self, command: Command) -> CommandResult:
        """Which guest it was done to, now or by the same form before."""

        async def run(rows: Rows) -> CommandResult:
            written = await command(self._clerk.context(rows))
            return CommandResult(written.guest_id, written.position)

        return await self._keys.run_once(await self._attempt(), run)

    async def _attempt(self) -> IdempotentRequest | None:
        form = await self._request.form()
        key = form.get("idempotency_key")
        if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY:
            return None
        said = {
            name: value for name, value in form.items() if name != "csrf_token" and isinstance(value, str)
        }
        body = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        return IdempotentRequest(self._staff.subject, f"form {self._request.url.path}", key, body)


FormWriteDep = Annotated[FormWrite, Depends()]
