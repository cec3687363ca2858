"""JSON bodies of requests and responses. A request with an unknown field or a wrong type is refused."""

from datetime import date, datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from identity.application.open_login_account import OpenLoginAccount
from identity.application.show_login_account import ShownAccount, ShownActor
from identity.domain.login_account import FirstLogin, GuestOfAccount
from shared.kernel.login_account import MOST_LIBRARIES, MOST_NAMED, AccountId, Email
from shared.kernel.text import require_identifier
from shared.web.security import LONGEST_TOKEN

# An id or a code: it is compared exactly, so it is never changed.
Line = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"),
    AfterValidator(require_identifier),
]
# Only the length is checked here: the domain raises its own error for a malformed value.
Typed = Annotated[str, Field(max_length=300)]


class Body(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Login(Body):
    """An account logs in at the catalogue of an organisation: `id_token` proves it, `account_id` names it.

    One of both. `nonce`: what the catalogue sent to the account provider when this sign-in began.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"account_id": "acc-jan", "organisation": "1001"}]}
    )

    account_id: AccountId | None = None
    id_token: Annotated[str, Field(min_length=1, max_length=LONGEST_TOKEN)] | None = None
    nonce: Line | None = None
    organisation: Line

    @model_validator(mode="after")
    def _names_one_account(self) -> Self:
        if (self.account_id is None) == (self.id_token is None):
            raise ValueError("either id_token or account_id is needed")
        if self.nonce is not None and self.id_token is None:
            raise ValueError("a nonce belongs to an id_token")
        return self


class Merging(Body):
    """`into`: the actor that stays. `confirm` false: only show what would happen, and write nothing."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"into": "6f2a4f0e-8f5c-4d0e-9a55-3a1c1f0f7a52", "confirm": False}]}
    )

    # JSON has no type for an id, so this one field is read from text although the body is strict.
    into: Annotated[UUID, Field(strict=False)]
    confirm: bool


class NewLoginAccount(Body):
    """An account to open. Without `account_id` an id is created."""

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

    account_id: AccountId | None = None
    username: Typed
    email: Email
    home_isil: Typed
    home_card_number: Typed

    def command(self) -> OpenLoginAccount:
        """Return the command of the use case."""
        return OpenLoginAccount(
            self.account_id, self.username, self.email, self.home_isil, self.home_card_number
        )


class AccountIds(Body):
    """The accounts whose names are asked for, each once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"account_ids": ["acc-jan", "acc-piet"]}]})

    account_ids: Annotated[list[AccountId], Field(min_length=1, max_length=MOST_NAMED)]


class UsernameAtLibraries(Body):
    """A username, and the home libraries at which it is looked for."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"username": "jan.jansen", "home_isils": ["NL-070288"]}]}
    )

    username: Typed
    home_isils: Annotated[list[Typed], Field(max_length=MOST_LIBRARIES)]


class LinkJson(BaseModel):
    """A guest that the account is linked to. `too_late`: a first login there made its own actor before."""

    guest_id: UUID
    organisation: str
    state: Literal["linked", "too_late"]
    actor_id: UUID
    status: str
    ends_on: date | None


class LoginJson(BaseModel):
    """The first login at an organisation.

    `new_actor`: the person was not registered there, so the login made a new actor.
    """

    organisation: str
    actor_id: UUID
    new_actor: bool
    first_login_at: datetime


class AccountJson(BaseModel):
    """An account. `actor_id` null: only the directory knows it.

    `username` and `email` null: erased. `home_card_number` null: erased, or opened at a registration.
    `person_ref`: the reference of the person whose home card the account is on.
    """

    account_id: str
    actor_id: UUID | None
    home_isil: str
    person_ref: str
    home_card_number: str | None
    username: str | None
    email: str | None
    links: list[LinkJson]
    logins: list[LoginJson]


class ActorJson(BaseModel):
    """An actor. `account_id` null: the account for which it was opened was erased.

    `organisation`: where a first login made it; null: it was opened with the account.

    `merged_into`: this is a merged record that points to that actor. `merged_from`: the merged records that
    point to this actor.
    """

    actor_id: UUID
    account_id: str | None
    organisation: str | None
    merged_into: UUID | None
    merged_from: list[UUID]
    links: list[LinkJson]
    logins: list[LoginJson]


def account_json(shown: ShownAccount) -> AccountJson:
    """Return the JSON of an account with its links and logins."""
    details = shown.details
    return AccountJson(
        account_id=shown.account_id,
        actor_id=shown.actor_id,
        home_isil=shown.home_isil,
        person_ref=shown.person_ref,
        home_card_number=details.home_card_number if details else None,
        username=details.username if details else None,
        email=details.email if details else None,
        links=[_link(guest) for guest in shown.guests],
        logins=[_login(login) for login in shown.logins],
    )


def actor_json(shown: ShownActor) -> ActorJson:
    """Return the JSON of an actor with its links and logins."""
    return ActorJson(
        actor_id=shown.actor.id,
        account_id=shown.account_id,
        organisation=shown.actor.organisation,
        merged_into=shown.actor.merged_into,
        merged_from=shown.actor.merged_from,
        links=[_link(guest) for guest in shown.guests],
        logins=[_login(login) for login in shown.logins],
    )


def _link(guest: GuestOfAccount) -> LinkJson:
    return LinkJson(
        guest_id=guest.guest_id,
        organisation=guest.organisation,
        state="too_late" if guest.too_late else "linked",
        actor_id=guest.actor_id,
        status=guest.guest_status.status.value,
        ends_on=guest.guest_status.ends_on,
    )


def _login(login: FirstLogin) -> LoginJson:
    return LoginJson(
        organisation=login.organisation,
        actor_id=login.actor_id,
        new_actor=login.new_actor,
        first_login_at=login.at,
    )
