"""The home library of a card, from its prefix; and libraries by name (R2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registration.application.find_home_library import (
    HomeLibraryMatch,
    look_up_home_library,
    search_home_libraries,
)
from registration.domain.errors import Candidate
from shared.kernel.library_card import MalformedCardNumber
from tests.support.registration import CARD, GRONINGEN, RegistrationUseCases

FRYSLAN = Candidate("NL-083424", "Fryslân", "F")
ZEELAND = Candidate("NL-083390", "Zeeland", "MZ1")
HOME = Candidate(GRONINGEN, "Groningen", "GR")


async def test_r2_both_readings_are_looked_up(in_memory_registration: RegistrationUseCases) -> None:
    in_memory_registration.prefixes.by_prefix = {"8447": [FRYSLAN]}
    for card in ("1844700015", "8447000150"):
        match = await look_up_home_library(card, in_memory_registration.deps)
        assert match == HomeLibraryMatch("one", (FRYSLAN,))


async def test_r2_different_readings_or_a_shared_prefix_are_ambiguous(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.prefixes.by_prefix = {
        "4508": [FRYSLAN],
        "6450": [ZEELAND],
        "9990": [FRYSLAN, ZEELAND],
    }
    for card in ("6450800012", "0999000000"):
        match = await look_up_home_library(card, in_memory_registration.deps)
        assert match.match == "ambiguous"
        assert set(match.candidates) == {FRYSLAN, ZEELAND}


async def test_r2_the_same_library_by_both_readings_is_one(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.prefixes.by_prefix = {"4508": [FRYSLAN], "6450": [FRYSLAN]}
    assert (await look_up_home_library("6450800012", in_memory_registration.deps)).match == "one"


async def test_r2_a_library_that_merged_and_the_one_it_is_part_of_are_one(
    in_memory_registration: RegistrationUseCases,
) -> None:
    merged, surviving = Candidate("NL-070299", "Oud", "X"), Candidate(GRONINGEN, "Groningen", "GR")
    for both in ([merged, surviving], [surviving, merged]):
        in_memory_registration.prefixes.by_prefix = {"4508": both}
        match = await look_up_home_library("6450800012", in_memory_registration.deps)
        assert match == HomeLibraryMatch("one", (surviving,))
    in_memory_registration.prefixes.by_prefix = {"4508": [merged]}
    match = await look_up_home_library("6450800012", in_memory_registration.deps)
    assert match == HomeLibraryMatch("one", (Candidate(GRONINGEN, "Oud", "X"),))


async def test_r2_two_locations_of_one_library_are_one(in_memory_registration: RegistrationUseCases) -> None:
    in_memory_registration.prefixes.by_prefix = {
        "4508": [replace(FRYSLAN, isil="NL-0834240001")],
        "6450": [FRYSLAN],
    }
    assert (await look_up_home_library("6450800012", in_memory_registration.deps)).match == "one"


async def test_r2_no_library_is_none(in_memory_registration: RegistrationUseCases) -> None:
    assert await look_up_home_library(CARD, in_memory_registration.deps) == HomeLibraryMatch("none", ())
    with pytest.raises(MalformedCardNumber):
        await look_up_home_library("09|0", in_memory_registration.deps)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FRYSLAN", [FRYSLAN]),
        ("nl-0834", [FRYSLAN]),
        ("r", [FRYSLAN, HOME]),
        ("zz", []),
        ("  ", []),
        ("-", []),
        ("★", []),
    ],
)
async def test_r2_a_library_is_found_by_name_or_isil(
    in_memory_registration: RegistrationUseCases, text: str, found: list[Candidate]
) -> None:
    in_memory_registration.prefixes.by_prefix = {"1": [FRYSLAN], "2": [HOME]}
    assert list(await search_home_libraries(text, in_memory_registration.deps)) == found
