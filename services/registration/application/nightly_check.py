"""Ask all home libraries about all guests, each night or by hand, in one process at a time (R12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from uuid import UUID, uuid4

import structlog

from registration.application.check_term import Answer, carry_out
from registration.application.dependencies import Context, Dependencies
from registration.application.membership import current_isil
from registration.application.nightly_report import DueGuest, NightlyChecks, NightlyReport
from registration.application.personal_data import decrypt_card
from registration.domain.errors import GuestNotFound, UnknownHomeLibrary
from registration.domain.term_check import NightlyCheck, Tally, decide, due_at
from registration.domain.verdict import Unavailable, Valid
from shared.event_log import DecryptionFailed, LogOverloaded, Metadata
from shared.kernel.amsterdam import day_of
from shared.platform.leases import Leases, run_once

log = structlog.get_logger(__name__)

PAGE = 50
"""Guests of a library whose answers are remembered together; after a kill two pages may be asked twice."""

TRY_AGAIN_AFTER = 3.0
"""Seconds after all others are done: a library that failed gets a second chance in the same run."""

BEFORE_ALL = UUID(int=0)


CHANGES_AT_ONCE = 200
"""Guests whose term changes are written together; the counter's own writes must still fit beside them."""


@dataclass(frozen=True, slots=True)
class NightlyRun:
    """One run. `told` hears how many more guests are dealt with.

    `problems` say, by library, why guests are left; of those in `left_alone` nothing more is asked.
    """

    nightly: NightlyCheck
    metadata: Metadata
    nightly_checks: NightlyChecks
    deps: Dependencies
    told: Callable[[int], None]
    problems: dict[str, str] = field(default_factory=dict)
    left_alone: set[str] = field(default_factory=set)
    changing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHANGES_AT_ONCE))


async def check_all_terms(
    nightly: NightlyCheck,
    metadata: Metadata,
    nightly_checks: NightlyChecks,
    deps: Dependencies,
    told: Callable[[int], None] = lambda _: None,
) -> None:
    """Ask about every guest who is due and was not answered for tonight; run again, it goes on where it was.

    All libraries at once, each as many questions at a time as it takes, so that none waits for another. One
    that stops answering is left alone, and asked again when the others are done. How it went: `nights.last`.
    """
    run = NightlyRun(nightly, metadata, nightly_checks, deps, told)
    await nightly_checks.begin(nightly, deps.clock.now())
    isils = _by_library(await nightly_checks.due(nightly), deps)
    await _ask_libraries(isils, run)
    if again := {library: isils[library] for library in isils if library in run.problems}:
        await asyncio.sleep(TRY_AGAIN_AFTER)
        run.problems.clear()
        run.left_alone.clear()
        await _ask_libraries(again, run)
    problems = {isil: why for library, why in run.problems.items() for isil in isils[library]}
    await nightly_checks.end(nightly, deps.clock.now(), problems)


def _by_library(due: Mapping[str, int], deps: Dependencies) -> dict[str, list[str]]:
    """Group the libraries under which guests registered by the one that answers for them now (R3)."""
    isils: dict[str, list[str]] = {}
    for isil in due:
        isils.setdefault(current_isil(isil, deps).base, []).append(isil)
    return isils


async def _ask_libraries(isils: Mapping[str, Sequence[str]], run: NightlyRun) -> None:
    async with asyncio.TaskGroup() as libraries:
        for library, merged in isils.items():
            libraries.create_task(_ask_library(library, merged, run))


async def _ask_library(library: str, isils: Sequence[str], run: NightlyRun) -> None:
    try:
        connections = run.deps.home_libraries.connections(library)
    except UnknownHomeLibrary:
        run.problems[library] = "not in the settings"
        return
    for isil in isils:
        await _ask_by_page(library, isil, connections, run)


async def _ask_by_page(library: str, isil: str, connections: int, run: NightlyRun) -> None:
    """Page after page: while home answers for one, the next is read and the last one is remembered."""
    async with asyncio.TaskGroup() as beside:
        page = await run.nightly_checks.page(run.nightly, isil, BEFORE_ALL, PAGE)
        remembered: asyncio.Task[None] | None = None
        while page and library not in run.left_alone:
            following = beside.create_task(
                run.nightly_checks.page(run.nightly, isil, page[-1].guest_id, PAGE)
            )
            cards = await _cards(page, run.deps)
            answers = await _ask(library, cards, connections, run)
            if remembered is not None:
                await remembered
            remembered = beside.create_task(_remember(isil, page, cards, answers, run))
            page = await following


async def _ask(
    library: str, cards: Mapping[UUID, str], connections: int, run: NightlyRun
) -> dict[UUID, Answer]:
    """Ask about these guests, so many questions at once; without answers once the library is left alone."""
    to_ask, answers = iter(cards.items()), dict[UUID, Answer]()

    async def keep_asking() -> None:
        for guest_id, card_number in to_ask:
            asked_at = run.deps.clock.now()
            verdict = await run.deps.home_libraries.ask(library, card_number)
            if isinstance(verdict, Unavailable):
                if not verdict.asked:
                    run.left_alone.add(library)
                    run.problems.setdefault(library, verdict.reason)
                    return
                run.problems[library] = verdict.reason
            answers[guest_id] = Answer(verdict, asked_at)

    await asyncio.gather(*(keep_asking() for _ in range(connections)))
    return answers


async def _remember(
    isil: str,
    page: Sequence[DueGuest],
    cards: Mapping[UUID, str],
    answers: dict[UUID, Answer],
    run: NightlyRun,
) -> None:
    """Do what the answers of a page mean, then remember and count them; who cannot be changed stays due."""
    library = current_isil(isil, run.deps).base
    guests, tally, changed = {each.guest_id: each for each in page}, Tally(), dict[UUID, asyncio.Task[bool]]()
    decisions = {
        guest_id: decide(
            answer.verdict, guests[guest_id].status, guests[guest_id].term, day_of(answer.asked_at)
        )
        for guest_id, answer in answers.items()
    }
    async with asyncio.TaskGroup() as changes:
        for guest_id, answer in answers.items():
            if decisions[guest_id] or _is_new_number(answer, cards[guest_id]):
                changed[guest_id] = changes.create_task(_change(library, guests[guest_id], answer, run))
    for guest_id in [guest_id for guest_id, done in changed.items() if not done.result()]:
        del answers[guest_id]
    for guest_id, answer in answers.items():
        tally.count(answer.verdict, decisions[guest_id], failed_before=guests[guest_id].failed_before)
    if answers:
        checks = {guest_id: answer.outcome() for guest_id, answer in answers.items()}
        await run.nightly_checks.record(run.nightly, isil, checks, tally)
        run.told(len(checks))


async def _cards(page: Sequence[DueGuest], deps: Dependencies) -> Mapping[UUID, str]:
    """Open the card numbers of those who are to be asked about; whoever was erased has no key any more.

    The list of the due shows whether an answer changes anything: the guest's own stream is read only then,
    and decides. A night in which nothing happens reads no stream.
    """
    keys = await deps.data_keys.get_all([each.guest_id for each in page])
    cards: dict[UUID, str] = {}
    for each in page:
        if each.guest_id not in keys:
            continue
        try:
            cards[each.guest_id] = decrypt_card(each.sealed_card, keys[each.guest_id]).number
        except DecryptionFailed:
            log.error("card_cannot_be_opened", guest_id=str(each.guest_id))
    return cards


def _is_new_number(answer: Answer, card_number: str) -> bool:
    """Say whether home answers with another number than it was asked about (R10)."""
    verdict = answer.verdict
    return isinstance(verdict, Valid) and verdict.canonical_card_number != card_number


async def _change(library: str, guest: DueGuest, answer: Answer, run: NightlyRun) -> bool:
    """Decide again on the guest as it is by now, and save it; the counter may have been first.

    False when this one guest cannot be changed now: that stops neither its library nor the night.
    """
    async with run.changing:
        context = Context(guest.organisation, run.metadata)
        try:
            await carry_out(guest.guest_id, answer, context, run.deps)
        except (GuestNotFound, LogOverloaded, DecryptionFailed) as error:
            log.warning("term_change_failed", guest_id=str(guest.guest_id), error=type(error).__name__)
            run.problems.setdefault(library, "a guest could not be changed: see the log")
            return False
    return True


TASK = "nightly check"
TRY_AGAIN_EVERY = timedelta(minutes=15)
"""How long a library that did not answer is left alone before the same night asks it again."""


async def run_when_due(
    starts_at: time, nightly_checks: NightlyChecks, leases: Leases, deps: Dependencies
) -> None:
    """Run when it is time: once a night, and again for libraries that did not answer, until the morning."""
    now = deps.clock.now()
    nightly = due_at(now, starts_at)
    if nightly is None:
        return
    last = await nightly_checks.last()
    if last is not None and last.nightly == nightly and (last.is_complete or _was_just_tried(last, now)):
        return
    await run_nightly_check(nightly, "nightly", nightly_checks, leases, deps)


def _was_just_tried(last: NightlyReport, now: datetime) -> bool:
    return last.ended_at is not None and now - last.ended_at < TRY_AGAIN_EVERY


async def run_nightly_check(
    nightly: NightlyCheck,
    caused_by: str,
    nightly_checks: NightlyChecks,
    leases: Leases,
    deps: Dependencies,
    *,
    told: Callable[[int], None] = lambda _: None,
) -> NightlyReport | None:
    """Run now, and report; None when another process is at it, or took over."""
    metadata = Metadata(caused_by, uuid4())
    done = await run_once(
        leases, TASK, lambda _: check_all_terms(nightly, metadata, nightly_checks, deps, told)
    )
    return await nightly_checks.last() if done else None
