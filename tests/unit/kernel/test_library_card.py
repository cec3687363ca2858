"""R1 card numbers, R2 the digits that show the library, R3 ISIL codes, person references."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.library_card import (
    Isil,
    MalformedCardNumber,
    MalformedIsil,
    ScanFault,
    canonical_card_number,
    person_ref,
    prefix_readings,
    scan_fault,
    usual_isil,
)


@pytest.mark.parametrize(
    ("scanned", "card_number"),
    [
        ("0990139305", "0990139305"),
        ("  0990139305 ", "0990139305"),
        ("0", "0"),
        ("abcXYZ019", "abcXYZ019"),
        ("12345678901234567890", "12345678901234567890"),
    ],
)
def test_r1_spaces_are_trimmed_and_leading_zeros_kept(scanned: str, card_number: str) -> None:
    assert canonical_card_number(scanned) == card_number


@pytest.mark.parametrize(
    "scanned",
    [
        "",
        "  ",
        "123456789012345678901",
        "09|90",
        "0990139305\r",
        "0990139305\n",
        "\t0990139305",
        "09 90",
        "0990-1",
        "٠٩٩٠١٣٩٣٠٥",
        "0990é",
        "0990\x00",
        "\xa00990",
        "099０",
    ],
)
def test_r1_anything_else_is_malformed(scanned: str) -> None:
    with pytest.raises(MalformedCardNumber):
        canonical_card_number(scanned)


@given(st.text())
def test_r1_what_is_taken_can_go_on_the_wire(text: str) -> None:
    try:
        card_number = canonical_card_number(text)
    except MalformedCardNumber:
        return
    assert card_number.isascii()
    assert card_number.isalnum()
    assert canonical_card_number(card_number) == card_number
    assert len(card_number) <= 20


@pytest.mark.parametrize(
    ("card_number", "readings"),
    [
        ("1844700015", ("8447", "1844")),
        ("6450800012", ("4508", "6450")),
        ("0990139305", ("9901", "0990")),
        ("1111122222", ("1111",)),
        ("8447", ("8447",)),
        ("844", ()),
        ("B844712345", ("8447",)),
        ("8447X12345", ("8447",)),
        ("ABCDEF", ()),
    ],
)
def test_r2_digits_two_to_five_or_one_to_four(card_number: str, readings: tuple[str, ...]) -> None:
    assert prefix_readings(card_number) == readings


@pytest.mark.parametrize(
    ("typed", "code", "base"),
    [
        ("NL-070288", "NL-070288", "NL-070288"),
        (" nl-070288 ", "NL-070288", "NL-070288"),
        ("NL-0702880001", "NL-0702880001", "NL-070288"),
    ],
)
def test_r3_an_isil_is_upper_case_with_a_base(typed: str, code: str, base: str) -> None:
    isil = Isil.parse(typed)
    assert (str(isil), isil.base) == (code, base)
    assert isil.same_library(Isil.parse(base))


@pytest.mark.parametrize(
    "typed",
    [
        "L-070288",
        "",
        "NL-07028",
        "NL-0702881",
        "NL-070288001",
        "NL070288",
        "NL-07028A",
        "NL-070288\n",
        "DE-070288",
        "NL-٠٧٠٢٨٨",
        "NL-070288\r",
        "NL-07028800011",
    ],
)
def test_r3_anything_else_is_malformed(typed: str) -> None:
    with pytest.raises(MalformedIsil):
        Isil.parse(typed)


def test_r3_a_merged_library_is_reached_through_its_aliases() -> None:
    aliases = {"NL-000001": "NL-000002", "NL-000002": "NL-000003"}
    assert Isil.parse("NL-000001").surviving(aliases) == Isil.parse("NL-000003")
    assert Isil.parse("NL-0000011234").surviving(aliases) == Isil.parse("NL-000003")
    assert Isil.parse("NL-0000031234").surviving(aliases) == Isil.parse("NL-0000031234")


def test_r3_aliases_that_lead_back_name_no_survivor() -> None:
    aliases = {"NL-000001": "NL-000002", "NL-000002": "NL-000001"}
    assert Isil.parse("NL-000001").surviving(aliases) == Isil.parse("NL-000001")


def test_a_person_ref_is_the_same_for_the_same_card_only() -> None:
    key = b"k" * 32
    ref = person_ref(key, "NL-070288", "0990139305")

    assert ref == person_ref(key, "NL-070288", "0990139305")
    assert len(ref) == 64
    assert int(ref, 16)
    others = [
        person_ref(key, "NL-070288", "990139305"),
        person_ref(key, "NL-070297", "0990139305"),
        person_ref(key, "NL-0702880", "990139305"),
        person_ref(b"l" * 32, "NL-070288", "0990139305"),
    ]
    assert ref not in others
    assert len(set(others)) == 4


@pytest.mark.parametrize(
    ("scanned", "fault"),
    [
        ("A1844700015B", ScanFault.START_STOP),
        (" d1844700015c ", ScanFault.START_STOP),
        ("t1844700015e", ScanFault.START_STOP),
        ("*1844700015*", ScanFault.START_STOP),
        ("18447000151844700015", ScanFault.TWICE),
        ("1844700015 1844700015", ScanFault.TWICE),
        ("2123456789012321234567890123", ScanFault.TWICE),
        ("A1844700015BA1844700015B", ScanFault.TWICE),
        ("1844700015", None),
        ("A1844700015", None),
        ("AB12", None),
        ("12121212", None),
        ("", None),
    ],
)
def test_r1_a_scan_shows_what_the_scanner_did(scanned: str, fault: ScanFault | None) -> None:
    assert scan_fault(scanned) is fault


@pytest.mark.parametrize(
    "typed", ["nl-070288", "070288", " NL070288 ", "NL 070288", "nl‑070288", "NL–070288", "Nl - 070288"]
)
def test_r3_an_isil_is_read_in_the_forms_that_people_type(typed: str) -> None:
    assert usual_isil(typed) == "NL-070288"
    assert usual_isil(typed.replace("288", "2880000")) == "NL-0702880000"


@pytest.mark.parametrize("typed", ["L-070288", "07028", "0702881", "NL-", "", "DE-070288", "Groningen"])
def test_r3_what_is_no_isil_stays_as_it_was_typed(typed: str) -> None:
    assert usual_isil(f" {typed} ") == typed
