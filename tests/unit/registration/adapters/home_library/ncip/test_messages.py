"""What is sent is valid by the standard; XML from outside can do nothing but be read (R23, ADR 0028)."""

import asyncio
import tracemalloc
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from lxml import etree

from registration.adapters.home_library.errors import GarbledReply
from registration.adapters.home_library.ncip.messages import LONGEST_REPLY, XmlFrames, lookup_user, parse
from registration.adapters.home_library.settings import ENCODINGS, Credentials
from registration.domain.verdict import Valid
from tests.support import ncip
from tests.support.hostile_http import hostile_peer, json_answer
from tests.unit.registration.adapters.home_library.ncip.reading import (
    about,
    library,
    message,
    name,
    privilege,
    read,
    read_as,
)
from tests.unit.registration.adapters.home_library.sip2.reading import CARD

CREDENTIALS = Credentials("gast & co", "g<h>eim")


@pytest.mark.parametrize("credentials", [None, CREDENTIALS])
@pytest.mark.parametrize("ask_by", ["user-id", "barcode"])
@pytest.mark.parametrize("credentials_in", ["http", "message"])
def test_a_question_is_valid_by_the_schema(
    ask_by: str, credentials_in: str, credentials: Credentials | None
) -> None:
    question = lookup_user(library(ask_by=ask_by, credentials_in=credentials_in), credentials, CARD)
    ncip.SCHEMA.assertValid(etree.fromstring(question))
    assert ncip.asked_card(question) == CARD
    assert (b"g&lt;h&gt;eim" in question) == (credentials is not None and credentials_in == "message")


def test_the_schema_refuses_what_is_not_in_the_standard() -> None:
    question = lookup_user(library(), None, CARD)
    for wrong in (
        question.replace(b"ncip:version", b"version"),
        question.replace(b"UserIdentifierValue", b"UserIdentifier"),
        question.replace(b"<ncip:ToAgencyId><ncip:AgencyId>NL-070288</ncip:AgencyId></ncip:ToAgencyId>", b""),
    ):
        assert wrong != question
        assert not ncip.SCHEMA.validate(etree.fromstring(wrong))


@pytest.mark.parametrize(
    "reply",
    [
        ncip.nobody(),
        ncip.person(CARD, "Jan Jansen"),
        ncip.person(
            "0990139362",
            "Jan de Vries",
            birth_date=date(1968, 4, 17),
            address=("Brink 3", "9301 JK Roden"),
            email="jan@voorbeeld.nl",
            privileges=(ncip.Privilege("LID", "2027-12-31T23:59:59+01:00"), ncip.Privilege("GAST")),
            blocks=("Fines",),
            earlier=CARD,
        ),
    ],
)
def test_the_replies_of_our_tests_are_valid_too(reply: bytes) -> None:
    ncip.SCHEMA.assertValid(etree.fromstring(reply))


def test_r5_details_are_read_from_a_whole_reply() -> None:
    verdict = read(
        ncip.person(
            CARD,
            "Zoë Brouwér",
            birth_date=date(1968, 4, 17),
            address=("Brink 3", "9301 JK Roden"),
            email="zoe@voorbeeld.nl",
        ),
        library(),
    )
    assert isinstance(verdict, Valid)
    details = verdict.details
    assert (details.name, details.birth_date) == ("Zoë Brouwér", date(1968, 4, 17))
    assert (details.address, details.email) == ("Brink 3, 9301 JK Roden", "zoe@voorbeeld.nl")


WHOLE = about(name() + privilege())
ENTITY = "<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY {after} '{10 * f'&{before};'}'>" for before, after in pairwise("abcdefghi")
)
IN_AN_ATTRIBUTE = WHOLE.replace("<UserOptionalFields", '<UserOptionalFields x="&i;"')


@pytest.mark.parametrize(
    "attack",
    [
        f"<!DOCTYPE x>{WHOLE}",
        f"<!DOCTYPE x [{ENTITY}]>{WHOLE.replace('Zoë', '&i;')}",
        f"<!DOCTYPE x [{ENTITY}]>{IN_AN_ATTRIBUTE}",
        f"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/hostname'>]>{WHOLE.replace('Zoë', '&a;')}",
        f"<!DOCTYPE x [<!ENTITY % a SYSTEM 'file:///etc/hostname'>%a;]>{WHOLE}",
        WHOLE.replace("Zoë", "&unknown;"),
        message("<a>" * 200 + "</a>" * 200),
        message("<a>" * 5000 + "</a>" * 5000),
        message("x" * LONGEST_REPLY),
        WHOLE.replace("</UserId>", "</UserName>", 1),
        WHOLE[:-1],
        WHOLE + WHOLE,
        "",
        "\x00",
        "<html/>",
        "HTTP/1.1 200 OK",
    ],
    ids=lambda attack: attack[:40],
)
def test_r23_xml_that_is_more_than_a_message_is_unreadable(attack: str) -> None:
    reply = attack.replace('<?xml version="1.0" encoding="UTF-8"?>', "")
    tracemalloc.start()
    assert read_as(reply, library()) == "unavailable: reply cannot be understood"
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


async def test_r23_nothing_outside_the_reply_is_fetched(tmp_path: Path) -> None:
    async with hostile_peer(lambda _path: json_answer(b"{}")) as peer:
        for outside in (
            f"<!DOCTYPE NCIPMessage SYSTEM '{peer.url}/a.dtd'>",
            f"<!DOCTYPE x [<!ENTITY % a SYSTEM '{peer.url}/b'>%a;]>",
            f"<!DOCTYPE x [<!ENTITY a SYSTEM '{peer.url}/c'>]>",
        ):
            with pytest.raises(GarbledReply):
                await asyncio.to_thread(parse, (outside + message("&a;", "")).encode())
        assert peer.connections == 0


@pytest.mark.parametrize("encoding", [*ENCODINGS.values()])
def test_r23_a_reply_is_read_in_the_encoding_of_the_settings(encoding: str) -> None:
    text = "Zoe" if encoding == "ascii" else "Zoë"
    reply = about(name(f"{text} Voorbeeld") + privilege()).encode(encoding)
    verdict = read(reply, library(encoding=encoding))
    assert isinstance(verdict, Valid)
    assert verdict.details.name == f"{text} Voorbeeld"


@pytest.mark.parametrize("encoding", ["UTF-8", "ISO-8859-1", "windows-1252", "UTF-16"])
def test_r23_without_a_setting_it_is_read_as_it_says_itself(encoding: str) -> None:
    reply = WHOLE.replace("UTF-8", encoding).encode(encoding)
    verdict = read(reply, library())
    assert isinstance(verdict, Valid)
    assert verdict.details.name == "Zoë Voorbeeld"


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_messages_are_cut_at_their_end_tag_however_they_arrive(size: int) -> None:
    frames = XmlFrames()
    stream = b"\xef\xbb\xbf" + WHOLE.encode() + b"\r\n" + ncip.nobody() + b"\n\x00"
    found = []
    for at in range(0, len(stream), size):
        frames.feed(stream[at : at + size])
        while (frame := frames.next()) is not None:
            found.append(frame)
    assert [frame[-14:] for frame in found] == [WHOLE.encode()[-14:], ncip.nobody()[-14:]]
    assert frames.is_empty


def test_what_is_no_xml_is_handed_on_at_once() -> None:
    frames = XmlFrames()
    frames.feed(b"HTTP/1.1 400 Bad Request\r\n")
    assert frames.next() == b"HTTP/1.1 400 Bad Request\r\n"
