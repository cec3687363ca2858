"""The account of the seed's Jan in events, with the guests that are linked to it and the actors behind it."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

from identity.domain.actor import Actor
from identity.domain.guest_link import GuestLink
from identity.domain.guest_status import GuestStatus, Status
from identity.domain.login_account import LoginAccount, login_account_stream
from tests.support.scenario import Event, EventsOf

HOME_ACTOR, OTHER_ACTOR, THIRD_ACTOR = UUID(int=1), UUID(int=2), UUID(int=3)
GUEST, OTHER_GUEST = UUID(int=11), UUID(int=12)
VALID = GuestStatus(Status.VALID, date(2025, 12, 11))
EXPIRED = GuestStatus(Status.EXPIRED, date(2025, 9, 11))
HERE, THERE = "1001", "2002"

account_event = EventsOf(LoginAccount)
link_event = EventsOf(GuestLink)
actor_event = EventsOf(Actor)


def opened() -> Event[LoginAccount]:
    """An account of a member in Groningen, with an actor of its own."""
    return account_event(
        LoginAccount.Opened,
        account_id="acc-jan",
        actor_id=HOME_ACTOR,
        home_isil="NL-070288",
        person_ref="ab",
        details=b"sealed",
    )


def linked(
    guest_id: UUID = GUEST,
    organisation: str = HERE,
    actor_id: UUID = HOME_ACTOR,
    *,
    too_late: bool = False,
    status: GuestStatus = VALID,
) -> Event[LoginAccount]:
    return account_event(
        LoginAccount.GuestLinked,
        guest_id=guest_id,
        organisation=organisation,
        **fields_of(status),
        actor_id=actor_id,
        too_late=too_late,
    )


def released(guest_id: UUID = GUEST) -> Event[LoginAccount]:
    return account_event(LoginAccount.GuestReleased, guest_id=guest_id)


def first_login(
    organisation: str = HERE, actor_id: UUID = OTHER_ACTOR, *, new_actor: bool = True
) -> Event[LoginAccount]:
    return account_event(
        LoginAccount.FirstLoginRecorded, organisation=organisation, actor_id=actor_id, new_actor=new_actor
    )


def noted() -> Event[GuestLink]:
    """A guest who was registered and asked for no account so far."""
    return link_event(GuestLink.Noted, organisation=HERE, person_ref="ab", **fields_of(VALID))


ACCOUNT_STREAM = login_account_stream("acc-jan")


def actor_opened(organisation: str | None = None) -> Event[Actor]:
    return actor_event(Actor.Opened, account_stream=ACCOUNT_STREAM, organisation=organisation)


def fields_of(status: GuestStatus) -> dict[str, Any]:
    """A guest status, as events keep it."""
    return {"status": status.status.value, "ends_on": status.ends_on}
