"""Two guests that are one person: what a merged record is, and who is the same (R18)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as any_input
from hypothesis import strategies as st

from registration.domain.errors import GuestMerged
from registration.domain.events import DuplicateMerged, GuestDeregistered, GuestsMerged, PersonalDataErased
from registration.domain.guest import Guest
from registration.domain.login_link import LinkRequest
from registration.domain.merge import (
    DifferentBirthDates,
    MergeBlocked,
    NothingEqual,
    Particulars,
    Sameness,
    same_person,
)
from registration.domain.verdict import PatronDetails
from tests.support.scenario import given, noon
from tests.unit.registration.guest_events import SEPT_12, admission, happened, registered

LINK = LinkRequest("existing", "acc-jan")
SURVIVOR, OTHER = UUID(int=0xA), UUID(int=0xB)


def test_r18_a_merged_record_has_no_link_and_keeps_its_rows() -> None:
    past = given(registered(link_request=LINK))
    rows = past.aggregate.state.contributions
    guest = past.when(lambda guest: guest.merge_into(SURVIVOR, now=noon(SEPT_12))).then(
        happened(GuestsMerged, into=SURVIVOR)
    )
    assert (guest.state.status.value, guest.state.merged_into) == ("deregistered", SURVIVOR)
    assert (guest.state.link.state.value, guest.state.contributions) == ("none", rows)


@pytest.mark.parametrize(
    "command",
    [
        lambda guest: guest.request_link(LINK, now=noon(SEPT_12)),
        lambda guest: guest.unlink("vergissing", now=noon(SEPT_12)),
        lambda guest: guest.deregister("vergissing", today=SEPT_12, now=noon(SEPT_12)),
        lambda guest: guest.may_reregister("04"),
        lambda guest: guest.register_afresh(admission(), today=SEPT_12, now=noon(SEPT_12)),
    ],
    ids=["link", "unlink", "deregister", "reregister", "register"],
)
def test_r18_nothing_else_happens_to_a_merged_record_and_it_names_the_survivor(
    command: Callable[[Guest], object],
) -> None:
    error = given(registered(), happened(GuestsMerged, into=SURVIVOR)).when(command).refused(GuestMerged)
    assert isinstance(error, GuestMerged)
    assert error.into == SURVIVOR


def test_r18_a_guest_registered_afresh_keeps_its_merged_records() -> None:
    guest = given(
        registered(),
        happened(DuplicateMerged, guest_id=OTHER),
        happened(GuestDeregistered, on=SEPT_12, reason="vergissing"),
        registered(SEPT_12),
    ).aggregate
    assert guest.state.merged_from == (OTHER,)


def test_r18_a_merged_record_can_be_erased_by_itself() -> None:
    given(registered(), happened(GuestsMerged, into=SURVIVOR)).when(
        lambda guest: guest.erase_personal_data(today=SEPT_12, now=noon(SEPT_12))
    ).then(happened(PersonalDataErased, on=SEPT_12))


BORN = date(1980, 2, 3)
ONE = Particulars(frozenset({"a", "b"}), PatronDetails("J. Jansen", BORN, "Brink 1, 9301 AA Roden"))


def other(refs: set[str], **changes: Any) -> Particulars:
    return Particulars(frozenset(refs), replace(ONE.details, **changes))


@pytest.mark.parametrize(
    ("compared", "outcome"),
    [
        (other({"b", "c"}), Sameness.HOME_CARD),
        (other({"b"}, name="P. de Vries", address=None), Sameness.HOME_CARD),
        (other({"b"}, birth_date=None), Sameness.HOME_CARD),
        (other({"c"}), Sameness.NAME_BIRTH_DATE_ADDRESS),
        (other({"c"}, name="JANSEN, Jan", address="brink 1  9301aa RODEN"), Sameness.NAME_BIRTH_DATE_ADDRESS),
        (other({"b"}, birth_date=date(1980, 2, 4)), DifferentBirthDates),
        (other({"c"}, birth_date=date(1980, 2, 4)), DifferentBirthDates),
        (other({"c"}, birth_date=None), NothingEqual),
        (other({"c"}, name="J. Jansma"), NothingEqual),
        (other({"c"}, address="Brink 2, 9301 AA Roden"), NothingEqual),
        (other({"c"}, address=None), NothingEqual),
    ],
    ids=lambda value: (
        "" if isinstance(value, Particulars) else value.__name__ if isinstance(value, type) else value
    ),
)
def test_r18_what_makes_one_person_of_two(
    compared: Particulars, outcome: Sameness | type[MergeBlocked]
) -> None:
    for one, another in ((ONE, compared), (compared, ONE)):
        if isinstance(outcome, Sameness):
            assert same_person(one, another) is outcome
        else:
            with pytest.raises(outcome):
                same_person(one, another)


DETAILS = st.builds(
    PatronDetails,
    st.sampled_from(["J. Jansen", "", ",", "Berg, J. van den"]) | st.text(max_size=12),
    st.none() | st.dates(),
    st.none() | st.text(max_size=12),
)


@any_input(DETAILS, DETAILS)
def test_r18_different_birth_dates_are_never_merged_and_order_is_no_matter(
    one: PatronDetails, another: PatronDetails
) -> None:
    def outcome(first: PatronDetails, second: PatronDetails) -> object:
        try:
            return same_person(Particulars(frozenset("a"), first), Particulars(frozenset("b"), second))
        except MergeBlocked as blocked:
            return type(blocked)

    found = outcome(one, another)
    assert found == outcome(another, one)
    if one.birth_date != another.birth_date or one.birth_date is None:
        assert not isinstance(found, Sameness)
