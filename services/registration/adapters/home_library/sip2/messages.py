"""The SIP2 messages that are exchanged: their fields, dates and the patron status."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from functools import lru_cache
from typing import NamedTuple

from registration.adapters.home_library.errors import (
    BadChecksum,
    GarbledReply,
    LoginRefused,
    OffLine,
    OutOfStep,
    SaysTwoThings,
)
from registration.adapters.home_library.sip2.framing import Fields, Message, field, fields, open_frame
from registration.domain.verdict import Reason
from shared.kernel.amsterdam import AMSTERDAM, day_of

ReadDate = Callable[[str], date | None]
"""From the text of a field to the day in Europe/Amsterdam; None when the text cannot be read."""

STANDARD = "YYYYMMDD"
"""The form of the standard: the date alone, or followed by zone and time."""

_PARTS = {"YYYY": r"(?P<year>[0-9]{4})", "MM": r"(?P<month>[0-9]{2})", "DD": r"(?P<day>[0-9]{2})"}
_PART = re.compile("|".join(_PARTS))
_FORMAT = re.compile(r"(?!.*(YYYY|MM|DD).*\1)(?:(?:YYYY|MM|DD)[-/. ]?){2}(?:YYYY|MM|DD)")
_STANDARD = re.compile(
    r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
    r"(?:(?P<zone>[ T]{0,4}|0000| *(?:Z|UTC|GMT|CES?T|MES?T|LCL) *)"
    r"(?P<hour>[0-9]{2}):?(?P<minute>[0-9]{2}):?(?P<second>[0-9]{2})(?P<rest>[^0-9].*)?)?"
)
_TIME_BEHIND = (
    r"(?:(?: *T *| +)(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,][0-9]+)?)?"
    r" *(?P<half>[AaPp]\.?[Mm]\b\.?)?(?P<rest>[^0-9:].*)?)?"
)
"""A time of the clock with anything behind it. It comes after a date in the form of a library's own."""
_UTC = frozenset({"Z", "UTC", "GMT"})
_OFFSET = re.compile(r" *([+-])([0-9]{2}):?([0-9]{2})\b")
_NOON = 12
_DAY_ALONE = len(STANDARD)
_WORD = re.compile(r"[^\W_]+")


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
    is_standard = date_format == STANDARD
    if is_standard:
        pattern = _STANDARD
    else:
        of_date = _PART.sub(lambda part: _PARTS[part[0]], re.escape(date_format))
        pattern = re.compile(of_date + _TIME_BEHIND)

    def read(text: str) -> date | None:
        if is_standard and len(text) == _DAY_ALONE and text.isdecimal() and text.isascii():
            try:  # most dates are so, and this is faster
                return date.fromisoformat(text)
            except ValueError:
                return None
        found = pattern.fullmatch(text.strip(" "))
        if found is None:
            return None
        day = _day(found["year"], found["month"], found["day"])
        if day is None or found["hour"] is None:
            return day
        return _day_of_moment(day, found.groupdict())

    return read


def _day(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _day_of_moment(day: date, parts: Mapping[str, str | None]) -> date | None:
    """Return the day in Europe/Amsterdam; None if there is no such time.

    Without UTC or an offset the time is local.
    """
    hour = int(parts["hour"] or 0)
    if half := parts.get("half"):
        if not 1 <= hour <= _NOON:
            return None
        hour = hour % _NOON + (_NOON if half[0] in "Pp" else 0)
    try:
        time_of_day = clock(hour, int(parts["minute"] or 0), int(parts["second"] or 0))
    except ValueError:
        return None
    rest = parts["rest"] or ""
    offset = timedelta()
    if found := _OFFSET.match(rest):
        offset = timedelta(hours=int(found[2]), minutes=int(found[3])) * (-1 if found[1] == "-" else 1)
    elif (parts.get("zone") or rest).strip(" ") not in _UTC:
        return day
    try:
        return day_of((datetime.combine(day, time_of_day) - offset).replace(tzinfo=UTC))
    except OverflowError:  # some systems send the last evening of the year 9999 for "no end"
        return day


def plain_words(text: str) -> str:
    """Return the words of a text, in small letters with one space between them, for a comparison."""
    return " ".join(_WORD.findall(text.casefold()))


FLAGS = (
    ("charge-denied", Reason.BLOCKED),
    ("renewal-denied", Reason.BLOCKED),
    ("recall-denied", Reason.BLOCKED),
    ("hold-denied", Reason.BLOCKED),
    ("card-lost", Reason.CARD_LOST),
    ("too-many-charged", Reason.TOO_MANY_CHARGED),
    ("too-many-overdue", Reason.OVERDUE),
    ("too-many-renewals", Reason.TOO_MANY_RENEWALS),
    ("too-many-claims", Reason.TOO_MANY_CLAIMS),
    ("too-many-lost", Reason.TOO_MANY_LOST),
    ("fines", Reason.FINES),
    ("fees", Reason.FEES),
    ("recall-overdue", Reason.RECALL_OVERDUE),
    ("billed", Reason.BILLED),
)
"""In the order of their positions. Any character except a space sets the flag."""

NONE_SET = " " * len(FLAGS)
USUALLY_REFUSING = frozenset({0, 4, 5, 6, 9, 10, 11, 12, 13})
"""The other flags (renewal, recall, hold, renewals, claims) refuse only by a library's settings (R4)."""

_NEVER_REFUSING = 2
_POSITIONS = {name: position for position, (name, _) in enumerate(FLAGS)}
_ALLOWED = ", ".join(
    f"{name} ({position})" for name, position in _POSITIONS.items() if position != _NEVER_REFUSING
)


def positions(flags: Iterable[str | int]) -> frozenset[int]:
    """Return the positions of flags, given by name or by position from 0. Raises ValueError.

    `recall-denied` never refuses: a patron who may not reserve a lent item may still borrow (R4).
    """
    found = frozenset(_POSITIONS.get(flag, -1) if isinstance(flag, str) else flag for flag in flags)
    if not found <= frozenset(_POSITIONS.values()) - {_NEVER_REFUSING}:
        raise ValueError(f"must be names or positions of status flags: {_ALLOWED}")
    return found


def reasons_of(status: str, refusing: Iterable[int]) -> list[Reason]:
    """Return why a patron with this status is refused, in the order of the flags; mostly empty."""
    if status == NONE_SET:
        return []
    reasons = (FLAGS[position][1] for position in sorted(refusing) if status[position] != " ")
    return list(dict.fromkeys(reasons))


LOGIN, LOGIN_REPLY = "93", "94"
STATUS, STATUS_REPLY = "99", "98"
PATRON, PATRON_REPLY = "63", "64"
RESEND = "96"

_DUTCH = "005"
_NO_SUMMARY = " " * 10
_STATUS_FIXED = 36
_PATRON_FIXED = 61
_PATRON_LAYOUT = re.compile(
    r"64(?P<status>[ -~]{14})(?P<language>[0-9 ]{3})(?P<date>[0-9]{8}.{4}[0-9]{6})"
    r"(?P<counts>(?:[0-9]{4}| {4}){6})"
)
_SINGLE_FIELDS = ("AA", "AE", "BL")
"""A reply that holds one of these twice, with different values, is ambiguous."""


def login_request(username: str, password: str, location: str) -> str:
    """Return message 93: log in, with user id and password as plain text (algorithm 0)."""
    return f"{LOGIN}00{field('CN', username)}{field('CO', password)}{field('CP', location)}"


class Expected(NamedTuple):
    """What a reply must have. `sequence`: the digit of the question, if it had one.

    `checksum_needed`: the library sent a checksum before, so a reply without one has lost its end.
    """

    sequence: int | None = None
    checksum_needed: bool = False


def read_message(data: bytes, encoding: str, code: str, expected: Expected) -> Message:
    """Open a reply with this code.

    Raises BadChecksum when the question must be sent again, OutOfStep when it answers another question, and
    GarbledReply.
    """
    message = open_frame(data, encoding, checksum_needed=expected.checksum_needed)
    if message.text.startswith(RESEND):
        raise BadChecksum
    if not message.text.startswith(code):
        raise GarbledReply
    if expected.sequence is not None and message.sequence not in {None, expected.sequence}:
        raise OutOfStep
    return message


def read_login_reply(data: bytes, encoding: str, expected: Expected) -> None:
    """Read message 94. Raises LoginRefused when it holds 0; else as `read_message`."""
    text = read_message(data, encoding, LOGIN_REPLY, expected).text
    if text == f"{LOGIN_REPLY}0":
        raise LoginRefused
    if text != f"{LOGIN_REPLY}1":
        raise GarbledReply


def status_request() -> str:
    """Return message 99: status OK (0), 30 print columns, version 2.00."""
    return f"{STATUS}00302.00"


def read_status_reply(data: bytes, encoding: str, expected: Expected) -> None:
    """Read message 98. Raises OffLine when the library's system is off-line; else as `read_message`."""
    text = read_message(data, encoding, STATUS_REPLY, expected).text
    if len(text) < _STATUS_FIXED or text[2] not in "YN":
        raise GarbledReply
    fields(text, _STATUS_FIXED)
    if text[2] == "N":
        raise OffLine


def patron_request(card_number: str, institution: str, stamp: str) -> str:
    """Return message 63: ask for the patron of a card. The terminal password (AC) stays empty.

    There is no patron password (AD): a library that receives an empty one may say that it is wrong.
    """
    return f"{PATRON}{_DUTCH}{stamp}{_NO_SUMMARY}AO{institution}|{field('AA', card_number)}AC|"


class PatronReply(NamedTuple):
    """Message 64: the 14 status characters, and all fields in their order.

    `first`: the first value of each code. `conflicting`: the codes that were repeated with another value.
    """

    status: str
    all: Fields
    first: Mapping[str, str]
    conflicting: frozenset[str] = frozenset()

    def value(self, code: str) -> str:
        """Return a field without surrounding spaces; empty when it is absent."""
        return self.first.get(code, "").strip(" ")

    def values(self, *codes: str) -> list[str]:
        """Return all values of some fields."""
        return [value for code, value in self.all if code in codes]


def read_patron_reply(text: str, codes: Mapping[str, int], strict: Collection[str]) -> PatronReply:
    """Read message 64. Raises GarbledReply. `codes`, `strict`: see `fields`.

    The whole fixed part must match, because in a reply that lost a character the flags shift.
    """
    layout = _PATRON_LAYOUT.match(text)
    if layout is None:
        raise GarbledReply
    pairs = fields(text, _PATRON_FIXED, codes, strict)
    first = dict(pairs)
    if len(first) == len(pairs):
        return PatronReply(layout["status"], pairs, first)
    first = dict(reversed(pairs))
    conflicting = frozenset(code for code, value in pairs if first[code] != value)
    if not conflicting.isdisjoint(_SINGLE_FIELDS):
        raise SaysTwoThings
    return PatronReply(layout["status"], pairs, first, conflicting)
