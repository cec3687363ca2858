"""R2, R10: what a scanned card leads to, and what a clerk is shown before somebody is registered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registration.application.deregister_guest import deregister_guest
from registration.application.find_home_library import search_home_libraries
from registration.application.register_guest import prepare_registration
from registration.application.scan_card import Reading, scan_card
from registration.domain.errors import AlreadyRegistered, Candidate, ChainedGuest, GuestRefused, OwnLibrary
from registration.domain.verdict import Reason, Refused, Verdict
from shared.kernel.errors import RuleBroken
from tests.support.registration import CARD, GRONINGEN, Desk, make_desk, member

FRYSLAN = Candidate("NL-083424", "Fryslân", "F")
HOME = Candidate(GRONINGEN, "Groningen", "GR")
PREFIX = CARD[1:5]


@pytest.fixture
def desk() -> Desk:
    return make_desk()


async def test_r2_a_prefix_of_several_libraries_is_shared_and_each_reading_stands_apart(desk: Desk) -> None:
    desk.prefixes.by_prefix = {PREFIX: [HOME, FRYSLAN], CARD[:4]: [FRYSLAN]}
    scanned = await scan_card(f" {CARD}", "1001", desk.deps)
    shared, single = Reading(PREFIX, (HOME, FRYSLAN)), Reading(CARD[:4], (FRYSLAN,))
    assert (scanned.card_number, scanned.readings) == (CARD, [shared, single])
    assert (shared.is_shared, single.is_shared) == (True, False)
    assert scanned.isils == (GRONINGEN, "NL-083424")


async def test_r2_r3_locations_and_merged_libraries_are_one_library(desk: Desk) -> None:
    desk.prefixes.by_prefix = {
        PREFIX: [HOME, replace(HOME, isil="NL-070299")],
        CARD[:4]: [replace(HOME, isil=f"{GRONINGEN}0001")],
    }
    scanned = await scan_card(CARD, "1001", desk.deps)
    assert [reading.is_shared for reading in scanned.readings] == [False, False]
    assert len(scanned.isils) == 1


async def test_r10_a_known_card_finds_its_guest_at_its_own_organisation_only(desk: Desk) -> None:
    desk.prefixes.by_prefix = {PREFIX: [HOME, FRYSLAN]}
    guest_id = await desk.register()
    assert (await scan_card(CARD, "1001", desk.deps)).guests == (guest_id,)
    assert (await scan_card(CARD, "2002", desk.deps)).guests == ()
    with pytest.raises(AlreadyRegistered):
        await prepare_registration(CARD, GRONINGEN, "1001", desk.deps)


async def test_r21_the_card_of_a_deregistered_guest_begins_a_registration(desk: Desk) -> None:
    desk.prefixes.by_prefix = {PREFIX: [HOME]}
    await deregister_guest(await desk.register(), "mistake", desk.context(), desk.deps)
    assert (await scan_card(CARD, "1001", desk.deps)).guests == ()
    assert await prepare_registration(CARD, GRONINGEN, "1001", desk.deps) == member()


@pytest.mark.parametrize(
    ("verdict", "error"),
    [
        (Refused((Reason.FINES,), because_ended=False), GuestRefused),
        (replace(member(), is_guest_subscription=True), ChainedGuest),
    ],
)
async def test_r4_r11_what_registering_would_refuse_is_told_before(
    desk: Desk, verdict: Verdict, error: type[RuleBroken]
) -> None:
    desk.says(verdict)
    with pytest.raises(error):
        await prepare_registration(CARD, GRONINGEN, "1001", desk.deps)
    assert await desk.topics() == []


async def test_r11_an_own_card_is_told_of_before_home_is_asked(desk: Desk) -> None:
    own = next(iter(desk.deps.organisations["1001"].isils))
    with pytest.raises(OwnLibrary):
        await prepare_registration(CARD, own, "1001", desk.deps)
    assert desk.home.asked == []


@pytest.mark.parametrize(
    ("text", "found"),
    [("FRYSLAN", [FRYSLAN]), ("nl-0834", [FRYSLAN]), ("r", [FRYSLAN, HOME]), ("zz", []), ("  ", [])],
)
async def test_r2_a_library_is_found_by_name_or_isil(desk: Desk, text: str, found: list[Candidate]) -> None:
    desk.prefixes.by_prefix = {"1": [FRYSLAN], "2": [HOME]}
    assert list(await search_home_libraries(text, desk.deps)) == found
