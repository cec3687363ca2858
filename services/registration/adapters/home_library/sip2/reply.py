"""What a home library says about a card: from the bytes of a reply to a verdict (R4, R23).

docs/home-libraries.md is the same as a table for people.
"""

from datetime import date
from typing import NamedTuple

from registration.adapters.home_library.errors import (
    AsksForPin,
    FailedInside,
    GarbledReply,
    NamesNobody,
    NoCardNumber,
    NoValidity,
    OutOfStep,
)
from registration.adapters.home_library.patron import (
    LONGEST_ADDRESS,
    LONGEST_EMAIL,
    LONGEST_NAME,
    end_date,
    is_guest_type,
    is_name,
    text_of,
)
from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.sip2.framing import Message
from registration.adapters.home_library.sip2.messages import (
    PATRON_REPLY,
    Expected,
    PatronReply,
    plain_words,
    read_message,
    read_patron_reply,
    reasons_of,
)
from registration.domain.verdict import UNREADABLE, EndsOn, NotFound, PatronDetails, Reason, Refused, Valid
from shared.kernel.library_card import MalformedCardNumber, canonical_card_number


class Asked(NamedTuple):
    """The question. `today`: in Europe/Amsterdam. `alone`: nothing else was asked over the connection.

    `expected`: the sequence number of the question, and whether the library sends checksums.
    """

    card_number: str
    today: date
    expected: Expected = Expected()
    alone: bool = False


def read_reply(data: bytes, library: Library, asked: Asked) -> Valid | Refused | NotFound:
    """Return what a reply (without its line end) says. Every other outcome is *unavailable*, with a reason.

    Raises BadChecksum when the question must be sent again, OutOfStep when the reply may answer another
    question, and GarbledReply when it does not say what R23 asks for.
    """
    message = read_message(data, library.encoding, PATRON_REPLY, asked.expected)
    reply = read_patron_reply(message.text, library.codes, library.deciding_codes)
    if reply.value("AA") != asked.card_number and not (asked.alone or _is_proved(message, asked)):
        raise OutOfStep
    return _verdict(reply, message, library, asked)


def _is_proved(message: Message, asked: Asked) -> bool:
    """Return whether the sequence number proves that this is the reply to this question."""
    return message.sequence is not None and message.sequence == asked.expected.sequence


def _verdict(
    reply: PatronReply, message: Message, library: Library, asked: Asked
) -> Valid | Refused | NotFound:
    """Only an end date in the past is an end. Flags, and `BL N` alone, are blocks."""
    validity = reply.value("BL")
    if validity not in {"Y", "N", ""}:
        raise GarbledReply
    reasons = reasons_of(reply.status, library.refusing)
    is_valid = validity == "Y" and not reasons
    name = text_of(reply.value("AE"), LONGEST_NAME)
    is_named = is_name(name, (asked.card_number, reply.value("AA")), library)
    if not (is_valid and is_named) and _failed_inside(reply, library):
        raise FailedInside
    if not is_named and (validity == "N" or (not validity and ("AE" in reply.first or message.checked))):
        return NotFound()
    if not validity:
        raise NoValidity
    if not is_named:
        raise NamesNobody
    card_number = _card_number(reply, message, asked)
    details = _details(reply, name, library)
    ends_on = _end_date(reply, library)
    if is_valid:
        return Valid(details, ends_on, card_number, _is_guest(reply, library))
    if any(value.strip(" ") not in {"", "Y"} for value in reply.values("CQ")):
        raise AsksForPin
    ended = isinstance(ends_on, date) and ends_on < asked.today
    if ended:
        reasons.insert(0, Reason.EXPIRED)
    return Refused(tuple(reasons) or (Reason.BLOCKED,), ended, details, ends_on, card_number)


def _failed_inside(reply: PatronReply, library: Library) -> bool:
    said = plain_words(" ".join(reply.values("AF", "AG", "AE")))
    return any(message in said for message in library.error_messages)


def _card_number(reply: PatronReply, message: Message, asked: Asked) -> str:
    """Return the patron's present card number. It may differ from the one that we asked about (R10).

    One in a form of the library's own stays the asked one, when the reply surely is about it.
    """
    number = reply.value("AA")
    if number == asked.card_number:
        return number
    try:
        return canonical_card_number(number)
    except MalformedCardNumber:
        if number and _is_proved(message, asked):
            return asked.card_number
        raise NoCardNumber from None


def _end_date(reply: PatronReply, library: Library) -> EndsOn:
    """Return the last day of the subscription; None when the library sends none, or a word for none (R12)."""
    code = library.expiry_field
    if code is None or not (text := reply.value(code)):
        return None
    if code in reply.conflicting:
        return UNREADABLE
    return end_date(text, library)


def _details(reply: PatronReply, name: str, library: Library) -> PatronDetails:
    birth_date = reply.value(library.birth_date_field) if library.birth_date_field else ""
    return PatronDetails(
        name=name,
        birth_date=library.read_date(birth_date) if birth_date else None,
        address=text_of(reply.value("BD"), LONGEST_ADDRESS) or None,
        email=text_of(reply.value("BE"), LONGEST_EMAIL) or None,
    )


def _is_guest(reply: PatronReply, library: Library) -> bool:
    """Return whether the subscription at the home library is itself a guest subscription (R11)."""
    code = library.patron_type_field
    return code is not None and is_guest_type(reply.value(code), library)
