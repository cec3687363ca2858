"""Before there is a guest: R2's library of the card, R4's answer from home, R17's login account."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from registration.application.dependencies import FoundAccount
from registration.application.find_home_library import HomeLibraryMatch, look_up_home_library
from registration.application.find_login_account import find_login_account
from registration.application.membership import ask_home_patron
from registration.domain.errors import (
    Candidate,
    HomeLibraryUnavailable,
    HomePatronNotFound,
    UnknownHomeLibrary,
)
from registration.domain.verdict import Reason, Refused, Unavailable, Valid
from shared.kernel.errors import RuleBroken
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from tests.support.registration import CARD, GRONINGEN, JAN, Desk, make_desk, member

FRYSLAN = Candidate("NL-083424", "Fryslân", "F")
ZEELAND = Candidate("NL-083390", "Zeeland", "MZ1")


@pytest.fixture
def desk() -> Desk:
    return make_desk()


async def test_r2_both_readings_are_looked_up(desk: Desk) -> None:
    desk.prefixes.by_prefix = {"8447": [FRYSLAN]}
    for card in ("1844700015", "8447000150"):
        match = await look_up_home_library(card, desk.deps)
        assert match == HomeLibraryMatch("one", (FRYSLAN,))


async def test_r2_different_readings_or_a_shared_prefix_are_ambiguous(desk: Desk) -> None:
    desk.prefixes.by_prefix = {"4508": [FRYSLAN], "6450": [ZEELAND], "9990": [FRYSLAN, ZEELAND]}
    for card in ("6450800012", "0999000000"):
        match = await look_up_home_library(card, desk.deps)
        assert match.match == "ambiguous"
        assert set(match.candidates) == {FRYSLAN, ZEELAND}


async def test_r2_the_same_library_by_both_readings_is_one(desk: Desk) -> None:
    desk.prefixes.by_prefix = {"4508": [FRYSLAN], "6450": [FRYSLAN]}
    assert (await look_up_home_library("6450800012", desk.deps)).match == "one"


async def test_r2_a_library_that_merged_and_the_one_it_is_part_of_are_one(desk: Desk) -> None:
    merged, surviving = Candidate("NL-070299", "Oud", "X"), Candidate(GRONINGEN, "Groningen", "GR")
    for both in ([merged, surviving], [surviving, merged]):
        desk.prefixes.by_prefix = {"4508": both}
        match = await look_up_home_library("6450800012", desk.deps)
        assert match == HomeLibraryMatch("one", (surviving,))
    desk.prefixes.by_prefix = {"4508": [merged]}
    match = await look_up_home_library("6450800012", desk.deps)
    assert match == HomeLibraryMatch("one", (Candidate(GRONINGEN, "Oud", "X"),))


async def test_r2_two_locations_of_one_library_are_one(desk: Desk) -> None:
    desk.prefixes.by_prefix = {"4508": [replace(FRYSLAN, isil="NL-0834240001")], "6450": [FRYSLAN]}
    assert (await look_up_home_library("6450800012", desk.deps)).match == "one"


async def test_r2_no_library_is_none(desk: Desk) -> None:
    assert await look_up_home_library(CARD, desk.deps) == HomeLibraryMatch("none", ())
    with pytest.raises(MalformedCardNumber):
        await look_up_home_library("09|0", desk.deps)


async def test_r4_valid_and_refused_are_answers(desk: Desk) -> None:
    assert await ask_home_patron(GRONINGEN, CARD, desk.deps) == member()
    refused = Refused((Reason.FINES,), because_ended=False, details=JAN)
    desk.says(refused)
    assert await ask_home_patron(GRONINGEN, CARD, desk.deps) == refused


async def test_r4_valid_until_yesterday_is_refused_as_expired(desk: Desk) -> None:
    desk.says(member(ends_on=date(2025, 9, 10)))
    answer = await ask_home_patron(GRONINGEN, CARD, desk.deps)
    assert isinstance(answer, Refused)
    assert (answer.reasons, answer.ends_on, answer.details) == ((Reason.EXPIRED,), date(2025, 9, 10), JAN)
    desk.says(member(ends_on=date(2025, 9, 11)))
    assert isinstance(await ask_home_patron(GRONINGEN, CARD, desk.deps), Valid)


async def test_r4_a_guest_subscription_at_home_is_shown_as_it_is(desk: Desk) -> None:
    chained = replace(member(), is_guest_subscription=True)
    desk.says(chained)
    assert await ask_home_patron(GRONINGEN, CARD, desk.deps) == chained


@pytest.mark.parametrize(
    ("isil", "card", "error"),
    [
        (GRONINGEN, "0990139999", HomePatronNotFound),
        (GRONINGEN, "0990139370", HomeLibraryUnavailable),
        (GRONINGEN, "0990|", MalformedCardNumber),
        ("L-070288", CARD, MalformedIsil),
        ("NL-000000", CARD, UnknownHomeLibrary),
    ],
)
async def test_r4_no_answer_is_an_error_of_its_own(
    desk: Desk, isil: str, card: str, error: type[RuleBroken]
) -> None:
    desk.says(Unavailable("closed"), card="0990139370")
    with pytest.raises(error):
        await ask_home_patron(isil, card, desk.deps)


async def test_r3_a_merged_library_is_asked_under_its_new_isil(desk: Desk) -> None:
    assert await ask_home_patron("NL-070299", CARD, desk.deps) == member()
    assert desk.home.asked == [(GRONINGEN, CARD)]


async def test_r17_a_login_account_is_found_by_username_at_the_home_library(desk: Desk) -> None:
    found = FoundAccount("acc-jan", "jan.jansen", "jan@example.org")
    desk.accounts.by_name["jan.jansen", GRONINGEN] = found
    assert await find_login_account("jan.jansen", "nl-070288", desk.deps) == found
    assert await find_login_account("jan.jansen", "NL-083424", desk.deps) is None
    with pytest.raises(MalformedIsil):
        await find_login_account("jan.jansen", "L-070288", desk.deps)
