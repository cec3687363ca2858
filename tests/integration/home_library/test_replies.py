"""However the network cuts a reply, and whatever dress it comes in: the same verdict (R4)."""

from collections.abc import Callable

import pytest

from registration.adapters.home_library.client import DirectoryHomeLibraries
from registration.domain.verdict import NotFound, PatronDetails, Reason, Refused, Unavailable, Valid
from shared.kernel.library_card import MalformedCardNumber
from tests.integration.home_library.conftest import ISIL, Open
from tests.support.home_libraries import LOGGED_IN, ON_LINE, Answer, Sip2Host, checked, in_pieces, plain
from tests.unit.registration.adapters.home_library.sip2.captures import CAPTURES
from tests.unit.registration.adapters.home_library.sip2.reading import CARD

TRAILER = len("AY1AZFFFF\r")


def text_of(name: str, encoding: str = "cp850") -> bytes:
    """A capture without its trailer."""
    capture = CAPTURES[name]
    return (capture.cp850 if encoding == "cp850" else capture.utf8)[:-TRAILER]


def with_line_feed(text: bytes) -> Answer:
    return lambda question: [b"".join(piece or b"" for piece in checked(text)(question)), b"\n"]


def ended_by_a_line_feed(text: bytes) -> Answer:
    return lambda question: [(piece or b"").replace(b"\r", b"\n") for piece in checked(text)(question)]


def plain_ended_by_a_line_feed(text: bytes) -> Answer:
    return lambda _question: [text + b"\n"]


@pytest.fixture(
    params=[checked, plain, with_line_feed, ended_by_a_line_feed, plain_ended_by_a_line_feed],
    ids=lambda way: way.__name__,
)
def dress(request: pytest.FixtureRequest, host: Sip2Host) -> Callable[[bytes], Answer]:
    """How this library writes all its replies."""
    way: Callable[[bytes], Answer] = request.param
    host.usually |= {b"93": way(LOGGED_IN), b"99": way(ON_LINE)}
    return way


@pytest.mark.parametrize("encoding", ["cp850", "utf-8"])
async def test_r4_each_verdict_over_one_connection_in_either_encoding(
    host: Sip2Host, open_libraries: Open, dress: Callable[[bytes], Answer], encoding: str
) -> None:
    libraries = open_libraries(encoding)
    host.says(b"63", *(dress(text_of(name, encoding)) for name in ("valid", "refused_fines", "not_found")))
    valid, refused, not_found = [await libraries.ask(ISIL, CARD) for _ in range(3)]
    assert isinstance(valid, Valid)
    assert (valid.details.name, valid.details.address) == ("Zoë Brouwér", "Brink 3, 9301 JK Roden")
    assert isinstance(refused, Refused)
    assert (refused.reasons, refused.details) == ((Reason.FINES,), PatronDetails("Zoë Brouwér"))
    assert not_found == NotFound()
    assert len(host.received) == 1


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_r4_replies_in_fragments(
    host: Sip2Host, libraries: DirectoryHomeLibraries, dress: Callable[[bytes], Answer], size: int
) -> None:
    host.usually = {
        b"93": in_pieces(dress(LOGGED_IN), size),
        b"99": in_pieces(dress(ON_LINE), size),
        b"63": in_pieces(dress(text_of("refused_expired")), size),
    }
    for _ in range(2):
        verdict = await libraries.ask(ISIL, CARD)
        assert isinstance(verdict, Refused)
        assert verdict.because_ended
    assert len(host.received) == 1


@pytest.mark.parametrize("dressed", [checked, plain])
async def test_r4_of_several_replies_in_one_read_each_card_gets_its_own(
    host: Sip2Host, libraries: DirectoryHomeLibraries, dressed: Callable[[bytes], Answer]
) -> None:
    """A reply without a question is never taken for the reply to the next one."""
    host.usually |= {b"93": dressed(LOGGED_IN), b"99": dressed(ON_LINE)}
    twice = dressed(text_of("valid"))
    host.says(b"63", lambda question: [b"".join(2 * [piece or b"" for piece in twice(question)])])
    host.says(b"63", dressed(text_of("valid").replace(CARD.encode(), b"0990139313")))
    first = await libraries.ask(ISIL, CARD)
    second = await libraries.ask(ISIL, "0990139313")
    assert [each.canonical_card_number for each in (first, second) if isinstance(each, Valid)] == [
        CARD,
        "0990139313",
    ]
    assert len(host.received) == 2


async def test_r4_without_checksums_none_is_sent(host: Sip2Host, open_libraries: Open) -> None:
    host.usually = {b"93": plain(LOGGED_IN), b"99": plain(ON_LINE), b"63": plain(text_of("valid"))}
    assert isinstance(await open_libraries(checksums=False).ask(ISIL, CARD), Valid)
    assert [message for message in host.received[0] if b"AZ" in message] == []


async def test_what_is_sent_is_what_the_standard_says(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.says(b"63", checked(text_of("valid")))
    await libraries.ask(ISIL, f" {CARD} ")
    login, status, question = host.received[0]
    assert login.startswith(b"9300CNgast|COgeheim|CP|AY0AZ")
    assert status.startswith(b"9900302.00AY1AZ")
    assert question[:5] == b"63005"
    assert question[5:13].isdigit()
    assert question[13:17] == b"    "
    assert question[17:23].isdigit()
    assert question[23:33] == b" " * 10
    assert question[33:].startswith(b"AONL-070288|AA0990139305|AC|AY2AZ")
    for message in host.received[0]:
        assert int(message[-4:], 16) == -sum(message[:-4]) & 0xFFFF


@pytest.mark.parametrize("card", ["0990|139305", "0990139305\r", "\n0990139305", "0990\x00139305", "|", "é1"])
async def test_r1_a_separator_or_control_character_never_reaches_the_wire(
    host: Sip2Host, libraries: DirectoryHomeLibraries, card: str
) -> None:
    with pytest.raises(MalformedCardNumber):
        await libraries.ask(ISIL, card)
    assert host.received == []


@pytest.mark.parametrize("way", [ended_by_a_line_feed, plain_ended_by_a_line_feed])
async def test_r23_a_line_feed_ends_one_reply_of_several(
    host: Sip2Host, libraries: DirectoryHomeLibraries, way: Callable[[bytes], Answer]
) -> None:
    """Login and status end with CR here."""
    host.usually |= {b"93": plain(LOGGED_IN), b"99": plain(ON_LINE), b"63": way(text_of("valid"))}
    assert isinstance(await libraries.ask(ISIL, CARD), Valid)


async def test_r23_an_own_form_of_the_card_number_is_kept_out_when_the_sequence_number_proves_the_reply(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    own_form = text_of("valid").replace(b"AA", b"AALN:")
    host.usually[b"63"] = checked(own_form)
    verdict = await libraries.ask(ISIL, CARD)
    assert isinstance(verdict, Valid)
    assert verdict.canonical_card_number == CARD
    host.usually[b"63"] = plain(own_form)
    assert isinstance(await libraries.ask(ISIL, CARD), Unavailable)


def wants_a_pin(question: bytes) -> list[bytes | None]:
    refusing = text_of("valid").replace(b"64    ", b"64YYYY").replace(b"BLY|", b"BLY|CQN|")
    return list(checked(refusing if b"|AD" in question else text_of("valid"))(question))


async def test_r23_a_pin_that_nobody_gave_is_not_sent(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.usually[b"63"] = wants_a_pin
    assert isinstance(await libraries.ask(ISIL, CARD), Valid)
