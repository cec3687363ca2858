"""A guest's link: given these events, when this command, then these events. Each event is one message."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from uuid import UUID

import pytest

from identity.domain.errors import RefusalReason
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.guest_status import GuestStatus, Status
from tests.support.scenario import NOW, STREAM_ID, Event, begun, given
from tests.unit.identity.login_events import (
    EXPIRED,
    HERE,
    HOME_ACTOR,
    OTHER_ACTOR,
    OTHER_GUEST,
    VALID,
    fields_of,
    link_event,
    noted,
)

Command = Callable[[GuestLink], None]

LINKED = link_event(GuestLink.LoginAccountLinked, account_id="acc-jan", actor_id=HOME_ACTOR)
TOO_LATE = link_event(GuestLink.LoginAccountLinkedTooLate, account_id="acc-jan", actor_id=OTHER_ACTOR)
REFUSED = link_event(GuestLink.LoginAccountLinkRefused, account_id="acc-jan", reason="unknown-account")
RELEASED = link_event(GuestLink.LoginAccountReleased, account_id="acc-jan")


def confirm(link: GuestLink) -> None:
    link.confirm(Linked("acc-jan", HOME_ACTOR, too_late=False), NOW)


def refuse(link: GuestLink) -> None:
    link.refuse("acc-jan", RefusalReason.UNKNOWN_ACCOUNT, NOW)


def release(link: GuestLink) -> None:
    link.release(NOW)


def test_i2_a_guest_who_was_registered_is_noted_without_an_account() -> None:
    link = GuestLink.note(STREAM_ID, organisation=HERE, person_ref="ab", ends_on=date(2025, 12, 11), now=NOW)
    begun(link).then(noted())
    assert (link.id, link.answer, link.registered) == (STREAM_ID, None, True)


def test_i3_every_request_gets_an_answer_of_its_own() -> None:
    scenario = given(noted())
    for command, event in ((refuse, REFUSED), (refuse, REFUSED), (confirm, LINKED), (confirm, LINKED)):
        scenario.when(command).then(event)


def test_i6_a_link_that_came_too_late_names_the_actor_of_the_first_login() -> None:
    answer = Linked("acc-jan", OTHER_ACTOR, too_late=True)
    assert given(noted()).when(lambda link: link.confirm(answer, NOW)).then(TOO_LATE).answer == answer


@pytest.mark.parametrize("answer", [LINKED, TOO_LATE, REFUSED])
def test_i3_a_release_is_an_event_only_when_there_is_an_account_to_release(answer: Event[GuestLink]) -> None:
    scenario = given(noted())
    scenario.when(release).then_nothing()
    assert given(noted(), answer).when(release).then(RELEASED).answer is None


@pytest.mark.parametrize(
    ("past", "account_id"),
    [([], None), ([LINKED], "acc-jan"), ([REFUSED], "acc-jan"), ([LINKED, RELEASED], None)],
)
def test_r18_a_merged_record_keeps_the_account_that_it_had(
    past: list[Event[GuestLink]], account_id: str | None
) -> None:
    link = (
        given(noted(), *past)
        .when(lambda link: link.merge_into(OTHER_GUEST, NOW))
        .then(link_event(GuestLink.Merged, into=OTHER_GUEST, account_id=account_id))
    )
    assert (link.merged_into, link.merged_account) == (OTHER_GUEST, account_id)


def test_r18_merged_once_more_into_another_guest_it_keeps_the_account_too() -> None:
    merged = link_event(GuestLink.Merged, into=OTHER_GUEST, account_id="acc-jan")
    third = UUID(int=13)
    given(noted(), LINKED, merged, RELEASED).when(lambda link: link.merge_into(third, NOW)).then(
        link_event(GuestLink.Merged, into=third, account_id="acc-jan")
    )


def test_i7_the_same_guest_status_again_is_no_event() -> None:
    scenario = given(noted())
    scenario.when(lambda link: link.change_guest_status(VALID, NOW)).then_nothing()
    scenario.when(lambda link: link.change_guest_status(EXPIRED, NOW)).then(
        link_event(GuestLink.StandingChanged, **fields_of(EXPIRED))
    )


@pytest.mark.parametrize("status", [VALID.deregistered(), VALID.erased()])
def test_i4_a_deregistered_or_erased_guest_counts_no_more(status: GuestStatus) -> None:
    changed = link_event(GuestLink.StandingChanged, **fields_of(status))
    link = given(noted(), LINKED).when(lambda link: link.change_guest_status(status, NOW)).then(changed)
    assert (link.registered, link.erased) == (False, status.status is Status.ERASED)
