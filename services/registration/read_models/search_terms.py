"""The words by which a guest is found: without accents and capitals, dates in one form."""

from __future__ import annotations

import re
from datetime import date

from registration.domain.plain_words import words_of

_DATES = (
    re.compile(r"(?P<day>\d{1,2})[-/.](?P<month>\d{1,2})[-/.](?P<year>\d{4})"),
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"),
)
MOST_WORDS = 6


def asked_for(query: str) -> list[str]:
    """The words that a guest must have (each as a beginning); a day, Dutch or ISO, is one word."""
    words: list[str] = []
    for part in query.split():
        day = _day(part)
        words += words_of(part) if day is None else [day.isoformat()]
    return list(dict.fromkeys(words))[:MOST_WORDS]


def _day(text: str) -> date | None:
    for form in _DATES:
        if found := form.fullmatch(text):
            try:
                return date(*(int(found[part]) for part in ("year", "month", "day")))
            except ValueError:
                return None
    return None
