"""Surnames and addresses are compared without regard to how a library writes them (R18)."""

from __future__ import annotations

import pytest

from registration.domain.text_matching import address_of, surname_of, words_of


@pytest.mark.parametrize(
    ("name", "surname"),
    [
        ("J. Jansen", "jansen"),
        ("Jansen, J.", "jansen"),
        ("JANSEN J.", "jansen"),
        ("Jan Jansen", "jansen"),
        ("J.A. van den Berg", "berg"),
        ("Berg, J.A. van den", "berg"),
        ("van den Berg, Jan", "berg"),
        ("Elise van 't Veld-de Vries", "veld de vries"),
        ("Veld-de Vries, E. van 't", "veld de vries"),
        ("Zoë Brûlé", "brule"),
        ("Jansen", "jansen"),
        ("Bakker Schut, Jan", "bakker schut"),
        ("De", "de"),
        ("", ""),
        ("J.", ""),
        (" , Jan", ""),
    ],
)
def test_r18_a_surname_is_found_in_a_name_of_either_form(name: str, surname: str) -> None:
    assert " ".join(surname_of(name)) == surname


@pytest.mark.parametrize(
    "written",
    [
        "Brink 1, 9301 AA Roden",
        "BRINK 1 9301AA RODEN",
        "Brink 1\n9301  aa  Roden",
    ],
)
def test_r18_an_address_is_the_same_in_any_layout(written: str) -> None:
    assert address_of(written) == ("brink", "1", "9301aa", "roden")


def test_r18_another_house_is_another_address() -> None:
    assert address_of("Brink 1 12, Roden") != address_of("Brink 11 2, Roden")


@pytest.mark.parametrize("name", ["Jan\u00adsen", "Jan\u200bsen", "\u202eJansen\u202c", "J\u034fansen"])
def test_r18_what_cannot_be_seen_makes_no_other_name(name: str) -> None:
    assert words_of(name) == ["jansen"]
    assert surname_of(f"Jan {name}") == ("jansen",)
