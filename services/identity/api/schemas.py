"""JSON bodies of requests and responses. A request with an unknown or mistyped field is refused."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from identity.application.log_in import LogIn
from identity.application.open_login_account import OpenLoginAccount
from identity.application.show_login_account import ShownAccount, ShownActor
from identity.domain.login_account import FirstLogin, GuestOfAccount

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


class LinkJson(BaseModel):
    """A guest that the account is linked to. `too_late`: a login there had made its own actor before (I6)."""

    guest_id: UUID
    organisation: str
    state: Literal["linked", "too_late"]
    actor_id: UUID
    status: str
    ends_on: date | None


class LoginJson(BaseModel):
    """The first login at an organisation. `new_actor`: nobody of this person was registered there."""

    organisation: str
    actor_id: UUID
    new_actor: bool
    first_login_at: datetime


class AccountJson(BaseModel):
    """An account. `actor_id` null: so far it is in the directory only; personal data null: erased."""

    account_id: str
    actor_id: UUID | None
    home_isil: str
    home_card_number: str | None
    username: str | None
    email: str | None
    links: list[LinkJson]
    logins: list[LoginJson]


class ActorJson(BaseModel):
    """An actor. `organisation`: where a login made it; null: it came with the account.

    `merged_into`: this is a signpost to that actor, `merged_from`: the signposts to this one (I6).
    """

    actor_id: UUID
    account_id: str
    organisation: str | None
    merged_into: UUID | None
    merged_from: list[UUID]
    links: list[LinkJson]
    logins: list[LoginJson]


def account_json(shown: ShownAccount) -> AccountJson:
    """The account with its links and logins."""
    details = shown.details
    return AccountJson(
        account_id=shown.account_id,
        actor_id=shown.actor_id,
        home_isil=shown.home_isil,
        home_card_number=details.home_card_number if details else None,
        username=details.username if details else None,
        email=details.email if details else None,
        links=[_link(guest) for guest in shown.guests],
        logins=[_login(login) for login in shown.logins],
    )


def actor_json(shown: ShownActor) -> ActorJson:
    """The actor with the links and logins that go by it."""
    return ActorJson(
        actor_id=shown.actor.id,
        account_id=shown.actor.account_id,
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
