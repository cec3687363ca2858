"""Every line about Koha of docs/home-libraries.md is what the product does (R23)."""

import json
import tomllib

import pytest

from tests.unit.registration.adapters.home_library.koha.reading import library, patrons, read_as
from tests.unit.registration.adapters.home_library.page import lines_of

REPLIES = list(lines_of("Koha says"))


def reply_of(says: str) -> bytes:
    if says == "[]":
        return b"[]"
    changes = [json.loads(change) for change in says.split(" + ")]
    return patrons(
        *({key: ... if value == "-" else value for key, value in change.items()} for change in changes)
    )


def test_the_page_has_lines() -> None:
    assert len(REPLIES) == 29


@pytest.mark.parametrize(("says", "settings", "expected"), REPLIES, ids=lambda text: text[:60])
def test_r23_a_reply_of_koha_is_read_as_the_page_says(says: str, settings: str, expected: str) -> None:
    assert read_as(reply_of(says), library(**tomllib.loads(settings))) == expected
