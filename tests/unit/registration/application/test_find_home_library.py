"""The home library of a card, from its prefix; and libraries by name (R2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from registration.application.dependencies import Dependencies, ListedLibrary
from registration.application.find_home_library import (
    HomeLibraryMatch,
    library_names,
    look_up_home_library,
    search_home_libraries,
)
from registration.domain.errors import Candidate
from shared.kernel.library_card import MalformedCardNumber
from tests.support.registration import CARD, GRONINGEN, MERGED, RegistrationUseCases

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


def listed(isil: str, name: str, organisation: str, prefixes: str, place: str = "") -> ListedLibrary:
    return ListedLibrary(isil, name, organisation, place, date(2025, 6, 19), prefixes.split())


TABLE = (
    listed("NL-087041", "Fryslân", "F", "8112 8415 8469", "Schiermonnikoog"),
    listed("NL-083424", "Fryslân", "F", "8447 8469"),
    listed(MERGED, "Oud-Groningen", "GR", "7700"),
    listed("NL-070297", "Biblionet Drenthe", "D", "6450"),
)
"""NL-070288 (which MERGED is part of now) and NL-083424 can be asked; NL-070297 is the clerk's own."""


@pytest.mark.parametrize(
    ("text", "isils"),
    [
        ("FRYSLAN", ["NL-083424", "NL-087041"]),
        ("schier frys", ["NL-087041"]),
        ("monnik", ["NL-087041"]),
        ("8112", ["NL-087041"]),
        ("811", ["NL-087041"]),
        ("0811200012", ["NL-087041"]),
        ("0 8112 00012", ["NL-087041"]),
        ("8112000123", ["NL-087041"]),
        ("8469", ["NL-083424", "NL-087041"]),
        ("7700", [GRONINGEN]),
        ("oud", [GRONINGEN]),
        ("wiersma", [GRONINGEN]),
        *((form, [GRONINGEN]) for form in ("nl-070288", "NL-0702880000", "070288", "NL070288", "nl 070288")),
        ("NL–070288", [GRONINGEN]),
        ("NL-070299", [GRONINGEN]),
        ("nl-0834", ["NL-083424"]),
        ("0870", ["NL-087041"]),
        ("drenthe", ["NL-070297"]),
        ("nl", []),
        ("zz", []),
        ("  ", []),
        ("-", []),
        ("★", []),
    ],
)
async def test_r2_a_library_is_found_by_card_name_place_or_isil(
    in_memory_registration: RegistrationUseCases, text: str, isils: list[str]
) -> None:
    found = await search_home_libraries(text, "1001", with_table(in_memory_registration))
    assert [library.isil for library in found] == isils


def with_table(in_memory_registration: RegistrationUseCases) -> Dependencies:
    in_memory_registration.prefixes.listed = TABLE
    return replace(in_memory_registration.deps, home_library_names={GRONINGEN: "Bibliotheek Wiersma"})


async def test_r2_r11_what_can_be_asked_comes_first_and_shared_prefixes_are_marked(
    in_memory_registration: RegistrationUseCases,
) -> None:
    deps = with_table(in_memory_registration)
    found = [library for text in ("fryslan", "drenthe", "07029") for library in
             await search_home_libraries(text, "1001", deps)]  # fmt: skip
    assert [(library.isil, library.standing) for library in found] == [
        ("NL-083424", "can-be-asked"),
        ("NL-087041", "cannot-be-asked"),
        ("NL-070297", "own"),
        (GRONINGEN, "can-be-asked"),
        ("NL-070297", "own"),
    ]
    marked = {prefix.digits for library in found for prefix in library.prefixes if prefix.is_shared}
    assert marked == {"8469"}
    assert found[1].updated_on == date(2025, 6, 19)


async def test_r2_r3_every_isil_has_the_name_of_its_library(
    in_memory_registration: RegistrationUseCases,
) -> None:
    names = library_names(TABLE, with_table(in_memory_registration))
    assert names == {
        "NL-087041": "Fryslân, Schiermonnikoog",
        "NL-083424": "Fryslân",
        "NL-070297": "Biblionet Drenthe",
        GRONINGEN: "Bibliotheek Wiersma",
        MERGED: "Bibliotheek Wiersma",
    }
