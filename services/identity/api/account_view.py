"""A login account and an actor as JSON."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from identity.application.show_actor import ShownActor
from identity.application.show_login_account import ShownAccount
from identity.domain.account_history import FirstLogin, GuestOfAccount


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
        status=guest.standing.status.value,
        ends_on=guest.standing.ends_on,
    )


def _login(login: FirstLogin) -> LoginJson:
    return LoginJson(
        organisation=login.organisation,
        actor_id=login.actor_id,
        new_actor=login.new_actor,
        first_login_at=login.at,
    )
