"""What is no answer is *unavailable*, at once or within the time-out; what can be asked again is (R4)."""

from time import monotonic

import pytest

from registration.adapters.home_library.client import DirectoryHomeLibraries
from registration.domain.verdict import Unavailable, Valid
from tests.integration.home_library.conftest import ISIL, Open
from tests.integration.home_library.test_replies import text_of
from tests.support.home_libraries import (
    ON_LINE,
    Answer,
    Sip2Host,
    checked,
    damaged,
    hang_up,
    plain,
    silence,
    with_checksum,
)
from tests.unit.registration.adapters.home_library.sip2.reading import CARD

VALID = text_of("valid")
ASK_AGAIN = b"96AZFEF6\r"  # as the standard prints it


async def test_r4_a_wrong_checksum_is_asked_again_in_the_same_words(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.says(b"63", damaged(VALID), damaged(VALID), checked(VALID))
    assert isinstance(await libraries.ask(ISIL, CARD), Valid)
    assert len(host.received) == 1
    assert len(host.questions()) == 3
    assert len(set(host.questions())) == 1


async def test_r4_a_checksum_that_stays_wrong_is_no_answer(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.usually[b"63"] = damaged(VALID)
    assert await libraries.ask(ISIL, CARD) == Unavailable("reply arrived damaged")
    assert len(host.questions()) == 3


@pytest.mark.parametrize("ask_again", [ASK_AGAIN, b"96\r"])
async def test_r4_a_library_that_asks_us_to_send_again_gets_the_same(
    host: Sip2Host, libraries: DirectoryHomeLibraries, ask_again: bytes
) -> None:
    for code in (b"93", b"99", b"63"):
        host.says(code, lambda _question: [ask_again])
    host.says(b"63", checked(VALID))
    assert isinstance(await libraries.ask(ISIL, CARD), Valid)
    [sent] = host.received
    assert sent[::2] == sent[1::2]


async def test_r4_a_library_that_never_stops_asking_is_unavailable(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.usually[b"63"] = lambda _question: [ASK_AGAIN]
    assert await libraries.ask(ISIL, CARD) == Unavailable("reply arrived damaged")


async def test_r4_a_silent_close_is_tried_once_more_on_another_connection(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.says(b"63", hang_up, checked(VALID))
    assert isinstance(await libraries.ask(ISIL, CARD), Valid)
    assert [len(messages) for messages in host.received] == [3, 3]


def half_and_hang_up(question: bytes) -> list[bytes | None]:
    return [with_checksum(VALID, question)[:80], None]


@pytest.mark.parametrize("answer", [hang_up, half_and_hang_up])
async def test_r4_a_close_without_a_whole_answer_is_unavailable_never_a_refusal(
    host: Sip2Host, libraries: DirectoryHomeLibraries, answer: Answer
) -> None:
    host.usually[b"63"] = answer
    assert await libraries.ask(ISIL, CARD) == Unavailable("closed the connection without a reply")
    assert len(host.questions()) == 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28\r",
        b"64\r",
        b"941\r",
        VALID.replace(b"BLY", b"BLQ") + b"\r",
        b"6" * 20_000,
    ],
    ids=["http", "tls", "nothing in it", "another message", "validity", "no end"],
)
async def test_r4_garbage_is_unavailable_at_once(
    host: Sip2Host, open_libraries: Open, garbage: bytes
) -> None:
    host.usually = {b"93": plain(b"941"), b"99": plain(ON_LINE), b"63": lambda _question: [garbage]}
    began = monotonic()
    verdict = await open_libraries(answer_seconds=30).ask(ISIL, CARD)
    assert verdict == Unavailable("reply cannot be understood")
    assert monotonic() - began < 5


async def test_r23_a_name_in_another_encoding_than_agreed_is_not_guessed_and_decides_nothing(
    host: Sip2Host, open_libraries: Open
) -> None:
    host.usually[b"63"] = checked(VALID)
    verdict = await open_libraries("utf-8").ask(ISIL, CARD)
    assert isinstance(verdict, Valid)
    assert verdict.details.name == "Zo\ufffd Brouw\ufffdr"


def half(question: bytes) -> list[bytes]:
    return [with_checksum(VALID, question)[:80]]


@pytest.mark.parametrize("answer", [silence, half])
async def test_r4_a_slow_answer_is_given_up_and_never_answers_the_next_question(
    host: Sip2Host, libraries: DirectoryHomeLibraries, answer: Answer
) -> None:
    host.says(b"63", answer, checked(VALID))
    assert await libraries.ask(ISIL, CARD) == Unavailable("timed out")
    assert isinstance(await libraries.ask(ISIL, CARD), Valid)
    assert [len(messages) for messages in host.received] == [3, 3]


@pytest.mark.parametrize("code", [b"93", b"99"])
async def test_r4_one_that_lets_nobody_in_is_given_up(
    host: Sip2Host, open_libraries: Open, code: bytes
) -> None:
    host.usually[code] = silence
    assert await open_libraries(connect_seconds=0.2).ask(ISIL, CARD) == Unavailable("timed out")
    assert host.questions() == []


@pytest.mark.parametrize(
    ("code", "answer", "reason"),
    [
        (b"93", checked(b"940"), "login refused"),
        (b"93", checked(b"94"), "reply cannot be understood"),
        (b"99", checked(ON_LINE.replace(b"98Y", b"98N")), "reports that it is off-line"),
        (b"93", hang_up, "closed the connection before the first question"),
        (b"99", hang_up, "closed the connection before the first question"),
    ],
)
async def test_r4_one_that_does_not_let_us_in_is_unavailable(
    host: Sip2Host, libraries: DirectoryHomeLibraries, code: bytes, answer: Answer, reason: str
) -> None:
    host.usually[code] = answer
    assert await libraries.ask(ISIL, CARD) == Unavailable(reason)
    assert host.questions() == []


async def test_r10_a_reply_to_another_question_is_asked_again_elsewhere(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    """The sequence number shows that this is the late reply to an earlier question."""
    late = VALID.replace(CARD.encode(), b"0990139313")
    host.says(b"63", lambda _question: [with_checksum(late, b"AY9")], checked(VALID))
    verdict = await libraries.ask(ISIL, CARD)
    assert isinstance(verdict, Valid)
    assert verdict.canonical_card_number == CARD
    assert len(host.received) == 2
