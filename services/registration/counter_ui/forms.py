"""What clerks fill in, as the browser sends it. Unknown fields are passed over, long ones refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registration.api.requests import Existing, New
from registration.domain.login_link import LoginAccountChoice, NoAccount

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
