"""Ask all home libraries about all guests, each night or by hand, in one process at a time (R12)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from functools import partial
from uuid import UUID, uuid4

from registration.application.dependencies import Context, Dependencies
from registration.application.home_reply import HomeReply, apply_reply
from registration.application.membership import current_isil
from registration.application.nightly_report import DueGuest, NightlyChecks, NightlyReport
from registration.application.repository import decrypt_card
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.term_check import NightlyCheck, Tally, decide, due_at
from registration.domain.verdict import Unavailable, Valid
from shared.event_log import Metadata, SubjectFailures
from shared.kernel.amsterdam import day_of
from shared.platform import limits
from shared.platform.leases import Lease, Leases, run_once

PAGE = 50
"""Guests of a library whose replies are stored together; after a kill at most two pages are asked again."""

SECOND_TRY_SECONDS = 3.0
"""Pause after all others are done: then a library that failed gets a second try in the same run."""

BEFORE_ALL = UUID(int=0)

SKIPPED = "a guest could not be read or changed: see the log"


CHANGES_AT_ONCE = 200
"""Guests that are changed at the same time; this leaves room for the counter's own writes."""


async def _nothing() -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class NightlyRun:
    """One run. `on_progress` is called with the number of guests checked since the last call.

    `on_reply` is called after each reply of a library, or after the wait for it.

    `problems`: library -> why guests are left. Libraries in `left_alone` are not asked again. Guests in
    `failures` were skipped.
    """

    nightly: NightlyCheck
    metadata: Metadata
    nightly_checks: NightlyChecks
    deps: Dependencies
    on_progress: Callable[[int], None]
    on_reply: Callable[[], Awaitable[None]] = _nothing
    problems: dict[str, str] = field(default_factory=dict)
    left_alone: set[str] = field(default_factory=set)
    failures: SubjectFailures = field(default_factory=lambda: SubjectFailures("nightly check"))
    changing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHANGES_AT_ONCE))


async def check_all_terms(
    nightly: NightlyCheck,
    metadata: Metadata,
    nightly_checks: NightlyChecks,
    deps: Dependencies,
    on_progress: Callable[[int], None] = lambda _: None,
    *,
    on_reply: Callable[[], Awaitable[None]] = _nothing,
) -> None:
    """Check every guest that is due and was not checked tonight; another run continues where this one ended.

    All libraries are asked in parallel, each with as many requests at once as it accepts, so that none waits
    for another. A library that stops replying is left alone, and asked again when the others are done. The
    outcome is in the last report of `nightly_checks`.
    """
    run = NightlyRun(nightly, metadata, nightly_checks, deps, on_progress, on_reply)
    await nightly_checks.begin(nightly, deps.clock.now())
    isils = _by_library(await nightly_checks.due(nightly), deps)
    await _ask_libraries(isils, run)
    if again := {library: isils[library] for library in isils if library in run.problems}:
        await asyncio.sleep(SECOND_TRY_SECONDS)
        run.problems.clear()
        run.left_alone.clear()
        await _ask_libraries(again, run)
    problems = {isil: why for library, why in run.problems.items() for isil in isils[library]}
    await nightly_checks.end(nightly, deps.clock.now(), problems)


def _by_library(due: Mapping[str, int], deps: Dependencies) -> dict[str, list[str]]:
    """Group the ISILs under which guests registered by the library that has them now (R3)."""
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
        run.problems[library] = "not in the file of home libraries"
        return
    for isil in isils:
        await _ask_by_page(library, isil, connections, run)


async def _ask_by_page(library: str, isil: str, connections: int, run: NightlyRun) -> None:
    """Ask page by page: during one page the next one is read and the last one is stored."""
    async with asyncio.TaskGroup() as beside:
        page = await run.nightly_checks.page(run.nightly, isil, BEFORE_ALL, PAGE)
        stored: asyncio.Task[None] | None = None
        while page and library not in run.left_alone:
            following = beside.create_task(
                run.nightly_checks.page(run.nightly, isil, page[-1].guest_id, PAGE)
            )
            cards = await _cards(library, page, run)
            replies = await _ask(library, cards, connections, run)
            if stored is not None:
                await stored
            stored = beside.create_task(_store(isil, page, cards, replies, run))
            page = await following


async def _ask(
    library: str, cards: Mapping[UUID, str], connections: int, run: NightlyRun
) -> dict[UUID, HomeReply]:
    """Ask about these guests with so many requests at once; stop when the library is left alone."""
    to_ask, replies = iter(cards.items()), dict[UUID, HomeReply]()

    async def keep_asking() -> None:
        for guest_id, card_number in to_ask:
            asked_at = run.deps.clock.now()
            verdict = await run.deps.home_libraries.ask(library, card_number)
            await run.on_reply()
            if isinstance(verdict, Unavailable):
                if not verdict.asked:
                    run.left_alone.add(library)
                    run.problems.setdefault(library, verdict.reason)
                    return
                run.problems[library] = verdict.reason
            replies[guest_id] = HomeReply(verdict, asked_at)

    await asyncio.gather(*(keep_asking() for _ in range(connections)))
    return replies


async def _store(
    isil: str,
    page: Sequence[DueGuest],
    cards: Mapping[UUID, str],
    replies: dict[UUID, HomeReply],
    run: NightlyRun,
) -> None:
    """Apply the replies of a page, then store and count them; a guest that cannot be changed stays due."""
    library = current_isil(isil, run.deps).base
    guests, tally, changed = (
        {guest.guest_id: guest for guest in page},
        Tally(),
        dict[UUID, asyncio.Task[bool]](),
    )
    decisions = {
        guest_id: decide(
            reply.verdict, guests[guest_id].status, guests[guest_id].term, day_of(reply.asked_at)
        )
        for guest_id, reply in replies.items()
    }
    async with asyncio.TaskGroup() as changes:
        for guest_id, reply in replies.items():
            if decisions[guest_id] or _is_new_number(reply, cards[guest_id]):
                changed[guest_id] = changes.create_task(_change(library, guests[guest_id], reply, run))
    for guest_id in [guest_id for guest_id, done in changed.items() if not done.result()]:
        del replies[guest_id]
    for guest_id, reply in replies.items():
        tally.count(reply.verdict, decisions[guest_id], failed_before=guests[guest_id].failed_before)
    if replies:
        checks = {guest_id: reply.outcome() for guest_id, reply in replies.items()}
        await run.nightly_checks.record(run.nightly, isil, checks, tally)
        run.on_progress(len(checks))


async def _cards(library: str, page: Sequence[DueGuest], run: NightlyRun) -> Mapping[UUID, str]:
    """Decrypt the card numbers of the guests to ask about; an erased guest has no key and is left out.

    The list of due guests shows whether a reply changes anything. Only then the guest's stream is read and
    decides, so a night without changes reads no stream.
    """
    keys = await run.deps.data_keys.get_all([guest.guest_id for guest in page], run.failures)
    cards: dict[UUID, str] = {}
    for guest in page:
        if guest.guest_id in keys:
            with run.failures.skip(guest.guest_id):
                cards[guest.guest_id] = decrypt_card(guest.sealed_card, keys[guest.guest_id]).number
    if any(guest.guest_id in run.failures.by_subject for guest in page):
        run.problems.setdefault(library, SKIPPED)
    return cards


def _is_new_number(reply: HomeReply, card_number: str) -> bool:
    """Return whether the reply has another card number than the request (R10)."""
    verdict = reply.verdict
    return isinstance(verdict, Valid) and verdict.canonical_card_number != card_number


async def _change(library: str, guest: DueGuest, reply: HomeReply, run: NightlyRun) -> bool:
    """Decide again on the guest's present state, and save it: the counter may have changed it meanwhile.

    Returns False when this guest cannot be changed now; that stops neither its library nor the run.
    """
    async with run.changing:
        context = Context(guest.organisation, run.metadata)
        with run.failures.skip(guest.guest_id):
            await apply_reply(guest.guest_id, reply, context, run.deps)
            return True
    run.problems.setdefault(library, SKIPPED)
    return False


TASK = "nightly check"
RETRY_INTERVAL = timedelta(minutes=15)
"""Pause before the same night asks a library again that did not reply."""


async def run_when_due(
    starts_at: time, nightly_checks: NightlyChecks, leases: Leases, deps: Dependencies
) -> None:
    """Run if it is time: once a night, and again for libraries that did not reply, until the morning."""
    now = deps.clock.now()
    nightly = due_at(now, starts_at)
    if nightly is None:
        return
    last = await nightly_checks.last()
    if last is not None and last.nightly == nightly and (last.is_complete or _was_just_tried(last, now)):
        return
    await run_nightly_check(nightly, "nightly", nightly_checks, leases, deps)


def _was_just_tried(last: NightlyReport, now: datetime) -> bool:
    return last.ended_at is not None and now - last.ended_at < RETRY_INTERVAL


async def run_nightly_check(
    nightly: NightlyCheck,
    caused_by: str,
    nightly_checks: NightlyChecks,
    leases: Leases,
    deps: Dependencies,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> NightlyReport | None:
    """Run now and return the report; None when another process runs it or took over."""
    metadata = Metadata(caused_by, uuid4())

    async def check(lease: Lease) -> None:
        keep = partial(leases.keep, lease)
        await check_all_terms(nightly, metadata, nightly_checks, deps, on_progress, on_reply=keep)

    done = await run_once(leases, TASK, check, limits.NIGHTLY_LEASE)
    return await nightly_checks.last() if done else None
