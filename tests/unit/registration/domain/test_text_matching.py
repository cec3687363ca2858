"""Surnames and addresses are compared without regard to how a library writes them (R18)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    ("name", "words"),
    [
        ("Ольга Іваненко", "ольга іваненко"),
        ("Łukasz WAŁĘSA", "lukasz walesa"),
        ("Søren Ærø", "soren aero"),
        ("Đorđe Straße", "dorde strasse"),
        ("Şükrü IŞIK Yılmaz İnci", "sukru isik yilmaz inci"),
        ("Þórr Guðmundsson", "thorr gudmundsson"),
        ("Jérôme BŒUF", "jerome boeuf"),
        ("Nguyễn Văn Đức", "nguyen van duc"),
        ("Ὀδυσσεύς Παπαδόπουλος", "οδυσσευσ παπαδοπουλοσ"),
        ("O\u2019Neill d'Arc Мар\u02bcяна", "o neill d arc мар яна"),
        ("王小明", "王小明"),
        ("محـمد", "محمد"),
        ("-- '.,* ★", ""),
    ],
)
def test_r18_a_name_keeps_its_script_and_loses_its_diacritics(name: str, words: str) -> None:
    assert words_of(name) == words.split()
    for written in ("NFC", "NFD", "NFKC"):
        assert words_of(unicodedata.normalize(written, name).upper()) == words.split()


def test_r18_surnames_of_any_script_are_compared() -> None:
    assert surname_of("Іваненко, Ольга") == surname_of("Ольга ІВАНЕНКО") == ("іваненко",)
    assert surname_of("Wałęsa, L.") == surname_of("Lech Walesa")
    assert surname_of("★") == ()


LETTERS = st.characters(categories=["Lu", "Ll", "Lo", "Lt", "Mn", "Mc", "Zs"])


@given(st.text(LETTERS, max_size=30), st.integers(0, 30))
def test_the_beginning_of_a_name_is_the_beginning_of_its_words(name: str, length: int) -> None:
    """As it stands on the screen, in any script."""
    typed, words = words_of(name[:length]), words_of(name)
    assert all(any(word.startswith(begun) for word in words) for begun in typed)


@given(st.text(max_size=30))
def test_words_of_words_are_the_same(name: str) -> None:
    words = words_of(name)
    assert words_of(" ".join(words)) == words
    assert words_of(unicodedata.normalize("NFD", name)) == words


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
