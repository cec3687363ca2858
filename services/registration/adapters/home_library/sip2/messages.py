"""The SIP2 messages that are exchanged, and the fourteen characters of the patron status."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from registration.adapters.home_library.errors import GarbledReply, LoginRefused, OffLine
from registration.adapters.home_library.sip2.framing import field, fields
from registration.domain.verdict import Reason

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
"""By position; any character but a space is true."""

NONE_SET = " " * len(FLAGS)
USUALLY_REFUSING = frozenset({0, 4, 5, 6, 9, 10, 11, 12, 13})
"""The others (renewal, recall, hold, renewals, claims) refuse nobody, unless a library says so (R4)."""

_NEVER_REFUSING = 2
_POSITIONS = {name: position for position, (name, _) in enumerate(FLAGS)}
_ALLOWED = ", ".join(
    f"{name} ({position})" for name, position in _POSITIONS.items() if position != _NEVER_REFUSING
)


def positions(flags: Iterable[str | int]) -> frozenset[int]:
    """The positions of flags that were named, or numbered from 0. Raises ValueError: what is allowed.

    Denied recalls never refuse: who may not reserve what is out may well borrow (R4).
    """
    found = frozenset(_POSITIONS.get(flag, -1) if isinstance(flag, str) else flag for flag in flags)
    if not found <= frozenset(_POSITIONS.values()) - {_NEVER_REFUSING}:
        raise ValueError(f"must be names or positions of status flags: {_ALLOWED}")
    return found


def reasons_of(status: str, refusing: Iterable[int]) -> list[Reason]:
    """Why a patron with this status is refused, by position; usually there is nothing."""
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
"""A reply that gives one of these twice, and differently, does not say whom or what it is about."""


def login_request(username: str, password: str, location: str) -> str:
    """93: log in, user id and password as they are (algorithm 0)."""
    return f"{LOGIN}00{field('CN', username)}{field('CO', password)}{field('CP', location)}"


def read_login_reply(text: str) -> None:
    """94: raises LoginRefused when it says 0, GarbledReply when it says neither 0 nor 1."""
    if text == f"{LOGIN_REPLY}0":
        raise LoginRefused
    if text != f"{LOGIN_REPLY}1":
        raise GarbledReply


def status_request() -> str:
    """99: we are fine (0), print 30 columns, speak version 2.00."""
    return f"{STATUS}00302.00"


def read_status_reply(text: str) -> None:
    """98: raises OffLine when the library's system is not on line, GarbledReply when it cannot be read."""
    if len(text) < _STATUS_FIXED or text[2] not in "YN":
        raise GarbledReply
    fields(text, _STATUS_FIXED)
    if text[2] == "N":
        raise OffLine


def patron_request(card_number: str, institution: str, stamp: str) -> str:
    """63: who is the patron with this card. Neither terminal nor patron password (AC, AD) is known to us."""
    return f"{PATRON}{_DUTCH}{stamp}{_NO_SUMMARY}AO{institution}|{field('AA', card_number)}AC|AD|"


@dataclass(frozen=True, slots=True)
class PatronReply:
    """64 as it was sent: the 14 status characters and the fields, the first of each code.

    `conflicting` names the fields that came again with another value. `in_step` tells whether the reply
    carried the sequence number of the request, which proves that it answers this one.
    """

    status: str
    fields: Mapping[str, str]
    conflicting: frozenset[str] = frozenset()
    in_step: bool = False

    def value(self, code: str) -> str:
        """A field without surrounding spaces; empty when it is absent."""
        return self.fields.get(code, "").strip(" ")


def read_patron_reply(text: str, *, in_step: bool = False) -> PatronReply:
    """64. The whole fixed part must fit: a reply that lost a character would shift its flags.

    Raises GarbledReply.
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
