"""What a home library says about a card in NCIP: from the bytes of LookupUserResponse to a verdict (R4, R23).

docs/home-libraries.md is the same as a table for people.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

from registration.adapters.home_library.errors import (
    AnotherCard,
    FailedInside,
    GarbledReply,
    LoginRefused,
    NamesNobody,
    NamesSeveral,
    NoCardNumber,
    NoMembership,
    NotServed,
    OutOfStep,
    RefusesToSay,
    SaysTwoThings,
    UnknownStatus,
)
from registration.adapters.home_library.ncip.messages import Element, parse, problems_of
from registration.adapters.home_library.patron import (
    LONGEST_ADDRESS,
    LONGEST_EMAIL,
    LONGEST_NAME,
    end_date,
    is_guest_type,
    is_name,
    names_nobody,
    text_of,
)
from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.sip2.messages import plain_words
from registration.domain.verdict import UNREADABLE, EndsOn, NotFound, PatronDetails, Reason, Refused, Valid
from shared.kernel.library_card import MalformedCardNumber, canonical_card_number

_NOT_LET_IN = frozenset(
    f"{start} {side}"
    for start in ("unauthorized service for", "unauthorized combination of element values for", "unknown")
    for side in ("agency", "system")
) | {"agency authentication failed", "system authentication failed"}
_NO_REPLY_TO_US = frozenset({"user authentication failed", "user access denied"})
_CARD_TYPES = frozenset({"barcode", "barcode id", "card", "card number", "library card", "visible user id"})
_REASONS = {
    "lost": Reason.CARD_LOST,
    "fine": Reason.FINES,
    "fines": Reason.FINES,
    "fee": Reason.FEES,
    "fees": Reason.FEES,
    "overdue": Reason.OVERDUE,
    "overdues": Reason.OVERDUE,
    "billed": Reason.BILLED,
}
"""Which word in the type of a block names which reason. All other blocks are BLOCKED."""
_ELSEWHERE = frozenset({"ship to", "bill to", "work"})
_STREET = ("Line1", "Line2", "LocationWithinBuilding", "HouseName", "Street", "PostOfficeBox", "District")


class Asked(NamedTuple):
    """The question. `today`: in Europe/Amsterdam. `alone`: nothing else was asked over the connection."""

    card_number: str
    today: date
    alone: bool = True


class _Privilege(NamedTuple):
    kind: str
    is_running: bool
    ends_on: EndsOn

    def has_ended(self, today: date) -> bool:
        return isinstance(self.ends_on, date) and self.ends_on < today


def read_reply(data: bytes, library: Library, asked: Asked) -> Valid | Refused | NotFound:
    """Return what a reply says. Every other outcome is *unavailable*, with a reason.

    Raises OutOfStep when the reply may answer an earlier question, LoginRefused and NotServed when we are not
    let in, and GarbledReply when it does not say what R23 asks for.
    """
    message = parse(data, library.xml_encoding)
    reply = message.one("LookupUserResponse")
    if problems := list(problems_of([message] if reply is None else [message, reply])):
        return _problem(problems, library)
    if reply is None or reply.one("UserId") is None:
        raise GarbledReply
    return _verdict(reply, reply.one("UserOptionalFields"), library, asked)


def _problem(problems: Sequence[tuple[str, str]], library: Library) -> NotFound:
    """Return NotFound if all problems say that nobody has this card; anything else is raised."""
    found = [(plain_words(kind), plain_words(detail)) for kind, detail in problems]
    if all(any(names_nobody(words, library) for words in texts) for texts in found):
        return NotFound()
    kinds = {kind for kind, _ in found}
    if not kinds.isdisjoint(_NOT_LET_IN):
        raise LoginRefused
    if "unsupported service" in kinds:
        raise NotServed
    if "non unique user" in kinds:
        raise NamesSeveral
    if not kinds.isdisjoint(_NO_REPLY_TO_US):
        raise RefusesToSay
    raise FailedInside


def _verdict(
    reply: Element, optional: Element | None, library: Library, asked: Asked
) -> Valid | Refused | NotFound:
    """Judge: a block in force refuses, and so does a membership that is not. Only a date is an end."""
    card_number = _card_number(reply, optional, library, asked)
    name = text_of(_name(optional), LONGEST_NAME)
    if optional is None or not is_name(name, (asked.card_number, card_number), library):
        raise NamesNobody
    details = _details(optional, name, library, asked.today)
    blocks = _blocks(optional, library, asked.today)
    privileges = _privileges(optional, library, asked.today)
    running = [privilege for privilege in privileges if privilege.is_running]
    if not privileges and not blocks and library.privileges_required:
        raise NoMembership
    ends_on = _last_day(running or privileges)
    if not blocks and (running or not privileges):
        guest = bool(running) and all(is_guest_type(found.kind, library) for found in running)
        return Valid(details, ends_on, card_number, guest)
    reasons = list(dict.fromkeys(blocks))
    has_ended = bool(privileges) and all(privilege.has_ended(asked.today) for privilege in privileges)
    if has_ended:
        reasons.insert(0, Reason.EXPIRED)
    return Refused(tuple(reasons) or (Reason.BLOCKED,), has_ended, details, ends_on, card_number)


def _card_number(reply: Element, optional: Element | None, library: Library, asked: Asked) -> str:
    """Return the patron's present card number. It may differ from the one that we asked about (R10).

    The reply must name the asked number: as one of the person's, or as an earlier one. With `own_ids` it
    need not, if nothing else was asked over the connection.
    """
    users = [*reply.all("UserId"), *(optional.all("UserId") if optional else [])]
    numbers = [
        (plain_words(user.text("UserIdentifierType")), user.text("UserIdentifierValue")) for user in users
    ]
    earlier = optional.all("PreviousUserId") if optional else []
    if asked.card_number in {number for _, number in numbers}:
        return asked.card_number
    cards = {number for kind, number in numbers if kind in _CARD_TYPES}
    if len(cards) > 1:
        raise SaysTwoThings
    if asked.card_number in {user.text("UserIdentifierValue") for user in earlier}:
        return _canonical(next(iter(cards), numbers[0][1]))
    if not (library.own_ids and asked.alone):
        raise AnotherCard if asked.alone else OutOfStep
    return _canonical(next(iter(cards))) if cards else asked.card_number


def _canonical(number: str) -> str:
    try:
        return canonical_card_number(number)
    except MalformedCardNumber:
        raise NoCardNumber from None


def _blocks(optional: Element, library: Library, today: date) -> list[Reason]:
    found = []
    for block in optional.all("BlockOrTrap"):
        kind = plain_words(block.text("BlockOrTrapType"))
        if not kind:
            raise GarbledReply
        if kind in library.harmless_blocks:
            continue
        first, last = _strict_day(block, "ValidFromDate", library), _strict_day(block, "ValidToDate", library)
        if (first or today) <= today <= (last or today):
            found.append(next((_REASONS[word] for word in kind.split() if word in _REASONS), Reason.BLOCKED))
    return found


def _strict_day(element: Element, name: str, library: Library) -> date | None:
    """Return a date that decides; None if there is none. Raises GarbledReply if it cannot be read."""
    text = element.text(name)
    day = end_date(text, library) if text else None
    if day is UNREADABLE:
        raise GarbledReply
    return day


def _privileges(optional: Element, library: Library, today: date) -> list[_Privilege]:
    """Return the privileges that count as membership: all, or those of `membership_privileges`."""
    found = []
    for privilege in optional.all("UserPrivilege"):
        kind = privilege.text("AgencyUserPrivilegeType")
        counted = library.membership_privileges
        if counted and plain_words(kind) not in counted and not is_guest_type(kind, library):
            continue
        text = privilege.text("ValidToDate")
        ends_on = end_date(text, library) if text else None
        first = _strict_day(privilege, "ValidFromDate", library)
        in_time = (first or today) <= today and not (isinstance(ends_on, date) and ends_on < today)
        found.append(_Privilege(kind, _is_active(privilege, library) and in_time, ends_on))
    return found


def _is_active(privilege: Element, library: Library) -> bool:
    status = plain_words(privilege.text("UserPrivilegeStatus", "UserPrivilegeStatusType"))
    if status and status not in library.active_statuses | library.inactive_statuses:
        raise UnknownStatus
    return status not in library.inactive_statuses


def _last_day(privileges: Sequence[_Privilege]) -> EndsOn:
    """Return the last day of the longest one; None if one has no end, or if there is none."""
    ends = [privilege.ends_on for privilege in privileges]
    days = [end for end in ends if isinstance(end, date)]
    if None in ends or not ends:
        return None
    return max(days) if len(days) == len(ends) else UNREADABLE


def _name(optional: Element | None) -> str:
    found = optional.one("NameInformation") if optional else None
    person = found.one("PersonalNameInformation") if found else None
    if found is None or person is None:
        return found.text("OrganizationNameInformation", "OrganizationName") if found else ""
    parts = person.one("StructuredPersonalUserName")
    if parts is None or not parts.text("Surname"):  # a given name alone names nobody
        return person.text("UnstructuredPersonalUserName")
    given = parts.text("GivenName") or parts.text("Initials")
    return _joined(" ", (parts.text("Prefix"), given, parts.text("Surname"), parts.text("Suffix")))


def _details(optional: Element, name: str, library: Library, today: date) -> PatronDetails:
    birth_date = optional.text("DateOfBirth")
    addresses = [
        address for address in optional.all("UserAddressInformation") if _is_used(address, library, today)
    ]
    email = next(filter(None, map(_email, addresses)), "")
    homes = [address for address in addresses if _role(address) not in _ELSEWHERE]
    homes.sort(key=lambda address: _role(address) != "home")
    address = next(filter(None, map(_physical, homes)), "")
    return PatronDetails(
        name=name,
        birth_date=library.read_date(birth_date) if birth_date else None,
        address=text_of(address, LONGEST_ADDRESS) or None,
        email=text_of(email, LONGEST_EMAIL) or None,
    )


def _role(address: Element) -> str:
    return plain_words(address.text("UserAddressRoleType"))


def _is_used(address: Element, library: Library, today: date) -> bool:
    """Return whether an address is valid today. A date that cannot be read decides nothing here."""
    first = library.read_date(address.text("ValidFromDate")) or today
    last = library.read_date(address.text("ValidToDate")) or today
    return first <= today <= last


def _email(address: Element) -> str:
    data = address.text("ElectronicAddress", "ElectronicAddressData").removeprefix("mailto:")
    return data if "@" in data else ""


def _physical(address: Element) -> str:
    plain = address.text("PhysicalAddress", "UnstructuredAddress", "UnstructuredAddressData")
    if plain:
        return _joined(", ", plain.splitlines())
    parts = address.one("PhysicalAddress", "StructuredAddress")
    if parts is None:
        return ""
    place = _joined(" ", (parts.text("PostalCode"), parts.text("Locality")))
    street = [parts.text(name) for name in _STREET]
    return _joined(", ", (*street, place, parts.text("Region"), parts.text("Country")))


def _joined(between: str, texts: Iterable[str]) -> str:
    return between.join(filter(None, (text.strip() for text in texts)))
