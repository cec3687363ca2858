"""Ask all home libraries about all guests, each night or by hand, in one process at a time (R12)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from functools import partial
from uuid import UUID, uuid4

from registration.application.dependencies import Context, Dependencies
from registration.application.home_reply import HomeReply, apply_reply
from registration.application.membership import current_isil
from registration.application.nightly_report import DueGuest, NightlyChecks, NightlyReport, Place, Turn
from registration.application.repository import PersonalData, decrypt_card, decrypt_details
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.term_check import Decision, NightlyCheck, Tally, decide, due_at, too_many_not_found
from registration.domain.verdict import NotFound, PatronDetails, Refused, Unavailable, Valid
from shared.event_log import DataKey, Metadata, SubjectFailures
from shared.kernel.amsterdam import day_of
from shared.platform import limits
from shared.platform.leases import Lease, Leases, run_once

PAGE = 50
"""Guests of a library whose replies are stored together.

After a kill at most two pages are asked again, and those who were not found.
"""

SECOND_TRY_SECONDS = 3.0
"""Pause after all others are done: then a library that failed gets a second try in the same run."""

FIRST_TRY = (Turn.FIRST, Turn.LAST, Turn.AGAIN)
SECOND_TRY = (*FIRST_TRY, Turn.NOW)

SKIPPED = "a guest could not be read or changed: see the log"


CHANGES_AT_ONCE = 200
"""Guests that are changed at the same time; this leaves room for the counter's own writes."""


READS_AT_ONCE = 6
"""Pages that are read or stored at the same time. A night begins with all libraries at once: they wait
here, in turn, because the wait for a connection of the pool is limited."""


async def _nothing() -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class NotFoundReplies:
    """The guests who were not found at one library, until the library is done (R12).

    A library whose system fails may say *not found* of everybody. So the replies are kept back: if there are
    too many, none of them is believed. `guests`: of this library tonight. `before`: replies earlier tonight.
    """

    guests: int
    before: int
    now: int = 0
    by_isil: dict[str, dict[DueGuest, HomeReply]] = field(default_factory=dict)

    def are_too_many(self, percent: int) -> bool:
        """Return whether the replies are not believed."""
        return too_many_not_found(self.before + self.now, self.guests, percent)

    @property
    def problem(self) -> str:
        """The text of the report."""
        return (
            f"stopped: not found was said of {self.before + self.now} of {self.guests} guests, so its system"
            " may be failing; no guest was changed by that"
        )


NOT_BELIEVED = Unavailable("said not found of too many guests")


@dataclass(frozen=True, slots=True)
class NightlyRun:
    """One run. `on_progress` is called with the number of guests checked since the last call.

    `on_reply` is called after each reply of a library, or after the wait for it.

    `problems`: library -> why guests are left. Libraries in `left_alone` are not asked again in this try,
    those in `stopped` not in this run. Guests in `failures` were skipped.
    """

    nightly: NightlyCheck
    began: datetime
    metadata: Metadata
    nightly_checks: NightlyChecks
    deps: Dependencies
    on_progress: Callable[[int], None]
    on_reply: Callable[[], Awaitable[None]] = _nothing
    problems: dict[str, str] = field(default_factory=dict)
    left_alone: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)
    not_found: dict[str, NotFoundReplies] = field(default_factory=dict)
    failures: SubjectFailures = field(default_factory=lambda: SubjectFailures("nightly check"))
    changing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHANGES_AT_ONCE))
    reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READS_AT_ONCE))


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
    for another. A library that stops replying is left alone. Guests without a reply are asked about once
    more at the end. The outcome is in the last report of `nightly_checks`.
    """
    began = deps.clock.now()
    # One table for all of the run: libraries that merge meanwhile count from the next one on.
    deps = replace(deps, isil_aliases=dict(deps.isil_aliases))
    run = NightlyRun(nightly, began, metadata, nightly_checks, deps, on_progress, on_reply)
    await nightly_checks.begin(nightly, began)
    due = await nightly_checks.due(nightly)
    isils = _by_library(due, deps)
    run.not_found.update(await _not_found_before(isils, due, run))
    await _ask_libraries(isils, FIRST_TRY, run)
    left = _by_library(await nightly_checks.due(nightly), deps)
    if again := {library: isils[library] for library in left.keys() & isils.keys() - run.stopped}:
        await asyncio.sleep(SECOND_TRY_SECONDS)
        for library in again:
            run.problems.pop(library, None)
        run.left_alone.clear()
        await _ask_libraries(again, SECOND_TRY, run)
    problems = {isil: why for library, why in run.problems.items() for isil in isils.get(library, ())}
    await nightly_checks.end(nightly, deps.clock.now(), problems)


async def _not_found_before(
    isils: Mapping[str, Sequence[str]], due: Mapping[str, int], run: NightlyRun
) -> dict[str, NotFoundReplies]:
    """Count the guests of each library tonight, and those who were not found there so far."""
    report = await run.nightly_checks.last()
    libraries = report.libraries if report is not None and report.nightly == run.nightly else ()
    tallies = {library.home_isil: library.tally for library in libraries}
    found: dict[str, NotFoundReplies] = {}
    for library, merged in isils.items():
        replied = [tallies[isil] for isil in merged if isil in tallies]
        guests = sum(due[isil] for isil in merged) + sum(tally.asked - tally.failed for tally in replied)
        found[library] = NotFoundReplies(guests, sum(tally.not_found for tally in replied))
    return found


def _by_library(due: Mapping[str, int], deps: Dependencies) -> dict[str, list[str]]:
    """Group the ISILs under which guests registered by the library that has them now (R3)."""
    isils: dict[str, list[str]] = {}
    for isil in due:
        isils.setdefault(current_isil(isil, deps).base, []).append(isil)
    return isils


async def _ask_libraries(isils: Mapping[str, Sequence[str]], turns: Sequence[Turn], run: NightlyRun) -> None:
    async with asyncio.TaskGroup() as libraries:
        for library, merged in isils.items():
            libraries.create_task(_ask_library(library, merged, turns, run))


async def _ask_library(library: str, isils: Sequence[str], turns: Sequence[Turn], run: NightlyRun) -> None:
    try:
        connections = run.deps.home_libraries.connections(library)
    except UnknownHomeLibrary:
        _leave_out(library, run)
        return
    for turn in turns:
        for isil in isils:
            await _ask_by_page(library, isil, Place(turn, run.began), connections, run)
    await _store_not_found(library, run)


async def _ask_by_page(library: str, isil: str, place: Place, connections: int, run: NightlyRun) -> None:
    """Ask page by page: during one page the next one is read and the last one is stored."""
    async with asyncio.TaskGroup() as beside:
        page = await _page(isil, place, run)
        stored: asyncio.Task[None] | None = None
        while page and library not in run.left_alone:
            following = beside.create_task(_page(isil, replace(place, after=page[-1].guest_id), run))
            people = await _people(library, page, run)
            replies = await _ask(library, people, connections, run)
            if stored is not None:
                await stored
            stored = beside.create_task(_store(isil, page, people, replies, run))
            page = await following


async def _page(isil: str, place: Place, run: NightlyRun) -> Sequence[DueGuest]:
    async with run.reading:
        return await run.nightly_checks.page(run.nightly, isil, place, PAGE)


async def _ask(
    library: str, people: Mapping[UUID, PersonalData], connections: int, run: NightlyRun
) -> dict[UUID, HomeReply]:
    """Ask about these guests with so many requests at once; stop when the library is left alone."""
    to_ask, replies = iter(people.items()), dict[UUID, HomeReply]()

    async def keep_asking() -> None:
        for guest_id, person in to_ask:
            if library in run.stopped:
                return
            asked_at = run.deps.clock.now()
            try:
                verdict = await run.deps.home_libraries.ask(library, person.card.number)
            except UnknownHomeLibrary:  # the file lost it since the check began
                _leave_out(library, run)
                return
            await run.on_reply()
            if isinstance(verdict, Unavailable):
                if not verdict.asked:
                    run.left_alone.add(library)
                    run.problems.setdefault(library, verdict.reason)
                    return
                run.problems[library] = verdict.reason
            replies[guest_id] = HomeReply(verdict, asked_at)
            if isinstance(verdict, NotFound):
                _count_not_found(library, run)

    await asyncio.gather(*(keep_asking() for _ in range(connections)))
    return replies


def _leave_out(library: str, run: NightlyRun) -> None:
    run.left_alone.add(library)
    run.problems[library] = "not in the file of home libraries"


def _count_not_found(library: str, run: NightlyRun) -> None:
    """Stop at this library when it does not know too many of its guests."""
    not_found = run.not_found[library]
    not_found.now += 1
    if not_found.are_too_many(run.deps.nightly_not_found_percent):
        run.stopped.add(library)
        run.left_alone.add(library)
        run.problems[library] = not_found.problem


async def _store(
    isil: str,
    page: Sequence[DueGuest],
    people: Mapping[UUID, PersonalData],
    replies: dict[UUID, HomeReply],
    run: NightlyRun,
) -> None:
    """Apply the replies of a page, then store and count them; a guest that cannot be changed stays due."""
    library = current_isil(isil, run.deps).base
    guests = {guest.guest_id: guest for guest in page}
    changed: dict[UUID, asyncio.Task[HomeReply | None]] = {}
    kept_back = run.not_found[library].by_isil.setdefault(isil, {})
    async with asyncio.TaskGroup() as changes:
        for guest_id, reply in list(replies.items()):
            guest = guests[guest_id]
            if isinstance(reply.verdict, NotFound):
                kept_back[guest] = replies.pop(guest_id)
            elif _decisions(guest, reply) or _is_news(guest, people[guest_id], reply):
                changed[guest_id] = changes.create_task(_change(library, guest, replies.pop(guest_id), run))
    done = {guest_id: about for guest_id, task in changed.items() if (about := task.result()) is not None}
    await _record(isil, {guests[guest_id]: about for guest_id, about in (replies | done).items()}, run)


async def _store_not_found(library: str, run: NightlyRun) -> None:
    """Store the replies that were kept back. Those that are not believed leave the guests due."""
    not_found, stopped = run.not_found[library], library in run.stopped
    for isil, replies in not_found.by_isil.items():
        believed = {
            guest: HomeReply(NOT_BELIEVED, reply.asked_at) if stopped else reply
            for guest, reply in replies.items()
        }
        await _record(isil, believed, run)
    not_found.by_isil.clear()


async def _record(isil: str, replies: Mapping[DueGuest, HomeReply], run: NightlyRun) -> None:
    tally = Tally()
    for guest, reply in replies.items():
        tally.count(reply.verdict, _decisions(guest, reply), failed_before=guest.failed_before)
    if replies:
        checks = {guest.guest_id: reply.outcome() for guest, reply in replies.items()}
        async with run.reading:
            await run.nightly_checks.record(run.nightly, isil, checks, tally)
        run.on_progress(len(checks))


def _decisions(guest: DueGuest, reply: HomeReply) -> Sequence[Decision]:
    return decide(reply.verdict, guest.status, guest.term, day_of(reply.asked_at))


def _is_news(guest: DueGuest, person: PersonalData, reply: HomeReply) -> bool:
    """Return whether only the guest's stream can say what is to be done with the reply (R24, R25)."""
    if guest.sealed_details is None:
        return isinstance(reply.verdict, Valid | Refused)
    return reply.is_news(person)


async def _people(library: str, page: Sequence[DueGuest], run: NightlyRun) -> Mapping[UUID, PersonalData]:
    """Decrypt what is known of the guests to ask about; an erased guest has no key and is left out.

    The list of due guests shows whether a reply changes anything. Only then the guest's stream is read and
    decides, so a night without changes reads no stream.
    """
    async with run.reading:
        keys = await run.deps.data_keys.get_all([guest.guest_id for guest in page], run.failures)
    people: dict[UUID, PersonalData] = {}
    for guest in page:
        if guest.guest_id in keys:
            with run.failures.skip(guest.guest_id):
                people[guest.guest_id] = _person(guest, keys[guest.guest_id])
    if any(guest.guest_id in run.failures.by_subject for guest in page):
        run.problems.setdefault(library, SKIPPED)
    return people


def _person(guest: DueGuest, key: DataKey) -> PersonalData:
    sealed = guest.sealed_details
    details = PatronDetails("") if sealed is None else decrypt_details(sealed, key)
    return PersonalData(decrypt_card(guest.sealed_card, key), details)


async def _change(library: str, guest: DueGuest, reply: HomeReply, run: NightlyRun) -> HomeReply | None:
    """Decide again on the guest's present state, and save it: the counter may have changed it meanwhile.

    Returns the reply as it is about this guest; None when the guest cannot be changed now, which stops
    neither its library nor the run.
    """
    async with run.changing:
        context = Context(guest.organisation, run.metadata)
        with run.failures.skip(guest.guest_id):
            _, about = await apply_reply(guest.guest_id, reply, context, run.deps)
            return about
    run.problems.setdefault(library, SKIPPED)
    return None


TASK = "nightly check"
RETRY_INTERVAL = timedelta(minutes=15)
"""Pause before the same night asks a library again that did not reply."""


async def run_when_due(
    starts_at: time, nightly_checks: NightlyChecks, leases: Leases, deps: Dependencies
) -> None:
    """Run if it is time: once a night, and again for libraries that did not reply, until the morning.

    Also run when an operator asked for it. The request waits while a check is running, and after a kill.
    """
    now = deps.clock.now()
    if (request := await nightly_checks.requested()) is not None:
        today = NightlyCheck(day_of(now))
        if await run_nightly_check(today, request.by, nightly_checks, leases, deps) is not None:
            await nightly_checks.fulfil(request)
        return
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
