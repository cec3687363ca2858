"""What callers send. Strict: a field too many, or of another type, is refused (`malformed-request`)."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from identity.application.log_in import LogIn
from identity.application.open_login_account import OpenLoginAccount

# One line of text: control characters belong in no id, code or name.
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
# Anything at all, since the domain says itself what is malformed; only its size is bounded.
Typed = Annotated[str, Field(max_length=300)]
Email = Annotated[str, Field(max_length=254, pattern=r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+$")]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Login(Body):
    """An account logs in at the catalogue of an organisation."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"account_id": "acc-jan", "organisation": "1001"}]}
    )

    account_id: Line
    organisation: Line

    def command(self) -> LogIn:
        """As the use case knows it."""
        return LogIn(self.account_id, self.organisation)


class Merging(Body):
    """The actor that is to stay; without `confirm` it is only shown what would happen (I6)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"into": "6f2a4f0e-8f5c-4d0e-9a55-3a1c1f0f7a52", "confirm": False}]}
    )

    # JSON knows no ids: from text also where all else is strict.
    into: Annotated[UUID, Field(strict=False)]
    confirm: bool


class NewLoginAccount(Body):
    """An account to be opened; without an id one is minted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "username": "jan.jansen",
                    "email": "jan.jansen@example.org",
                    "home_isil": "NL-070288",
                    "home_card_number": "0990139305",
                }
            ]
        }
    )

    account_id: Line | None = None
    username: Typed
    email: Email
    home_isil: Typed
    home_card_number: Typed

    def command(self) -> OpenLoginAccount:
        """As the use case knows it."""
        return OpenLoginAccount(
            self.account_id, self.username, self.email, self.home_isil, self.home_card_number
        )
