"""What home libraries do, in every protocol alike: each is asked over real TCP (R4, R23, ADR 0028)."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from registration.adapters.home_library.client import DirectoryHomeLibraries, probe_of
from registration.adapters.home_library.probe import ProbeStep
from registration.application.home_reply import HomeReply
from registration.application.repository import Card, PersonalData
from registration.bootstrap import home_library_http
from registration.domain.verdict import (
    Mismatch,
    NotFound,
    NotOfGuest,
    PatronDetails,
    Reason,
    Refused,
    Unavailable,
    Valid,
    Verdict,
)
from tests.contract.home_library.asking import (
    CARD,
    CREDENTIALS,
    DETAILS,
    END,
    OTHER,
    OVER_HTTP,
    TODAY,
    ZOE,
    asked,
)
from tests.support.home_libraries import make_authority
from tests.support.library_hosts import (
    ISIL,
    Answer,
    Kind,
    Koha,
    LibraryHost,
    Sip2,
    half,
    half_and_hang_up,
    hang_up,
    in_pieces,
    library_host,
    raw,
    silence,
    slowly,
)


async def test_r4_valid_with_all_details(libraries: DirectoryHomeLibraries) -> None:
    assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, END, CARD)


async def test_r12_valid_without_an_end(host: LibraryHost, libraries: DirectoryHomeLibraries) -> None:
    host.says(host.kind.knows(replace(ZOE, ends_on=None)))
    assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, None, CARD)


async def test_r11_a_guest_subscription(host: LibraryHost, libraries: DirectoryHomeLibraries) -> None:
    host.says(host.kind.knows(replace(ZOE, is_guest=True)))
    assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, END, CARD, is_guest_subscription=True)


@pytest.mark.parametrize("reasons", [(Reason.BLOCKED,), (Reason.CARD_LOST,), (Reason.FINES,)])
async def test_r4_refused_with_its_reason(
    host: LibraryHost, libraries: DirectoryHomeLibraries, reasons: tuple[Reason, ...]
) -> None:
    host.says(host.kind.knows(replace(ZOE, blocks=reasons)))
    given = reasons if set(reasons) <= host.kind.reasons else (Reason.BLOCKED,)  # Koha has no word for fines
    assert await libraries.ask(ISIL, CARD) == Refused(given, False, DETAILS, END, CARD)


async def test_r4_refused_with_two_reasons(host: LibraryHost, libraries: DirectoryHomeLibraries) -> None:
    host.says(host.kind.knows(replace(ZOE, blocks=(Reason.BLOCKED, Reason.CARD_LOST))))
    verdict = await libraries.ask(ISIL, CARD)
    assert isinstance(verdict, Refused)
    assert (set(verdict.reasons), verdict.because_ended) == ({Reason.BLOCKED, Reason.CARD_LOST}, False)


async def test_r12_expired(host: LibraryHost, libraries: DirectoryHomeLibraries) -> None:
    ended = date(2025, 9, 10)
    host.says(host.kind.knows(replace(ZOE, ends_on=ended)))
    assert await libraries.ask(ISIL, CARD) == Refused((Reason.EXPIRED,), True, DETAILS, ended, CARD)


async def test_r12_the_last_day_is_a_day_of_the_membership(
    host: LibraryHost, libraries: DirectoryHomeLibraries
) -> None:
    host.says(host.kind.knows(replace(ZOE, ends_on=TODAY)))
    assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, TODAY, CARD)


async def test_r4_not_found(host: LibraryHost, libraries: DirectoryHomeLibraries) -> None:
    host.says(host.kind.whole(host.kind.nobody()))
    assert await libraries.ask(ISIL, CARD) == NotFound()


async def test_r1_the_card_is_asked_about_as_it_is(
    host: LibraryHost, libraries: DirectoryHomeLibraries
) -> None:
    await libraries.ask(ISIL, f" {CARD} ")
    assert [host.kind.asked_card(question) for question in host.questions] == [CARD]


async def test_r4_a_silent_library_is_given_up_and_the_next_question_goes_well(host: LibraryHost) -> None:
    host.says(silence)
    async with asked(host, answer_seconds=0.6) as libraries:
        assert await libraries.ask(ISIL, CARD) == Unavailable("timed out")
        assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, END, CARD)
    assert len(host.questions) == 2


async def test_r4_half_a_reply_never_answers_the_next_question(host: LibraryHost) -> None:
    host.says(half(host.kind.knows(ZOE)))
    async with asked(host, answer_seconds=0.6) as libraries:
        assert await libraries.ask(ISIL, CARD) == Unavailable("timed out")
        assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, END, CARD)


@pytest.mark.parametrize("how", [lambda _whole: hang_up, half_and_hang_up], ids=["at once", "halfway"])
async def test_r4_a_close_is_asked_once_more_and_then_unavailable(
    host: LibraryHost, libraries: DirectoryHomeLibraries, how: Callable[[Answer], Answer]
) -> None:
    closes = how(host.kind.knows(ZOE))
    host.says(closes)
    assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, END, CARD)
    host.says(closes, closes)
    assert await libraries.ask(ISIL, CARD) == Unavailable("closed the connection without a reply")
    assert len(host.questions) == 4


async def test_r4_a_slow_reply_in_time_counts_and_one_too_late_does_not(host: LibraryHost) -> None:
    async with asked(host) as patient:
        host.says(slowly(host.kind.knows(ZOE), 0.2))
        assert await patient.ask(ISIL, CARD) == Valid(DETAILS, END, CARD)
    async with asked(host, answer_seconds=0.3) as hasty:
        host.says(slowly(host.kind.knows(ZOE), 3.0))
        assert await hasty.ask(ISIL, CARD) == Unavailable("timed out")


@pytest.mark.parametrize("size", [1, 50])
async def test_r4_a_reply_in_pieces(host: LibraryHost, libraries: DirectoryHomeLibraries, size: int) -> None:
    host.says(in_pieces(host.kind.knows(ZOE), size))
    assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, END, CARD)


async def test_a_connection_is_kept_and_its_loss_is_not_noticed(
    host: LibraryHost, libraries: DirectoryHomeLibraries
) -> None:
    for _ in range(3):
        assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, END, CARD)
    assert host.connections == 1
    host.hang_up()
    for _ in range(3):
        assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, END, CARD)
    assert host.connections == 2


async def test_no_more_connections_than_agreed(host: LibraryHost) -> None:
    async with asked(host, connections=2) as libraries:
        host.usually = slowly(host.kind.knows(ZOE), 0.02)
        found = await asyncio.gather(*(libraries.ask(ISIL, CARD) for _ in range(12)))
    assert found == [Valid(DETAILS, END, CARD)] * 12
    assert host.most_at_once <= 2
    assert host.connections <= 2


async def test_r10_a_reply_about_another_card(host: LibraryHost, libraries: DirectoryHomeLibraries) -> None:
    """SIP2 proves by its sequence number that the reply is to this question: the card was replaced."""
    host.usually = host.kind.knows(replace(ZOE, number=OTHER))
    verdict = await libraries.ask(ISIL, CARD)
    match host.kind:
        case Sip2():
            assert verdict == Valid(DETAILS, END, OTHER)
        case Koha():
            assert verdict == Unavailable(
                "reply has persons with other cards than the one that was asked about"
            )
        case _:
            assert verdict == Unavailable("reply is about another card than the one that was asked about")
            assert len(host.questions) == 1


async def test_r10_a_late_reply_over_a_kept_connection_is_not_the_next_one(
    host: LibraryHost, libraries: DirectoryHomeLibraries
) -> None:
    """It is asked again on a new connection, unless each reply belongs to its request."""
    assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, END, CARD)
    host.says(host.kind.late(replace(ZOE, number=OTHER)))
    verdict = await libraries.ask(ISIL, CARD)
    if isinstance(host.kind, OVER_HTTP):
        assert isinstance(verdict, Unavailable)
    else:
        assert verdict == Valid(DETAILS, END, CARD)
        assert host.connections == 2


KNOWN = PersonalData(Card(CARD), DETAILS)


def reply_of(verdict: Verdict) -> HomeReply:
    return HomeReply(verdict, datetime(2025, 9, 11, 12, tzinfo=UTC))


async def test_r24_details_and_numbers_follow_home(
    host: LibraryHost, libraries: DirectoryHomeLibraries
) -> None:
    """Koha finds nobody by a number that was replaced, so there the number stays."""
    is_koha = isinstance(host.kind, Koha)
    number = CARD if is_koha else OTHER
    moved = replace(ZOE, name="Zoë Bakker", address=("Kanaal 21", "9301 LS Roden"), email=None)
    host.usually = host.kind.knows(replace(moved, number=number, earlier=None if is_koha else CARD))
    verdict = await libraries.ask(ISIL, CARD)
    assert isinstance(verdict, Valid)
    assert reply_of(verdict).is_news(KNOWN)
    followed = KNOWN.followed_by(verdict)
    assert followed.details == PatronDetails("Zoë Bakker", date(1968, 4, 17), "Kanaal 21, 9301 LS Roden")
    assert followed.card.number == number


async def test_r25_another_person_on_this_card_is_not_the_guest(
    host: LibraryHost, libraries: DirectoryHomeLibraries
) -> None:
    host.usually = host.kind.knows(replace(ZOE, name="Bas Smit", birth_date=date(2001, 1, 30)))
    reply = reply_of(await libraries.ask(ISIL, CARD)).about(KNOWN)
    assert reply.verdict == NotOfGuest(Mismatch.OTHER_PERSON)


async def test_r23_an_unreadable_card_does_not_count_against_the_library(
    host: LibraryHost, libraries: DirectoryHomeLibraries
) -> None:
    host.says(*[host.kind.whole(host.kind.unreadable(ZOE))] * 6)
    for _ in range(6):
        assert await libraries.ask(ISIL, CARD) == Unavailable("reply cannot be understood")
    assert not libraries.states()[ISIL].left_alone
    assert await libraries.ask(ISIL, CARD) == Valid(DETAILS, END, CARD)


async def test_r4_a_library_that_stays_silent_is_left_alone(host: LibraryHost) -> None:
    host.usually = silence
    async with asked(host, answer_seconds=0.05) as libraries:
        for _ in range(5):
            assert await libraries.ask(ISIL, CARD) == Unavailable("timed out")
        assert libraries.states()[ISIL].left_alone
        asked_before = len(host.questions)
        verdict = await libraries.ask(ISIL, CARD)
        assert isinstance(verdict, Unavailable)
        assert not verdict.asked
        assert len(host.questions) == asked_before


@pytest.mark.parametrize("name", ["home.example", "other.example"])
async def test_a_certificate_is_checked_before_anything_is_said(
    kind: Kind, tmp_path: Path, name: str
) -> None:
    authority = make_authority(tmp_path)
    async with library_host(kind, tls=authority.server("home.example")) as host:
        host.usually = kind.knows(ZOE)
        tls = {"tls": True, "tls_ca_file": authority.file, "tls_server_name": name}
        async with asked(host, **tls) as libraries:
            verdict = await libraries.ask(ISIL, CARD)
    if name == "home.example":
        assert verdict == Valid(DETAILS, END, CARD)
    else:
        assert verdict == Unavailable("certificate is not trusted")
        assert host.questions == []


async def steps_of(host: LibraryHost, **settings: object) -> list[ProbeStep]:
    library = host.kind.library(host.port, **settings)
    credentials = CREDENTIALS if library.username_env else None
    probe = probe_of(library, credentials, CARD, TODAY, home_library_http)
    return [step async for step in probe.steps()]


async def test_a_probe_is_green_and_hides_what_is_secret(host: LibraryHost) -> None:
    steps = await steps_of(host)
    assert all(step.ok for step in steps)
    assert (steps[0].step, steps[-1].step) == ("connect", "verdict")
    assert steps[-1].found == "valid; ends on 2027-12-31"
    wire = "".join(frame.text for step in steps for frame in step.wire)
    assert "Brouw" in wire
    assert CARD in wire
    assert [secret for secret in ("gast", "geheim", "een-heel") if secret in wire] == []


@pytest.mark.parametrize(
    ("answer", "step", "advice"),
    [
        (silence, "ask", "answer_seconds"),
        (hang_up, "ask", ""),
        (raw(b"hallo\r\n\r\n"), "ask", "report|check host"),
    ],
    ids=["silent", "closed", "another protocol"],
)
async def test_a_probe_says_what_to_do(host: LibraryHost, answer: Answer, step: str, advice: str) -> None:
    host.usually = answer
    steps = await steps_of(host, answer_seconds=0.2 if answer is silence else 10.0)
    failed = next(found for found in steps if not found.ok)
    assert failed.step in {step, "verdict"}
    assert failed.advice
    assert any(word in failed.advice for word in advice.split("|"))


async def test_the_connections_of_a_closed_library_are_gone(kind: Kind) -> None:
    async with AsyncExitStack() as opened:
        host = await opened.enter_async_context(library_host(kind))
        host.usually = kind.knows(ZOE)
        async with asked(host) as libraries:
            await asyncio.gather(*(libraries.ask(ISIL, CARD) for _ in range(3)))
        for _ in range(200):
            if host.open_connections == 0:
                break
            await asyncio.sleep(0.01)
        assert host.open_connections == 0
