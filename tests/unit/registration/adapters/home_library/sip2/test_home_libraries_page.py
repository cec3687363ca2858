"""Every line of docs/home-libraries.md is what the product does (R23)."""

import tomllib
from collections.abc import Callable

import pytest

from registration.adapters.home_library.errors import NoAnswer
from registration.adapters.home_library.probe import described
from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.sip2.messages import Expected
from registration.domain.verdict import Valid
from tests.unit.registration.adapters.home_library.page import lines_of
from tests.unit.registration.adapters.home_library.sip2.reading import ALONE, CARD, TODAY, library, read_one

FIXED = "00520250911    101530" + "0000" * 6
SEQUENCE = 1


def read_as(line: bytes, settings: Library, expected: Expected = ALONE) -> str:
    try:
        return described(read_one(line, settings, expected), TODAY)
    except NoAnswer as failure:
        return f"unavailable: {failure.reason}"


REPLIES = list(lines_of("the library says"))
ENDS = list(lines_of("the end of the reply"))


def test_the_page_has_lines() -> None:
    assert (len(REPLIES), len(ENDS)) == (77, 12)


@pytest.mark.parametrize(
    ("says", "flags", "sent", "settings", "expected"), REPLIES, ids=lambda text: text[:50]
)
def test_r23_a_reply_is_read_as_the_page_says(
    says: str, flags: str, sent: str, settings: str, expected: str
) -> None:
    text = f"64{flags:14}{FIXED}AO|{sent}".replace("·", " ").replace("↵", "\n")
    line = text.encode("utf-8").replace("►".encode(), b"\x89")
    assert read_as(line, library(**tomllib.loads(settings))) == expected, says


def summed(text: str, number: int, form: str = "{:04X}") -> bytes:
    data = text.encode("cp850")
    return data + form.format(-number & 0xFFFF).encode()


def short(text: str) -> str:
    """The text with a message that makes its checksum three digits."""
    return next(
        tried
        for letters in range(2000)
        if 0x100
        <= -sum((tried := text.replace("AF", f"AF{'a' * letters}")).encode("cp850")) & 0xFFFF
        < 0x1000
    )


WAYS: dict[str, Callable[[str], bytes]] = {
    "a checksum over the bytes": lambda text: summed(text, sum(text.encode("cp850"))),
    "a checksum over the characters": lambda text: summed(text, sum(map(ord, text))),
    "a checksum in small letters": lambda text: summed(text, sum(text.encode("cp850")), "{:04x}"),
    "a checksum with a space before its three digits": lambda text: summed(
        short(text), sum(short(text).encode("cp850")), "{:4X}"
    ),
    "a checksum with a space behind its three digits": lambda text: summed(
        short(text), sum(short(text).encode("cp850")), "{:<4X}"
    ),
    "spaces behind the checksum": lambda text: summed(text, sum(text.encode("cp850")), "{:04X}   "),
    "our sequence number": lambda text: summed(text, sum(text.encode("cp850"))),
    "no sequence number": lambda text: summed(
        text.replace("AY1", ""), sum(text.replace("AY1", "").encode("cp850"))
    ),
    "another sequence number": lambda text: summed(
        text.replace("AY1", "AY7"), sum(text.replace("AY1", "AY7").encode("cp850"))
    ),
    "a wrong checksum": lambda text: summed(text, 1 + sum(text.encode("cp850"))),
    "no checksum": lambda text: text.removesuffix("AY1AZ").encode("cp850"),
}


@pytest.mark.parametrize(("way", "number", "expected"), ENDS)
def test_r23_a_reply_ends_as_the_page_says(way: str, number: str, expected: str) -> None:
    line = WAYS[way](f"64{'':14}{FIXED}AO|AA{number}|AEZoë Voorbeeld|BLY|AF|AY1AZ")
    assert read_as(line, library(), Expected(SEQUENCE, checksum_needed=True)) == expected


def test_r23_a_proved_reply_with_an_own_form_of_the_number_keeps_the_asked_one() -> None:
    line = WAYS["our sequence number"](f"64{'':14}{FIXED}AO|AALN:{CARD}|AEAnna|BLY|AY1AZ")
    verdict = read_one(line, library(), Expected(SEQUENCE))
    assert isinstance(verdict, Valid)
    assert verdict.canonical_card_number == CARD


@pytest.mark.parametrize(
    ("sent", "detail", "kept"),
    [
        ("BEanna|x@|voorbeeld.nl|", "email", "anna|x@|voorbeeld.nl"),
        ("BDBrink 3|JK Roden|", "address", "Brink 3|JK Roden"),
        ("BDBrink 3\n9301 JK|", "address", "Brink 3 9301 JK"),
    ],
)
def test_r23_a_separator_in_a_detail_ends_nothing(sent: str, detail: str, kept: str) -> None:
    line = f"64{'':14}{FIXED}AO|AA{CARD}|AEAnna|BLY|{sent}".encode()
    verdict = read_one(line, library())
    assert isinstance(verdict, Valid)
    assert getattr(verdict.details, detail) == kept
