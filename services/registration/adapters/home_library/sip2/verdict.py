"""From a patron information response (message 64) to a verdict (R4)."""

from datetime import date

from registration.adapters.home_library.errors import GarbledReply
from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.sip2.dates import date_reader
from registration.adapters.home_library.sip2.messages import PatronReply, reasons_of
from registration.domain.verdict import UNREADABLE, EndsOn, NotFound, PatronDetails, Reason, Refused, Valid
from shared.kernel.library_card import MalformedCardNumber, canonical_card_number


def verdict_of(reply: PatronReply, library: Library, today: date) -> Valid | Refused | NotFound:
    """Return the verdict of a reply on `today` in Europe/Amsterdam. Raises GarbledReply when it has none.

    Only an end date in the past is an end. Flags, and `BL N` alone, are blocks.
    """
    validity = reply.value("BL")
    name = reply.value("AE")
    if validity == "N" and not name:
        return NotFound()
    if validity not in {"Y", "N"} or not name:
        raise GarbledReply
    card_number = _card_number(reply)
    details = _details(reply, name, library)
    ends_on = _end_date(reply, library)
    reasons = reasons_of(reply.status, library.refusing)
    if validity == "Y" and not reasons:
        return Valid(details, ends_on, card_number, _is_guest(reply, library))
    ended = isinstance(ends_on, date) and ends_on < today
    if ended:
        reasons.insert(0, Reason.EXPIRED)
    return Refused(tuple(reasons) or (Reason.BLOCKED,), ended, details, ends_on, card_number)


def _card_number(reply: PatronReply) -> str:
    """Return the patron's present card number. It may differ from the one that we asked about (R10)."""
    try:
        return canonical_card_number(reply.value("AA"))
    except MalformedCardNumber:
        raise GarbledReply from None


def _end_date(reply: PatronReply, library: Library) -> EndsOn:
    """Return the last day of the subscription; None when the library does not send it (R12)."""
    code = library.expiry_field
    if code is None or not (text := reply.value(code)):
        return None
    if code in reply.conflicting:
        return UNREADABLE
    return date_reader(library.date_format)(text) or UNREADABLE


def _details(reply: PatronReply, name: str, library: Library) -> PatronDetails:
    birth_date = reply.value(library.birth_date_field) if library.birth_date_field else ""
    return PatronDetails(
        name=name,
        birth_date=date_reader(library.date_format)(birth_date),
        address=reply.value("BD") or None,
        email=reply.value("BE") or None,
    )


def _is_guest(reply: PatronReply, library: Library) -> bool:
    """Return whether the subscription at the home library is itself a guest subscription (R11)."""
    code = library.patron_type_field
    return code is not None and reply.value(code) in library.guest_patron_types
