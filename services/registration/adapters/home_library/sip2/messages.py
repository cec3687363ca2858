"""The SIP2 messages that are exchanged: their fields, dates and the patron status."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache

from registration.adapters.home_library.errors import GarbledReply, LoginRefused, OffLine
from registration.adapters.home_library.sip2.framing import field, fields
from registration.domain.verdict import Reason
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
    r"64(?P<status>.{14})(?P<language>[0-9 ]{3})(?P<date>[0-9]{8}.{4}[0-9]{6})"
    r"(?P<counts>(?:[0-9]{4}| {4}){6})"
)
_SINGLE_FIELDS = ("AA", "AE", "BL")
"""A reply that holds one of these twice, with different values, is ambiguous."""


def login_request(username: str, password: str, location: str) -> str:
    """Return message 93: log in, with user id and password as plain text (algorithm 0)."""
    return f"{LOGIN}00{field('CN', username)}{field('CO', password)}{field('CP', location)}"


def read_login_reply(text: str) -> None:
    """Read message 94. Raises LoginRefused when it holds 0, GarbledReply when it holds neither 0 nor 1."""
    if text == f"{LOGIN_REPLY}0":
        raise LoginRefused
    if text != f"{LOGIN_REPLY}1":
        raise GarbledReply


def status_request() -> str:
    """Return message 99: status OK (0), 30 print columns, version 2.00."""
    return f"{STATUS}00302.00"


def read_status_reply(text: str) -> None:
    """Read message 98. Raises OffLine when the library's system is off-line, GarbledReply when unreadable."""
    if len(text) < _STATUS_FIXED or text[2] not in "YN":
        raise GarbledReply
    fields(text, _STATUS_FIXED)
    if text[2] == "N":
        raise OffLine


def patron_request(card_number: str, institution: str, stamp: str) -> str:
    """Return message 63: ask for the patron of a card. Terminal and patron password (AC, AD) stay empty."""
    return f"{PATRON}{_DUTCH}{stamp}{_NO_SUMMARY}AO{institution}|{field('AA', card_number)}AC|AD|"


@dataclass(frozen=True, slots=True)
class PatronReply:
    """Message 64: the 14 status characters, and the first field of each code.

    `conflicting`: the codes of fields that were repeated with another value. `in_step`: the reply has the
    sequence number of the request, which proves that it belongs to it.
    """

    status: str
    fields: Mapping[str, str]
    conflicting: frozenset[str] = frozenset()
    in_step: bool = False

    def value(self, code: str) -> str:
        """Return a field without surrounding spaces; empty when it is absent."""
        return self.fields.get(code, "").strip(" ")


def read_patron_reply(text: str, *, in_step: bool = False) -> PatronReply:
    """Read message 64. Raises GarbledReply.

    The whole fixed part must match, because in a reply that lost a character the flags shift.
    """
    layout = _PATRON_LAYOUT.match(text)
    if layout is None:
        raise GarbledReply
    pairs = fields(text, _PATRON_FIXED)
    first = dict(reversed(pairs))
    if len(first) == len(pairs):
        return PatronReply(layout["status"], first, in_step=in_step)
    conflicting = frozenset(code for code, value in pairs if first[code] != value)
    if not conflicting.isdisjoint(_SINGLE_FIELDS):
        raise GarbledReply
    return PatronReply(layout["status"], first, conflicting, in_step)
