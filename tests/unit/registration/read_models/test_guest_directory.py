"""The words by which a guest is found."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registration.domain.text_matching import words_of
from registration.read_models.guest_directory import MOST_WORDS, asked_for


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("J. Jansen", ["j", "jansen"]),
        ("Élise van den Brûlé-Jansen", ["elise", "van", "den", "brule", "jansen"]),
        ("Müller  MÜLLER", ["muller"]),
        ("'s-Gravesande", ["s", "gravesande"]),
        ("", []),
    ],
)
def test_names_lose_accents_capitals_and_signs(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize("query", ["03-02-1980", "3-2-1980", "03/02/1980", "1980-02-03", "3.2.1980"])
def test_a_day_is_one_word_however_it_is_written(query: str) -> None:
    assert asked_for(f"jansen {query}") == ["jansen", "1980-02-03"]


def test_a_day_that_never_was_is_taken_for_numbers() -> None:
    assert asked_for("31-02-1980") == ["31", "02", "1980"]


@given(st.dates(min_value=date(1900, 1, 1)))
def test_any_day_is_found_in_both_forms(day: date) -> None:
    assert asked_for(f"{day:%d-%m-%Y}") == asked_for(day.isoformat()) == [day.isoformat()]


@given(st.text(max_size=60))
def test_what_is_typed_in_full_asks_for_words_that_a_guest_of_that_name_has(name: str) -> None:
    asked = asked_for(name) or []
    assert len(asked) <= MOST_WORDS
    days = [word for word in asked if "-" in word]
    assert set(asked) - set(days) <= {
        *words_of(name),
        *(word for part in name.split() for word in words_of(part)),
    }
    assert all(word == word.lower() and word for word in asked)


def test_an_empty_query_asks_for_everybody_and_signs_for_nobody() -> None:
    assert asked_for("  ") is None
    for signs in ("-", "'", "★", "_%", "\u200b", ". ,"):
        assert asked_for(signs) == []
