"""Names and free text are stored as they look, compared as they look, and harmless on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.text import (
    comparable,
    is_identifier,
    require_identifier,
    require_text,
    summary,
    tidy,
    visible,
    without_unseen,
)

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
INVISIBLE = "\u00ad\u034f\u115f\u1160\u17b4\u180e\u200b\u2060\u2064\u206a\u3164\ufeff\uffa0\ufff9\U000e0041"
REAL_NAMES = (
    "Jan Jansen",
    "Zoë Brûlé-O’Neill",
    "Yılmaz Güneş",
    "Μαρία Παπαδοπούλου",
    "Наталья Ёлкина",
    "محمد عبد الله",
    "علی\u200cرضا",  # Persian: the joiner keeps two letters apart
    "می\u064e\u200cرود",  # with a vowel mark before it
    "क्\u200dष",  # Hindi: a virama before the joiner
    "ශ්\u200dරී",  # Sinhala
    "র\u200d্যাব",  # Bengali: a virama after it
    "נועה כהן",
    "王小明",
    "葛\U000e0100城",  # Japanese: a form of the ideograph in a person's name
    "김민수",
    "ณัฐวุฒิ",
    "𠮷野",
)


@pytest.mark.parametrize("name", REAL_NAMES)
def test_a_real_name_stays_as_it_is(name: str) -> None:
    assert tidy(name) == unicodedata.normalize("NFC", name)
    assert require_text(name) == tidy(name)


@pytest.mark.parametrize("character", [*BIDI, *INVISIBLE, "\ufe0f", "\u200c", "\u200d"], ids=ascii)
def test_what_cannot_be_seen_is_removed(character: str) -> None:
    assert tidy(f"Jan{character}sen") == "Jansen"
    assert tidy(character) == ""
    assert without_unseen(f"{character}Jan{character}") == "Jan"
    with pytest.raises(ValueError, match="can be seen"):
        require_text(f" {character} ")


@pytest.mark.parametrize(
    "character", ["\0", "\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029"]
)
def test_a_control_character_or_line_end_becomes_a_space(character: str) -> None:
    assert tidy(f"a{character}b") == "a b"


def test_two_ways_to_write_a_letter_are_one() -> None:
    assert tidy("Zoe\u0308") == "Zoë"
    assert tidy("e\u034f\u0301") == "é"  # a filler between letter and accent
    assert tidy("\ud800") == "\ufffd"


@pytest.mark.parametrize("doubled", ["علی\u200c\u200cرضا", "علی\u202e\u200cرضا", "علی\u200c\u00adرضا"])
def test_a_joiner_that_is_doubled_or_mixed_is_one(doubled: str) -> None:
    assert tidy(doubled) == "علی\u200cرضا"


any_text = st.text(
    st.characters()
    | st.sampled_from([*BIDI, *INVISIBLE, "\u200c", "\u200d", "ی", "ر", "क", "\u094d", "\ufe0f"])
)


@given(text=any_text)
def test_tidied_text_is_safe_and_stays_as_it_is(text: str) -> None:
    tidied = tidy(text)
    assert tidy(tidied) == tidied
    assert not any(unicodedata.category(c) in {"Cc", "Zl", "Zp", "Cs"} for c in tidied)
    assert not set(tidied) & set(BIDI + INVISIBLE)
    tidied.encode()
    assert comparable(tidied) == comparable(text) or any(
        unicodedata.category(c) in {"Cc", "Zl", "Zp", "Cs"} for c in text
    )


@given(text=any_text)
def test_shown_text_holds_nothing_that_drives_a_terminal(text: str) -> None:
    assert visible(text).isprintable()
    assert summary(text).isprintable()
    assert len(summary(text * 100)) <= 500


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jan.jansen", "JAN.Jansen"),
        ("jan.jansen", "jan\u200b.jan\u00adsen"),
        ("jan", "\u202ejan\u202c"),
        ("jan", "jan\ufe0f"),
        ("jan", "ja\u200dn"),
        ("jan", "ｊａｎ"),
        ("jij", "jĳ"),
        ("zoë", "zoe\u0308"),
        ("strasse", "straße"),
        ("علی\u200cرضا", "علیرضا"),
    ],
)
def test_what_looks_alike_is_compared_as_the_same(one: str, other: str) -> None:
    assert comparable(one) == comparable(other)


@pytest.mark.parametrize("one", ["jan", "j.jansen", "zoë", "user_1@example.org", "Наталья", "علی", "王小明"])
def test_a_plain_name_is_compared_as_before(one: str) -> None:
    """In the index of usernames there are rows by this form."""
    assert comparable(one) == unicodedata.normalize("NFC", one).casefold()


@given(text=any_text)
def test_comparing_is_stable(text: str) -> None:
    assert comparable(comparable(text)) == comparable(text)


@pytest.mark.parametrize("identifier", ["a", "acc-jan", "é", "x" * 255, "a b"])
def test_an_identifier_is_kept(identifier: str) -> None:
    assert require_identifier(identifier) == identifier


@pytest.mark.parametrize("text", ["", "x" * 256, "a\0", "a\u200bb", "\u202ea", "a\n", "\ue000"])
def test_what_is_no_identifier_is_refused(text: str) -> None:
    assert not is_identifier(text)
    with pytest.raises(ValueError, match="can all be seen"):
        require_identifier(text)


def test_an_operator_sees_what_there_is() -> None:
    assert visible("a\x1b[2J\u202eb\0\n\U000e0041") == r"a\x1b[2J\u202eb\x00\n\U000e0041"
    assert summary("a\n  b\tc") == "a b c"
