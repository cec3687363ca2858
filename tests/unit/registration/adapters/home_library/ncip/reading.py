"""Replies in NCIP from short pieces, and what the product reads in them, without a network."""

from registration.adapters.home_library.errors import NoAnswer
from registration.adapters.home_library.ncip.reply import Asked, read_reply
from registration.adapters.home_library.probe import described
from registration.adapters.home_library.settings import Library
from registration.domain.verdict import NotFound, Refused, Valid
from tests.unit.registration.adapters.home_library.sip2.reading import CARD, TODAY

NAMESPACE = "http://www.niso.org/2008/ncip"


def library(**changed: object) -> Library:
    """A library that is asked over HTTP."""
    known = {"host": "127.0.0.1", "port": 8080, "protocol": "ncip", "from_agency": "NL-070297"}
    return Library.model_validate({**known, "to_agency": "NL-070288", **changed})


def message(inside: str, declaration: str = '<?xml version="1.0" encoding="UTF-8"?>') -> str:
    """A whole message."""
    return f'{declaration}<NCIPMessage xmlns="{NAMESPACE}">{inside}</NCIPMessage>'


def about(optional: str, number: str = CARD) -> str:
    """A reply that names a person."""
    user = f"<UserId><UserIdentifierValue>{number}</UserIdentifierValue></UserId>"
    fields = f"<UserOptionalFields>{optional}</UserOptionalFields>"
    return message(f"<LookupUserResponse>{user}{fields}</LookupUserResponse>")


def name(text: str = "Zoë Voorbeeld") -> str:
    """The name as one text."""
    plain = f"<UnstructuredPersonalUserName>{text}</UnstructuredPersonalUserName>"
    person = f"<PersonalNameInformation>{plain}</PersonalNameInformation>"
    return f"<NameInformation>{person}</NameInformation>"


def privilege(last: str = "", *, first: str = "", kind: str = "LID", status: str = "") -> str:
    """A privilege, with its validity and status if they are given."""
    dates = (f"<ValidFromDate>{first}</ValidFromDate>" if first else "") + (
        f"<ValidToDate>{last}</ValidToDate>" if last else ""
    )
    state = (
        f"<UserPrivilegeStatus><UserPrivilegeStatusType>{status}</UserPrivilegeStatusType></UserPrivilegeStatus>"
        if status
        else ""
    )
    agency, typed = (
        "<AgencyId>NL-070288</AgencyId>",
        f"<AgencyUserPrivilegeType>{kind}</AgencyUserPrivilegeType>",
    )
    return f"<UserPrivilege>{agency}{typed}{dates}{state}</UserPrivilege>"


def block(kind: str, *, first: str = "", last: str = "") -> str:
    """A block or trap, with its validity if it is given."""
    dates = (f"<ValidFromDate>{first}</ValidFromDate>" if first else "") + (
        f"<ValidToDate>{last}</ValidToDate>" if last else ""
    )
    agency = "<AgencyId>NL-070288</AgencyId>"
    return f"<BlockOrTrap>{agency}<BlockOrTrapType>{kind}</BlockOrTrapType>{dates}</BlockOrTrap>"


def problem(kind: str, detail: str = "") -> str:
    """A reply that names nobody."""
    more = f"<ProblemDetail>{detail}</ProblemDetail>" if detail else ""
    told = f"<Problem><ProblemType>{kind}</ProblemType>{more}</Problem>"
    return message(f"<LookupUserResponse>{told}</LookupUserResponse>")


def read(reply: str | bytes, settings: Library, *, alone: bool = True) -> Valid | Refused | NotFound:
    """The verdict of a reply to the question about CARD. Raises NoAnswer."""
    data = reply.encode() if isinstance(reply, str) else reply
    return read_reply(data, settings, Asked(CARD, TODAY, alone))


def read_as(reply: str | bytes, settings: Library, *, alone: bool = True) -> str:
    """The same in the words of a probe."""
    try:
        return described(read(reply, settings, alone=alone), TODAY)
    except NoAnswer as failure:
        return f"unavailable: {failure.reason}"
