"""Every line about NCIP of docs/home-libraries.md is what the product does (R23)."""

import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.unit.registration.adapters.home_library.ncip.reading import (
    block,
    library,
    message,
    name,
    privilege,
    read_as,
)
from tests.unit.registration.adapters.home_library.page import lines_of
from tests.unit.registration.adapters.home_library.sip2.reading import CARD

REPLIES = list(lines_of("NCIP says"))
_ELEMENT = re.compile(
    r"(?P<word>\w+)(?: (?P<value>.+?))??(?: from (?P<first>\S+))?(?: to (?P<last>\S+))?"
    r"(?: is (?P<status>.+?))?(?: detail (?P<detail>.+))?"
)


def reply_of(elements: str) -> str:
    """The whole reply, with its elements in the order of the standard."""
    users, problems, optional = [], [], dict.fromkeys(("Name", "Privilege", "Block", "Id", "Earlier"), "")
    for element, value, more in parts_of(elements):
        match element:
            case "Problem":
                detail = f"<ProblemDetail>{more['detail']}</ProblemDetail>" if more["detail"] else ""
                problems.append(f"<Problem><ProblemType>{value}</ProblemType>{detail}</Problem>")
            case "Id":
                users.append(f"<UserId><UserIdentifierValue>{value}</UserIdentifierValue></UserId>")
            case "Earlier":
                identifier = f"<UserIdentifierValue>{value}</UserIdentifierValue>"
                optional["Earlier"] += f"<PreviousUserId><AgencyId>x</AgencyId>{identifier}</PreviousUserId>"
            case "Name":
                optional["Name"] += name(value)
            case "Privilege":
                optional["Privilege"] += privilege(
                    more["last"], first=more["first"], kind=value, status=more["status"]
                )
            case "Block":
                optional["Block"] += block(value, first=more["first"], last=more["last"])
            case unknown:
                raise AssertionError(unknown)
    users = users or [f"<UserId><UserIdentifierValue>{CARD}</UserIdentifierValue></UserId>"]
    optional["Id"] = "".join(users[1:])
    named = f"{users[0]}<UserOptionalFields>{''.join(optional.values())}</UserOptionalFields>"
    return message(f"<LookupUserResponse>{''.join(problems) or named}</LookupUserResponse>")


def parts_of(elements: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    for element in elements.split("; "):
        found = _ELEMENT.fullmatch(element)
        assert found is not None, element
        yield (
            found["word"],
            found["value"] or "",
            {key: text or "" for key, text in found.groupdict().items()},
        )


def test_the_page_has_lines() -> None:
    assert len(REPLIES) == 54


@pytest.mark.parametrize(("says", "settings", "expected"), REPLIES, ids=lambda text: text[:60])
def test_r23_a_reply_in_ncip_is_read_as_the_page_says(says: str, settings: str, expected: str) -> None:
    assert read_as(reply_of(says), library(**tomllib.loads(settings))) == expected
