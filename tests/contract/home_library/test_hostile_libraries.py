"""Home libraries that send anything, in every protocol alike: unavailable, after few bytes (R4, R23)."""

import gzip
from datetime import date

import pytest

from registration.adapters.home_library.client import DirectoryHomeLibraries
from registration.domain.verdict import (
    UNREADABLE,
    Reason,
    Refused,
    Unavailable,
    Valid,
)
from tests.contract.home_library.asking import CARD, DETAILS, OVER_HTTP, ZOE, asked
from tests.support.library_hosts import (
    ISIL,
    MOST_SENT,
    Kind,
    LibraryHost,
    NcipOverTcp,
    Sip2,
    endless,
    http_reply,
    library_host,
    raw,
)


async def test_r23_a_wrong_charset_decides_nothing(
    host: LibraryHost, libraries: DirectoryHomeLibraries
) -> None:
    """SIP2 has no way to notice it, and shows the letter as lost. The others call the reply unreadable."""
    kind = host.kind
    honest = kind.person(ZOE)
    wrong = (
        honest.decode("cp850").encode("utf-8")
        if isinstance(kind, Sip2)
        else honest.decode().encode("latin-1")
    )
    host.says(kind.whole(wrong))
    verdict = await libraries.ask(ISIL, CARD)
    if isinstance(kind, Sip2):
        assert isinstance(verdict, Valid)
        assert verdict.details.name != "Zoë Brouwér"
    else:
        assert verdict == Unavailable("reply cannot be understood")


def _with_entities(*values: str) -> bytes:
    """A message of entities `a`, `b`, …, each with its value, and the last one as the only text."""
    names = "abcdef"[: len(values)]
    said = "".join(
        f'<!ENTITY {name} {value}">' if value.startswith("SYSTEM") else f'<!ENTITY {name} "{value}">'
        for name, value in zip(names, values, strict=True)
    )
    return f"<!DOCTYPE NCIPMessage [{said}]><NCIPMessage>&{names[-1]};</NCIPMessage>".encode()


WRONG = {
    "HTML": b"<!DOCTYPE html><html><body>Welkom</body></html>",
    "JSON": b'{"valid": true}',
    "a list": b'["0990139305"]',
    "a number": b"3",
    "nothing": b"",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "XML of another kind": b'<?xml version="1.0"?><rss version="2.0"></rss>',
    "an empty message": b'<NCIPMessage xmlns="http://www.niso.org/2008/ncip"></NCIPMessage>',
    "a message about items": b"<NCIPMessage><LookupItemResponse/></NCIPMessage>",
    "deep": b"[" * 20_000 + b"]" * 20_000,
    "not a number": b'[{"cardnumber": "0990139305", "more": NaN}]',
    "a name twice": b'[{"cardnumber": "0990139305", "restricted": true, "restricted": false}]',
    "deep XML": b"<NCIPMessage>" + b"<a>" * 5_000 + b"</a>" * 5_000 + b"</NCIPMessage>",
    "entities of entities": _with_entities("a", *(f"&{name};" * 50 for name in "abcde")),
    "an entity of a file": _with_entities('SYSTEM "file:///etc/hostname'),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_r23_another_type_of_reply_is_unreadable(host: LibraryHost, wrong: str) -> None:
    """Over TCP a message that has no end cannot be told from one that is late."""
    host.usually = host.kind.whole(WRONG[wrong])
    is_late = isinstance(host.kind, NcipOverTcp) and wrong in {"HTML", "nothing", "XML of another kind"}
    async with asked(host, answer_seconds=0.2 if is_late else 10.0) as libraries:
        verdict = await libraries.ask(ISIL, CARD)
    match host.kind:
        case Sip2():  # what has several lines is also more than was asked for
            assert isinstance(verdict, Unavailable)
        case _ if is_late:
            assert verdict == Unavailable("timed out")
        case _:
            assert verdict == Unavailable("reply cannot be understood")


FLOODS = {
    "letters": (b"", b"6"),
    "spaces": (b"", b" "),
    "elements": (b"<NCIPMessage>", b"<a/>"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[", b"1,"),
    "an announced body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n", b" "),
    "heads": (b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n"),
    "a chunked body": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\n    \r\n"),
    "a refusal": (b"HTTP/1.1 404 Not Found\r\n\r\n", b" "),
    "a redirect": (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", b" "),
    "no final reply": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_r4_an_endless_reply_is_cut_off(host: LibraryHost, flood: str) -> None:
    host.usually = endless(*FLOODS[flood])
    async with asked(host, answer_seconds=0.5 if flood == "no final reply" else 10.0) as libraries:
        verdict = await libraries.ask(ISIL, CARD)
    assert isinstance(verdict, Unavailable)
    assert host.sent < MOST_SENT


async def test_r4_a_packed_reply_is_not_unpacked(
    host: LibraryHost, libraries: DirectoryHomeLibraries
) -> None:
    packed = gzip.compress(b" " * 50_000_000)
    host.usually = raw(http_reply(packed, more="Content-Encoding: gzip\r\n"))
    verdict = await libraries.ask(ISIL, CARD)
    assert isinstance(verdict, Unavailable)
    if isinstance(host.kind, OVER_HTTP):
        assert verdict == Unavailable("reply cannot be understood")


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "0000-00-00", "9999-99-99"])
async def test_r12_an_end_at_the_end_of_all_days(
    host: LibraryHost, libraries: DirectoryHomeLibraries, day: str
) -> None:
    """A day that does not exist is an end that cannot be read, or none at all if it is all zeros."""
    said = host.kind.person(ZOE).replace(b"2027-12-31", day.encode())
    host.says(host.kind.whole(said.replace(b"20271231", day.replace("-", "").encode())))
    verdict = await libraries.ask(ISIL, CARD)
    match day:
        case "9999-12-31":
            assert verdict in {Valid(DETAILS, date.max, CARD), Valid(DETAILS, None, CARD)}
        case "0001-01-01":
            assert verdict in {
                Refused((Reason.EXPIRED,), True, DETAILS, date.min, CARD),
                Valid(DETAILS, date.min, CARD),  # it has ended: R12 looks at the day
                Valid(DETAILS, None, CARD),
            }
        case _:
            assert verdict in {Valid(DETAILS, UNREADABLE, CARD), Valid(DETAILS, None, CARD)}


async def test_a_redirect_is_not_followed(kind: Kind) -> None:
    """Nothing is said to another address: no card number and no token."""
    async with library_host(kind) as elsewhere, library_host(kind) as host:
        target = f"Location: http://127.0.0.1:{elsewhere.port}/api/v1/patrons\r\n"
        host.usually = raw(http_reply(b"", status="307 Temporary Redirect", more=target))
        async with asked(host) as libraries:
            verdict = await libraries.ask(ISIL, CARD)
        assert elsewhere.connections == 0
    match kind:
        case Sip2():  # what has several lines is also more than was asked for
            assert isinstance(verdict, Unavailable)
        case NcipOverTcp():
            assert verdict == Unavailable("reply cannot be understood")
        case _:
            assert verdict == Unavailable("redirects to another address, which is not asked")
