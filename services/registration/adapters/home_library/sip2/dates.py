"""Dates in SIP2 messages: the moments that we send, and the days that a library sends."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache

from shared.kernel.amsterdam import AMSTERDAM, day_of

ReadDate = Callable[[str], date | None]
"""From the text of a field to the day in Europe/Amsterdam; None when the text cannot be read."""

STANDARD = "YYYYMMDD"
"""The form of the standard: the date alone, or followed by zone and time."""

_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:(....)([0-9]{2})([0-9]{2})([0-9]{2}))?")
_PARTS = {"YYYY": r"(?P<year>[0-9]{4})", "MM": r"(?P<month>[0-9]{2})", "DD": r"(?P<day>[0-9]{2})"}
_PART = re.compile("|".join(_PARTS))
_FORMAT = re.compile(r"(?!.*(YYYY|MM|DD).*\1)(?:(?:YYYY|MM|DD)[-/. ]?){2}(?:YYYY|MM|DD)")
_UTC = "   Z"
_LOCAL_ZONES = {"    ", "0000"}


def timestamp(seconds: int) -> str:
    """Return a moment (Unix time) in 18 characters: local time, with four spaces for the zone."""
    return _timestamp(seconds)


# A nightly check may send thousands of questions in one second.
@lru_cache(maxsize=2)
def _timestamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, AMSTERDAM).strftime("%Y%m%d    %H%M%S")


def is_date_format(text: str) -> bool:
    """Return whether this is a form of dates that can be read: YYYY, MM and DD, once each."""
    return _FORMAT.fullmatch(text) is not None


@lru_cache(maxsize=64)
def date_reader(date_format: str) -> ReadDate:
    """Return the function that reads dates of a form, which `is_date_format` must accept."""
    if date_format == STANDARD:
        return parse_date
    pattern = re.compile(_PART.sub(lambda part: _PARTS[part[0]], re.escape(date_format)))

    def read(text: str) -> date | None:
        found = pattern.fullmatch(text.strip(" "))
        return None if found is None else _day(found["year"], found["month"], found["day"])

    return read


def parse_date(text: str) -> date | None:
    """Return the day in Europe/Amsterdam of `YYYYMMDD`, alone or with zone and time; None if unreadable."""
    found = _DATE.fullmatch(text.rstrip(" "))
    if found is None:
        return None
    year, month, day, zone, *clock = found.groups()
    if zone is None:
        return _day(year, month, day)
    try:
        moment = datetime.strptime("".join((year, month, day, *clock)), "%Y%m%d%H%M%S")  # noqa: DTZ007
    except ValueError:
        return None
    if zone in _LOCAL_ZONES:
        return moment.date()
    if zone == _UTC:
        return _in_amsterdam(moment)
    return None


def _in_amsterdam(utc: datetime) -> date | None:
    try:
        return day_of(utc.replace(tzinfo=UTC))
    except OverflowError:  # some systems send the last evening of the year 9999 for "no end"
        return None


def _day(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None
