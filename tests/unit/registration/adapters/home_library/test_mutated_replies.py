"""Whatever arrives in NCIP or from Koha is a verdict or no answer: never a crash, never one by mistake (R23).

3,000 mutated replies of each in a run, 125,000 in `make fuzz`.
"""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registration.adapters.home_library.errors import NoAnswer
from registration.domain.verdict import NotFound, Reason, Refused, Valid
from tests.support.fuzzing import Change, changes, fuzz, mutated, volume
from tests.support.library_hosts import KINDS, Person
from tests.unit.registration.adapters.home_library.koha import reading as koha
from tests.unit.registration.adapters.home_library.ncip import reading as ncip
from tests.unit.registration.adapters.home_library.sip2.reading import CARD, TODAY

Verdict = Valid | Refused | NotFound
PEOPLE = (
    Person(),
    Person(ends_on=None),
    Person(ends_on=date(2025, 9, 10)),
    Person(blocks=(Reason.BLOCKED,)),
    Person(blocks=(Reason.CARD_LOST,), is_guest=True),
    replace(Person(), number="0990139362", earlier=CARD),
)
_SIP2, NCIP, _TCP, KOHA = KINDS
REPLIES = {
    "NCIP": [*map(NCIP.person, PEOPLE), NCIP.nobody()],
    "Koha": [*map(KOHA.person, PEOPLE[:5]), KOHA.nobody()],
}
READ = {
    "NCIP": lambda data: ncip.read(data, ncip.library()),
    "Koha": lambda data: koha.read(data, koha.library()),
}
PLACES = 5
"""Where one example changes each reply."""
WORDS = [
    *(
        b'true false null [ ] { } " , < > / </ \x00 \xff 0990139305 0990139313 2020-01-01 9999 <!-- &#0; ]]>'
        b" <ns1:BlockOrTrap> </ns1:BlockOrTrap> <ns1:UserId> restricted <!DOCTYPE"
    ).split(b" "),
    b"Unknown User",
    b"Block Check Out",
]


NOBODY = (["unknown", "user"], ["no", "such", "user"])


def says_ncip(data: bytes) -> tuple[bool, bool, bool]:
    """Whether these bytes may mean valid, refused, unknown: read once more, without the product."""
    root = _root(data.strip(b" \t\r\n\x00"))
    if root is None:
        return False, False, False
    if re.search(rb"<!DOCTYPE", data):
        return False, False, False
    texts = {(_local(node), (node.text or "").strip()) for node in root.iter()}
    names = {name for name, _ in texts}
    if "Problem" in names:
        return False, False, any(_words(text) in NOBODY for _, text in texts)
    ours = any(name == "UserIdentifierValue" and text == CARD for name, text in texts)
    named = any(name.endswith(("Surname", "UserName")) and text for name, text in texts)
    valid = ours and named and "UserPrivilege" in names
    return valid, ours and named and bool(names & {"BlockOrTrap", "ValidToDate", "ValidFromDate"}), False


def _root(data: bytes) -> ET.Element | None:
    """Read XML. Expat knows few names of encodings: Python knows the others, such as UTF8."""
    name = re.match(rb"""<\?xml[^>]*encoding=["']([\w.-]+)""", data)
    try:
        try:
            return ET.fromstring(data)  # noqa: S314 - who calls this looks for a document type
        except (ET.ParseError, ValueError):
            return ET.fromstring(data.decode(name[1].decode())) if name else None  # noqa: S314
    except (ET.ParseError, ValueError, LookupError):
        return None


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _local(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]


def says_koha(data: bytes) -> tuple[bool, bool, bool]:
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        return False, False, False
    if found == []:
        return False, False, True
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        return False, False, False
    [patron] = found
    ours = str(patron.get("cardnumber")).strip() == CARD and bool(patron.get("surname"))
    marks = [patron.get(key) for key in ("restricted", "patron_card_lost", "incorrect_address", "expired")]
    # A date with a word behind it is none: then the end is not known, and that makes nobody invalid (R12).
    end = re.match(r" *(\d{4}-\d\d-\d\d)(?![-\d])(.*)", str(patron.get("expiry_date")), re.DOTALL)
    may_be_past = end is not None and end[1] < str(TODAY)
    is_past = may_be_past and end is not None and not end[2].strip()
    return ours and not any(marks) and not is_past, ours and (any(marks) or may_be_past), False


SAYS = {"NCIP": says_ncip, "Koha": says_koha}


def verdict_of(protocol: str, data: bytes) -> Verdict | None:
    """None: no answer. Anything else that is raised is a fault."""
    try:
        return READ[protocol](data)
    except NoAnswer:
        return None


@pytest.mark.parametrize("protocol", REPLIES)
def test_r23_a_mutated_reply_is_a_verdict_only_if_its_bytes_say_so(protocol: str) -> None:
    @example([(0, 0, b"\x00")], 0)
    @example([(10, 12, b"true")], 7)
    @example([(33, 1, b"")], 0)  # the encoding UTF8
    def says_no_more_than_its_bytes(mutations: list[Change], step: int) -> None:
        for number, original in enumerate(REPLIES[protocol] * PLACES):
            data = mutated(original, mutations, number * step)
            verdict = verdict_of(protocol, data)
            if verdict is None:
                continue
            valid, refused, unknown = SAYS[protocol](data)
            assert valid or not isinstance(verdict, Valid), data
            assert refused or not isinstance(verdict, Refused), data
            assert unknown or not isinstance(verdict, NotFound), data

    inputs, of_each = volume(3_000, 125_000), len(REPLIES[protocol]) * PLACES
    fuzz(
        protocol,
        says_no_more_than_its_bytes,
        changes(WORDS),
        st.integers(0, 300),
        inputs=inputs,
        of_each=of_each,
    )


@pytest.mark.parametrize("protocol", REPLIES)
def test_r4_two_readers_agree_on_what_no_one_changed(protocol: str) -> None:
    """Else the second reader would be of no worth."""
    for data in REPLIES[protocol]:
        verdict = verdict_of(protocol, data)
        valid, refused, unknown = SAYS[protocol](data)
        said = {Valid: valid, Refused: refused, NotFound: unknown}
        assert verdict is not None
        assert said[type(verdict)]


@pytest.mark.parametrize("protocol", REPLIES)
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_r4_noise_is_no_answer(protocol: str, noise: bytes) -> None:
    assert verdict_of(protocol, noise) is None


def cut_short(data: bytes) -> Iterator[bytes]:
    return (data[:length] for length in range(len(data)))


@pytest.mark.parametrize("protocol", REPLIES)
def test_r4_a_reply_that_lost_its_end_is_no_answer(protocol: str) -> None:
    for data in REPLIES[protocol]:
        assert {verdict_of(protocol, short) for short in cut_short(data)} == {None}
