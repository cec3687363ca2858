"""What clerks send. Strict: a field too many, or of another type, is refused by its name."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from registration.application.register_guest import RegisterGuest
from registration.domain.login_link import ExistingAccount, NewLoginAccount, NoAccount

# One line of text: control characters belong in no name, code or reason.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=ONE_LINE)]
# Why a clerk takes something back (R21): spaces alone are no reason.
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=ONE_LINE)
]
# Anything at all, since rules R1 and R3 say themselves what is malformed; only its size is bounded.
Typed = Annotated[str, Field(max_length=200)]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Existing(Body):
    """`Bestaand inlogaccount gebruiken`."""

    choice: Literal["existing"]
    account_id: Line

    def chosen(self) -> ExistingAccount:
        """As the domain knows it."""
        return ExistingAccount(self.account_id)


class New(Body):
    """`Nieuw inlogaccount genereren`: registration mints the account's id."""

    choice: Literal["new"]
    username: Line
    email: Annotated[str, Field(max_length=254, pattern=r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+$")]

    def chosen(self) -> NewLoginAccount:
        """As the domain knows it."""
        return NewLoginAccount(self.username, self.email)


class NoneChosen(Body):
    """`Gebruik inlogaccount: Nee`."""

    choice: Literal["none"]

    def chosen(self) -> NoAccount:
        """As the domain knows it."""
        return NoAccount()


Choice = Annotated[Existing | New | NoneChosen, Field(discriminator="choice")]
LinkChoice = Annotated[Existing | New, Field(discriminator="choice")]


class NewGuest(Body):
    """A member of another library at the counter. `home_isil` null: find it from the card (R2)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "card_number": "0990139305",
                    "home_isil": "NL-070288",
                    "branch": "9453",
                    "subscription_code": "346",
                    "card_has_chip": True,
                    "identity_document_checked": True,
                    "login_account": {"choice": "existing", "account_id": "acc-jan"},
                }
            ]
        }
    )

    card_number: Typed
    home_isil: Typed | None = None
    branch: Line
    subscription_code: Typed | None = None
    card_has_chip: bool
    identity_document_checked: bool
    login_account: Choice

    def command(self) -> RegisterGuest:
        """As the use case knows it."""
        return RegisterGuest(
            card_number=self.card_number,
            home_isil=self.home_isil,
            branch=self.branch,
            card_has_chip=self.card_has_chip,
            identity_document_checked=self.identity_document_checked,
            login_account=self.login_account.chosen(),
            subscription_code=self.subscription_code,
        )


class Reregistration(Body):
    """Patron type 04 and nothing else (R14); without a choice the login link stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"patron_type": "04"}]})

    patron_type: Typed
    login_account: Choice | None = None


class Merging(Body):
    """The guest that is to stay; without `confirm` it is only shown what would happen (R18)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"into": "6f2a4f0e-8f5c-4d0e-9a55-3a1c1f0f7a52", "confirm": False}]}
    )

    # JSON knows no ids: from text also where all else is strict.
    into: Annotated[UUID, Field(strict=False)]
    confirm: bool


class BecauseOf(Body):
    """Why a clerk takes something back (R21)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "account van een ouder"}]})

    reason: Reason
