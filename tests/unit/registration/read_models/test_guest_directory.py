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


@pytest.mark.parametrize(
    "query",
    [
        *("03-02-1980", "3-2-1980", "03/02/1980", "1980-02-03", "1980/2/3", "3.2.1980", "03 02 1980"),
        *("3 februari 1980", "3 feb 1980", "03 feb. 1980", "3-feb-1980", "3FEBRUARI1980"),
        *("3 February 1980", "February 3, 1980"),
    ],
)
def test_a_day_is_one_word_however_it_is_written(query: str) -> None:
    assert asked_for(f"jansen {query}") == ["jansen", "1980-02-03"]
    assert asked_for(f"{query} jansen") == ["1980-02-03", "jansen"]


@pytest.mark.parametrize(("name", "month"), [("mrt", 3), ("maart", 3), ("mei", 5), ("okt.", 10), ("May", 5)])
def test_a_month_has_its_dutch_and_english_names(name: str, month: int) -> None:
    assert asked_for(f"17 {name} 1968") == [f"1968-{month:02}-17"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("17041968", ["17041968"]),  # or the beginning of a card: both are words of a guest
        ("17 april", ["17", "april"]),
        ("april jansen 1968", ["april", "jansen", "1968"]),
        ("0990 13 9305", ["0990", "13", "9305"]),
        ("p.devries", ["p", "devries"]),
    ],
)
def test_what_is_no_whole_day_stays_as_it_is(query: str, words: list[str]) -> None:
    assert asked_for(query) == words


def test_a_day_that_never_was_is_taken_for_numbers() -> None:
    assert asked_for("31-02-1980") == ["31", "02", "1980"]


@pytest.mark.parametrize("month", ["aprıl", "auguſtus", "APRİL", "jULİ", "ſept"])
def test_a_month_in_letters_that_are_like_its_own_is_a_word(month: str) -> None:
    assert "1990" in (asked_for(f"5 {month} 1990") or [])


@given(st.text(max_size=40))
def test_any_text_can_be_asked_for(text: str) -> None:
    asked_for(f"5 {text} 1990")
    asked_for(text)


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
