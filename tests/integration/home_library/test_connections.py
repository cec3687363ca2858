"""Few connections, kept and shared; a failing library is left alone, and tried again (ADR 0016)."""

import asyncio

from prometheus_client import REGISTRY

from infra.local.ports import free_port
from registration.adapters.home_library.client import DirectoryHomeLibraries, home_libraries
from registration.adapters.home_library.settings import Directory
from registration.bootstrap import home_library_http
from registration.domain.verdict import Unavailable, Valid, Verdict
from tests.integration.home_library.conftest import ISIL, Open
from tests.integration.home_library.test_replies import text_of
from tests.support.eventually import eventually
from tests.support.home_libraries import Sip2Host, checked, hang_up, plain, silence, sip2_host, with_checksum
from tests.unit.registration.adapters.home_library.sip2.reading import CARD, TODAY, library

VALID = text_of("valid")
LEFT_ALONE = Unavailable("not asked for a while after repeated failures", asked=False)


def cards_that_were_asked_about(question: bytes) -> list[bytes]:
    """Every card is a member's."""
    card = question.split(b"|AA")[1].split(b"|")[0]
    return [with_checksum(VALID.replace(CARD.encode(), card), question)]


async def test_a_connection_is_kept_and_used_again(host: Sip2Host, libraries: DirectoryHomeLibraries) -> None:
    host.usually[b"63"] = cards_that_were_asked_about
    for number in range(25):
        assert _card(await libraries.ask(ISIL, f"{number:010}")) == f"{number:010}"
    assert len(host.received) == 1


async def test_r4_a_library_that_replies_to_few_questions_over_a_connection_gets_no_more(
    host: Sip2Host, open_libraries: Open
) -> None:
    """The login does not count; the question for its status might, so it is left out."""
    host.usually[b"63"] = lambda question: (
        cards_that_were_asked_about(question) if len(host.received[-1]) <= 3 else silence(question)
    )
    for connections, questions in ((1, 2), (2, 2)):
        libraries = open_libraries(connections=connections, questions_per_connection=questions)
        for number in range(6):
            assert _card(await libraries.ask(ISIL, f"{number:010}")) == f"{number:010}"
    assert [[message[:2] for message in messages] for messages in host.received] == [
        [b"93", b"63", b"63"]
    ] * 6


async def test_when_a_kept_connection_is_silent_the_others_are_not_used_either(
    host: Sip2Host, open_libraries: Open
) -> None:
    """A firewall drops quiet connections without a word, all at once."""
    libraries = open_libraries(connections=3, answer_seconds=0.2)
    host.usually[b"63"] = cards_that_were_asked_about
    await asyncio.gather(*(libraries.ask(ISIL, f"{number:010}") for number in range(3)))
    host.says(b"63", silence)
    assert isinstance(await libraries.ask(ISIL, CARD), Unavailable)
    assert _card(await libraries.ask(ISIL, CARD)) == CARD
    assert len(host.received) == 4


async def test_many_at_once_share_a_few_connections_and_each_gets_its_own_answer(
    host: Sip2Host, open_libraries: Open
) -> None:
    libraries = open_libraries(connections=3, answer_seconds=5)
    host.usually[b"63"] = cards_that_were_asked_about
    cards = [f"{number:010}" for number in range(60)]
    verdicts = await asyncio.gather(*(libraries.ask(ISIL, card) for card in cards))
    assert [_card(verdict) for verdict in verdicts] == cards
    assert len(host.received) == 3


async def test_a_connection_that_the_library_closed_meanwhile_is_not_used(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.usually[b"63"] = cards_that_were_asked_about
    await libraries.ask(ISIL, CARD)
    host.hang_up()
    await eventually(lambda: host.open_connections == 0)
    assert _card(await libraries.ask(ISIL, CARD)) == CARD
    assert len(host.questions()) == 2


async def test_who_gives_up_waiting_leaves_no_answer_behind_for_the_next(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.says(b"63", silence)
    host.usually[b"63"] = cards_that_were_asked_about
    asked = asyncio.create_task(libraries.ask(ISIL, CARD))
    await eventually(host.questions)
    asked.cancel()
    assert _card(await libraries.ask(ISIL, "0990139313")) == "0990139313"
    assert len(host.received) == 2


async def test_r10_a_replaced_card_is_believed_only_when_the_answer_is_surely_to_this_question(
    host: Sip2Host, open_libraries: Open
) -> None:
    """Without sequence numbers another number may be a late answer: it is asked again on a new connection."""
    replaced = text_of("valid_replaced_card")
    host.usually = {b"93": plain(b"941"), b"99": host.usually[b"99"], b"63": plain(replaced)}
    host.usually[b"99"] = plain(b"98YNNNYN03000320250911    1015302.00|")
    assert _card(await open_libraries(checksums=False).ask(ISIL, CARD)) == "0990139362"
    assert [len(messages) for messages in host.received] == [3, 3]


async def test_r10_with_its_sequence_number_a_replaced_card_is_believed_at_once(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.usually[b"63"] = checked(text_of("valid_replaced_card"))
    assert _card(await libraries.ask(ISIL, CARD)) == "0990139362"
    assert len(host.questions()) == 1


async def test_a_library_that_refuses_connections_is_left_alone_and_comes_back() -> None:
    port = free_port()
    libraries = home_libraries(
        Directory({ISIL: library(port=port)}, {}, {}), home_library_http, lambda: TODAY
    )
    for _ in range(5):
        assert await libraries.ask(ISIL, CARD) == Unavailable("cannot connect")
    host = Sip2Host()
    host.usually[b"63"] = cards_that_were_asked_about
    async with sip2_host(host, port):
        assert await libraries.ask(ISIL, CARD) == LEFT_ALONE
        assert host.received == []
        await eventually(lambda: _answers(libraries), within=4)
        for _ in range(3):
            assert _card(await libraries.ask(ISIL, CARD)) == CARD
        await libraries.close()


async def test_one_that_hangs_up_on_the_way_in_is_left_alone_too(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.usually[b"93"] = hang_up
    for _ in range(5):
        assert isinstance(await libraries.ask(ISIL, CARD), Unavailable)
    assert await libraries.ask(ISIL, CARD) == LEFT_ALONE
    assert len(host.received) == 5


async def test_hanging_up_over_one_card_keeps_nobody_else_waiting(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.says(b"63", *([hang_up] * 12))
    for _ in range(6):
        assert isinstance(await libraries.ask(ISIL, "0990139370"), Unavailable)
    host.usually[b"63"] = cards_that_were_asked_about
    assert _card(await libraries.ask(ISIL, CARD)) == CARD


def first_five_unreadable(question: bytes) -> list[bytes]:
    card = question.split(b"|AA")[1].split(b"|")[0]
    said = VALID.replace(CARD.encode(), card)
    return [with_checksum(said.replace(b"BLY", b"BLQ") if int(card) < 5 else said, question)]


async def test_r23_a_reply_that_cannot_be_read_is_held_against_nobody_else(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    def unreadable() -> float:
        name = "registration_home_library_unreadable_replies_total"
        return REGISTRY.get_sample_value(name, {"isil": ISIL}) or 0

    before = unreadable()
    host.usually[b"63"] = first_five_unreadable
    verdicts = [await libraries.ask(ISIL, f"{number:010}") for number in range(40)]
    assert verdicts[:5] == [Unavailable("reply cannot be understood")] * 5
    assert all(isinstance(verdict, Valid) for verdict in verdicts[5:])
    assert unreadable() - before == 5


async def test_one_that_speaks_something_else_on_the_way_in_is_left_alone(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    host.usually[b"93"] = lambda _question: [b"HTTP/1.1 400 Bad Request\r\n\r\n"]
    for _ in range(5):
        assert await libraries.ask(ISIL, CARD) == Unavailable("reply cannot be understood")
    assert await libraries.ask(ISIL, CARD) == LEFT_ALONE


async def test_verdicts_and_seconds_are_counted_for_each_library(
    host: Sip2Host, libraries: DirectoryHomeLibraries
) -> None:
    def counted(verdict: str) -> float:
        labels = {"isil": ISIL, "verdict": verdict}
        return REGISTRY.get_sample_value("registration_home_library_seconds_count", labels) or 0

    before = {verdict: counted(verdict) for verdict in ("valid", "not_found", "unavailable")}
    host.says(b"63", checked(VALID), checked(VALID), checked(text_of("not_found")), hang_up, hang_up)
    for _ in range(4):
        await libraries.ask(ISIL, CARD)
    more = {verdict: counted(verdict) - known for verdict, known in before.items()}
    assert more == {"valid": 2, "not_found": 1, "unavailable": 1}


async def test_no_library_slows_another(host: Sip2Host) -> None:
    host.usually[b"63"] = cards_that_were_asked_about
    async with sip2_host(Sip2Host()) as other:
        other.usually[b"99"] = silence
        directory = Directory(
            {ISIL: library(port=host.port), "NL-083424": library(port=other.port, connect_seconds=20)}, {}, {}
        )
        libraries = home_libraries(directory, home_library_http, lambda: TODAY)
        waiting = [asyncio.create_task(libraries.ask("NL-083424", CARD)) for _ in range(20)]
        await eventually(lambda: other.received)
        assert _card(await libraries.ask(ISIL, CARD)) == CARD
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await libraries.close()


def _card(verdict: Verdict) -> str | None:
    assert isinstance(verdict, Valid), verdict
    return verdict.canonical_card_number


async def _answers(libraries: DirectoryHomeLibraries) -> bool:
    return isinstance(await libraries.ask(ISIL, CARD), Valid)
