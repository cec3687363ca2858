"""The guest's other rules: strips, re-registration, the login link, mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registration.domain.errors import (
    AlreadyLinked,
    AlreadyRegistered,
    NoLongerRegistered,
    NotExpired,
    NotLinked,
    UnknownSubscription,
    WrongPatronType,
)
from registration.domain.events import (
    CardChipChanged,
    Encrypted,
    GuestDeregistered,
    GuestSuspended,
    LendingStripsGranted,
    LoginAccountLinkConfirmed,
    LoginAccountLinkRefused,
    LoginAccountLinkRequested,
    LoginAccountUnlinked,
    SubscriptionExpired,
)
from registration.domain.guest import Guest
from registration.domain.login_link import LinkRequest, LinkState, LoginLink
from registration.domain.term import picked, subscription
from registration.domain.verdict import PatronDetails, Valid
from shared.kernel.errors import RuleBroken
from tests.support.scenario import Event, given, noon
from tests.unit.registration.guest_events import (
    SEPT_11,
    SEPT_12,
    SEPT_15,
    admission,
    happened,
    registered,
    renewal,
    reregistered,
)

Command = Callable[[Guest], None]

JAN = LinkRequest("existing", "acc-jan")
MOTHER = LinkRequest("existing", "acc-mother")
NEW = LinkRequest("new", "acc-new", Encrypted(b"username"))
EXPIRED = happened(SubscriptionExpired, on=SEPT_12, reason="overig")
STRIPS = happened(LendingStripsGranted, strips=125, receipt_code="780", price="0.00")
GONE = happened(GuestDeregistered, on=SEPT_12, reason="verkeerde klant")


def requested(link_request: LinkRequest) -> Event[Guest]:
    return happened(LoginAccountLinkRequested, **link_request.fields())


def confirmed(account_id: str = "acc-jan", *, too_late: bool = False) -> Event[Guest]:
    return happened(LoginAccountLinkConfirmed, account_id=account_id, too_late=too_late)


def link_of(*past: Event[Guest]) -> LoginLink:
    return given(*past).aggregate.state.link


def reregister(guest: Guest, patron_type: str = "04", link_request: LinkRequest | None = None) -> None:
    guest.reregister(patron_type, renewal(link_request), today=SEPT_15, now=noon(SEPT_15))


def test_r7_one_subscription_is_on_offer_and_picked_already() -> None:
    assert picked(None) is picked("346") is subscription("346")
    assert picked(None).label == "346-gastleen abonnement"
    assert (picked(None).cost, picked(None).sector, picked(None).tariff_months) == ("0.00", "BIEB", 12)


def test_r7_another_subscription_is_unknown() -> None:
    with pytest.raises(UnknownSubscription):
        picked("347")


def test_r8_strips_are_125_under_code_780_for_nothing() -> None:
    guest = given(registered()).when(lambda guest: guest.grant_strips(now=noon(SEPT_11))).then(STRIPS)
    assert guest.state.lending_strips == 125


def test_r8_strips_are_granted_once_per_guest() -> None:
    scenario = given(registered(), STRIPS, GONE, registered(SEPT_15))
    guest = scenario.when(lambda guest: guest.grant_strips(now=noon(SEPT_15))).then_nothing()
    assert guest.state.lending_strips == 125


def test_r14_an_expired_guest_is_registered_again_without_strips() -> None:
    guest = given(registered(), STRIPS, EXPIRED).when(reregister).then(reregistered())
    assert guest.state.status == "valid"


@pytest.mark.parametrize("patron_type", ["", "4", "03", "04 ", "05"])
def test_r14_only_patron_type_04(patron_type: str) -> None:
    given(registered(), EXPIRED).when(lambda guest: reregister(guest, patron_type)).refused(WrongPatronType)


@pytest.mark.parametrize("past", [[], [happened(GuestSuspended, reason="fines")]])
def test_r14_only_from_expired(past: list[Event[Guest]]) -> None:
    given(registered(), *past).when(reregister).refused(NotExpired)


def test_r14_not_when_deregistered() -> None:
    given(registered(), GONE).when(reregister).refused(NoLongerRegistered)


def test_r14_the_login_link_stays() -> None:
    guest = given(registered(link_request=JAN), confirmed(), EXPIRED).when(reregister).aggregate
    assert guest.state.link == LoginLink(LinkState.LINKED, "acc-jan")


def test_r14_a_choice_of_login_account_may_come_with_it() -> None:
    outcome = given(registered(), EXPIRED).when(lambda guest: reregister(guest, link_request=JAN))
    guest = outcome.then(reregistered(link_request=JAN))
    assert guest.state.link == LoginLink(LinkState.PENDING, "acc-jan")


def test_r14_choosing_the_account_that_is_linked_already_changes_nothing_of_the_link() -> None:
    outcome = given(registered(link_request=JAN), confirmed(), EXPIRED).when(
        lambda guest: reregister(guest, link_request=JAN)
    )
    guest = outcome.then(reregistered())
    assert guest.state.link.state is LinkState.LINKED


def test_r14_choosing_another_account_than_the_linked_one_is_refused() -> None:
    scenario = given(registered(link_request=JAN), confirmed(), EXPIRED)
    scenario.when(lambda guest: reregister(guest, link_request=MOTHER)).refused(AlreadyLinked)


@pytest.mark.parametrize(
    ("past", "link"),
    [
        ([registered()], LoginLink()),
        ([registered(link_request=JAN)], LoginLink(LinkState.PENDING, "acc-jan")),
        ([registered(link_request=NEW)], LoginLink(LinkState.PENDING, "acc-new")),
        ([registered(), requested(MOTHER)], LoginLink(LinkState.PENDING, "acc-mother")),
        ([registered(link_request=JAN), confirmed()], LoginLink(LinkState.LINKED, "acc-jan")),
        ([registered(link_request=JAN), confirmed(too_late=True)], LoginLink(LinkState.TOO_LATE, "acc-jan")),
        ([registered(link_request=JAN), confirmed(), GONE], LoginLink()),
    ],
)
def test_r17_the_link_follows_the_choice_and_the_answer(past: list[Event[Guest]], link: LoginLink) -> None:
    assert link_of(*past) == link


def test_r17_an_answer_confirms_the_account_that_was_asked_for() -> None:
    outcome = given(registered(link_request=JAN)).when(confirm("acc-jan"))
    outcome.then(confirmed("acc-jan"))


def confirm(account_id: str, *, too_late: bool = False) -> Command:
    return lambda guest: guest.confirm_link(account_id, too_late=too_late, now=noon(SEPT_12))


def refuse(account_id: str | None, reason: str = "account-in-use") -> Command:
    return lambda guest: guest.refuse_link(account_id, reason, now=noon(SEPT_12))


@pytest.mark.parametrize("account_id", ["acc-jan", "acc-nobody"])
def test_r17_an_answer_about_another_account_than_the_one_asked_for_now_changes_nothing(
    account_id: str,
) -> None:
    past = (registered(link_request=JAN), requested(MOTHER))
    given(*past).when(confirm(account_id)).then_nothing()
    given(*past).when(refuse(account_id)).then_nothing()


def test_r17_the_same_answer_twice_is_one_event() -> None:
    given(registered(link_request=JAN), confirmed()).when(confirm("acc-jan")).then_nothing()


def test_r17_a_refusal_says_why_and_leaves_room_for_another_request() -> None:
    scenario = given(registered(link_request=JAN))
    guest = scenario.when(refuse(None)).then(
        happened(LoginAccountLinkRefused, account_id="acc-jan", reason="account-in-use")
    )
    assert guest.state.link == LoginLink(LinkState.REFUSED, "acc-jan", "account-in-use")
    scenario.when(lambda guest: guest.request_link(MOTHER, now=noon(SEPT_12))).then(requested(MOTHER))


def test_r17_while_pending_another_account_may_be_asked_for() -> None:
    scenario = given(registered(link_request=JAN))
    scenario.when(lambda guest: guest.request_link(NEW, now=noon(SEPT_12))).then(requested(NEW))


@pytest.mark.parametrize("link_request", [JAN, MOTHER, NEW])
@pytest.mark.parametrize("too_late", [False, True])
def test_r17_a_linked_guest_gets_no_other_account_until_unlinked(
    link_request: LinkRequest, too_late: bool
) -> None:
    scenario = given(registered(link_request=JAN), confirmed(too_late=too_late))
    scenario.when(lambda guest: guest.request_link(link_request, now=noon(SEPT_12))).refused(AlreadyLinked)


def test_r17_what_was_encrypted_for_a_new_account_is_kept_by_its_id() -> None:
    guest = given(registered(link_request=NEW), requested(JAN)).aggregate
    assert guest.state.new_accounts == {"acc-new": b"username"}


@pytest.mark.parametrize("past", [[], [confirmed()], [confirmed(too_late=True)]])
def test_r21_a_wrong_account_is_unlinked_with_a_reason(past: list[Event[Guest]]) -> None:
    guest = (
        given(registered(link_request=JAN), *past)
        .when(lambda guest: guest.unlink("account van moeder", now=noon(SEPT_12)))
        .then(happened(LoginAccountUnlinked, account_id="acc-jan", reason="account van moeder"))
    )
    assert guest.state.link == LoginLink()


def test_r21_nothing_linked_nothing_unlinked() -> None:
    given(registered()).when(lambda guest: guest.unlink("?", now=noon(SEPT_12))).refused(NotLinked)


def test_r21_after_unlinking_an_old_answer_ties_nothing() -> None:
    unlinked = happened(LoginAccountUnlinked, account_id="acc-jan", reason="account van moeder")
    given(registered(link_request=JAN), unlinked).when(confirm("acc-jan")).then_nothing()


def test_r21_a_mistake_is_deregistered_with_a_reason() -> None:
    guest = (
        given(registered())
        .when(lambda guest: guest.deregister("verkeerde klant", today=SEPT_12, now=noon(SEPT_12)))
        .then(GONE)
    )
    assert (guest.state.status, guest.state.reason) == ("deregistered", "verkeerde klant")


def test_r21_a_deregistered_card_is_registered_afresh_as_the_same_guest() -> None:
    fresh = admission(JAN, branch="9451", person_ref="person")
    guest = (
        given(registered(), STRIPS, GONE)
        .when(lambda guest: guest.register_afresh(fresh, today=SEPT_15, now=noon(SEPT_15)))
        .then(registered(SEPT_15, JAN, branch="9451"))
    )
    assert (guest.version, guest.state.status, guest.state.branch) == (4, "valid", "9451")
    assert guest.state.link == LoginLink(LinkState.PENDING, "acc-jan")


@pytest.mark.parametrize("past", [[], [EXPIRED], [happened(GuestSuspended, reason="fines")]])
def test_r10_a_guest_who_is_registered_is_not_registered_again(past: list[Event[Guest]]) -> None:
    scenario = given(registered(), *past)
    error = scenario.when(
        lambda guest: guest.register_afresh(admission(), today=SEPT_15, now=noon(SEPT_15))
    ).refused(AlreadyRegistered)
    assert isinstance(error, AlreadyRegistered)
    assert error.guest_id == scenario.aggregate.id


def test_r21_a_deregistered_guest_takes_no_other_command() -> None:
    commands: list[Command] = [
        lambda guest: guest.request_link(JAN, now=noon(SEPT_15)),
        lambda guest: guest.deregister("nogmaals", today=SEPT_15, now=noon(SEPT_15)),
    ]
    for command in commands:
        given(registered(), GONE).when(command).refused(NoLongerRegistered)


def test_every_broken_rule_has_a_sentence() -> None:
    for kind in RuleBroken.__subclasses__():
        assert kind.__doc__, kind
        assert kind.__doc__.strip().endswith((".", ")")), kind


NO_CHIP = happened(CardChipChanged, card_has_chip=False, reason="verkeerd aangevinkt")


def untick(guest: Guest) -> None:
    guest.change_chip(False, "verkeerd aangevinkt", now=noon(SEPT_12))


def test_r9_r21_a_wrong_tick_is_corrected_with_its_reason() -> None:
    guest = given(registered()).when(untick).then(NO_CHIP)
    assert (guest.state.card_has_chip, guest.state.chip_since) == (False, noon(SEPT_12))


def test_r9_the_same_tick_is_no_event() -> None:
    given(registered(card_has_chip=False)).when(untick).then_nothing()


def test_r9_r21_the_card_of_one_who_was_deregistered_is_not_corrected() -> None:
    given(registered(), GONE).when(untick).refused(NoLongerRegistered)


def test_what_home_says_is_no_activity_of_the_guest() -> None:
    guest = given(registered()).aggregate
    registered_at = guest.state.active_at
    guest.check_term(Valid(PatronDetails("J. Jansen"), None, "0990139305"), today=SEPT_15, now=noon(SEPT_15))
    guest.change_details(Encrypted(b"moved"), now=noon(SEPT_15))
    guest.change_card_number(Encrypted(b"new card"), "new", now=noon(SEPT_15))
    assert guest.state.active_at == registered_at
    assert (guest.state.card_since, guest.state.chip_since) == (noon(SEPT_15), registered_at)
    untick(guest)
    assert guest.state.active_at == noon(SEPT_12)
