"""What a guest wants is asked, changed and withdrawn (R27)."""

from __future__ import annotations

import pytest

from registration.domain.errors import GuestErased, GuestMerged
from registration.domain.events import (
    GuestDeregistered,
    GuestPreferencesChanged,
    GuestReregistered,
    GuestsMerged,
    PersonalDataErased,
    SubscriptionExpired,
)
from registration.domain.guest import Guest
from registration.domain.guest_state import Preferences
from tests.support.scenario import STREAM_ID, Event, given, noon
from tests.unit.registration.guest_events import SEPT_12, SEPT_15, happened, registered, renewal

ALL = Preferences("en", newsletter=True, lending_history=True)
WITHDRAWN = Preferences("en")
EXPIRED = happened(SubscriptionExpired, on=SEPT_12, reason="overig")
GONE = happened(GuestDeregistered, on=SEPT_12, reason="vergissing")


def changed(to: Preferences) -> Event[Guest]:
    return happened(GuestPreferencesChanged, **to.fields())


def preferences_of(*past: Event[Guest]) -> Preferences:
    return given(*past).aggregate.state.preferences


def test_r27_what_nobody_asked_is_off() -> None:
    assert preferences_of(registered()) == Preferences("nl", newsletter=False, lending_history=False)


def test_r27_what_the_clerk_asked_is_kept() -> None:
    assert preferences_of(registered(preferences=ALL)) == ALL


def test_r27_a_consent_is_withdrawn_as_it_is_given() -> None:
    def withdraw(guest: Guest) -> None:
        guest.change_preferences(WITHDRAWN, now=noon(SEPT_12))

    guest = given(registered(preferences=ALL)).when(withdraw).then(changed(WITHDRAWN))
    assert guest.state.preferences == WITHDRAWN
    given(registered(preferences=ALL), changed(WITHDRAWN)).when(withdraw).then_nothing()


@pytest.mark.parametrize("end", [EXPIRED, GONE])
def test_r27_a_consent_ends_also_after_the_registration_did(end: Event[Guest]) -> None:
    scenario = given(registered(preferences=ALL), end)
    scenario.when(lambda guest: guest.change_preferences(WITHDRAWN, now=noon(SEPT_15))).then(
        changed(WITHDRAWN)
    )


@pytest.mark.parametrize(("asked", "then"), [(None, ALL), (WITHDRAWN, WITHDRAWN)])
def test_r27_a_reregistration_keeps_what_it_does_not_ask(
    asked: Preferences | None, then: Preferences
) -> None:
    fields = renewal()._replace(preferences=asked).fields(SEPT_15, None)
    again = happened(GuestReregistered, patron_type="04", **fields)
    assert preferences_of(registered(preferences=ALL), EXPIRED, again) == then


def test_r27_who_is_registered_afresh_is_asked_afresh() -> None:
    assert preferences_of(registered(preferences=ALL), GONE, registered(SEPT_15)) == Preferences()


def test_r27_the_records_of_a_merge_keep_their_own() -> None:
    scenario = given(registered(), happened(GuestsMerged, into=STREAM_ID))
    scenario.when(lambda guest: guest.change_preferences(ALL, now=noon(SEPT_15))).refused(GuestMerged)


def test_r19_an_erasure_takes_the_preferences_along() -> None:
    erased = happened(PersonalDataErased, on=SEPT_15)
    assert preferences_of(registered(preferences=ALL), erased) == Preferences()
    scenario = given(registered(preferences=ALL), erased)
    scenario.when(lambda guest: guest.change_preferences(ALL, now=noon(SEPT_15))).refused(GuestErased)
