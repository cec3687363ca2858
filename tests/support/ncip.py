"""What a library writes in NCIP 2.02 about a person: from the standard, without the product's own code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from xml.sax.saxutils import escape, unescape

from lxml import etree

SCHEMA = etree.XMLSchema(file=str(Path(__file__).with_name("ncip_2_02.xsd")))
NAMESPACE = "http://www.niso.org/2008/ncip"
_ASKED = re.compile(rb"<(?:\w+:)?(?:UserIdentifierValue|AuthenticationInputData)>([^<]*)<")


@dataclass(frozen=True)
class Privilege:
    """A membership, with the moment at which it ends."""

    kind: str = "LID"
    ends: str | None = None


def asked_card(question: bytes) -> str:
    """The card number in a question."""
    found = _ASKED.search(question)
    assert found is not None
    return unescape(found[1].decode())


def message(inside: str) -> bytes:
    """A whole message."""
    head = f'<ns1:NCIPMessage xmlns:ns1="{NAMESPACE}" ns1:version="http://www.niso.org/schemas/ncip/v2_02">'
    tags = re.sub(r"<(/?)(\w)", r"<\1ns1:\2", inside)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{tags}</ns1:NCIPMessage>'.encode()


def nobody() -> bytes:
    """The library does not know the card."""
    problem = "<ProblemType>Unknown User</ProblemType><ProblemDetail>No such user</ProblemDetail>"
    return message(f"<LookupUserResponse><Problem>{problem}</Problem></LookupUserResponse>")


def person(
    number: str,
    name: str,
    *,
    birth_date: date | None = None,
    address: Sequence[str] = (),
    email: str | None = None,
    privileges: Sequence[Privilege] = (Privilege(),),
    blocks: Sequence[str] = (),
    earlier: str | None = None,
) -> bytes:
    """The library knows the person of a card. `address`: its lines."""
    named = f"<PersonalNameInformation>{_name(name)}</PersonalNameInformation>"
    fields = [f"<NameInformation>{named}</NameInformation>"]
    fields += [_at_home(_postal(address))] if address else []
    fields += [_at_home(_mail(email))] if email else []
    if birth_date:
        fields.append(f"<DateOfBirth>{birth_date}T00:00:00</DateOfBirth>")
    agency = "<AgencyId>NL-070288</AgencyId>"
    for privilege in privileges:
        end = f"<ValidToDate>{privilege.ends}</ValidToDate>" if privilege.ends else ""
        kind = f"<AgencyUserPrivilegeType>{privilege.kind}</AgencyUserPrivilegeType>"
        fields.append(f"<UserPrivilege>{agency}{kind}{end}</UserPrivilege>")
    fields += [
        f"<BlockOrTrap>{agency}<BlockOrTrapType>{block}</BlockOrTrapType></BlockOrTrap>" for block in blocks
    ]
    if earlier:
        value = f"<UserIdentifierValue>{earlier}</UserIdentifierValue>"
        fields.append(f"<PreviousUserId>{agency}{value}</PreviousUserId>")
    user = f"<UserId>{agency}<UserIdentifierValue>{number}</UserIdentifierValue></UserId>"
    optional = f"<UserOptionalFields>{''.join(fields)}</UserOptionalFields>"
    return message(f"<LookupUserResponse>{user}{optional}</LookupUserResponse>")


def _name(name: str) -> str:
    given, _, surname = name.rpartition(" ") if name.count(" ") == 1 else ("", "", name)
    if not given:
        return f"<UnstructuredPersonalUserName>{escape(name)}</UnstructuredPersonalUserName>"
    parts = f"<GivenName>{escape(given)}</GivenName><Surname>{escape(surname)}</Surname>"
    return f"<StructuredPersonalUserName>{parts}</StructuredPersonalUserName>"


def _postal(lines: Sequence[str]) -> str:
    kind = "<UnstructuredAddressType>Newline-Delimited Text</UnstructuredAddressType>"
    text = escape("\n".join(lines))
    data = f"{kind}<UnstructuredAddressData>{text}</UnstructuredAddressData>"
    role = "<PhysicalAddressType>Postal Address</PhysicalAddressType>"
    return f"<PhysicalAddress><UnstructuredAddress>{data}</UnstructuredAddress>{role}</PhysicalAddress>"


def _mail(email: str) -> str:
    kind = "<ElectronicAddressType>mailto</ElectronicAddressType>"
    data = f"<ElectronicAddressData>{escape(email)}</ElectronicAddressData>"
    return f"<ElectronicAddress>{kind}{data}</ElectronicAddress>"


def _at_home(address: str) -> str:
    role = "<UserAddressRoleType>Home</UserAddressRoleType>"
    return f"<UserAddressInformation>{role}{address}</UserAddressInformation>"
