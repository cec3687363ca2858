"""Ask the home library about one guest's term (R12, R13)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from registration.application.dependencies import Context, Dependencies, TermCheck, Written
from registration.application.membership import current_isil
from registration.application.personal_data import decrypt_personal_data
from registration.application.repository import load_guest, new_number_rows, save_guest
from registration.application.show_guest import GuestView, show_guest
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.guest import Guest
from registration.domain.term_check import Status, leaves_stale, refusal_reasons
from registration.domain.verdict import NotFound, Refused, Unavailable, Valid, Verdict
from shared.event_log import retry_on_conflict
from shared.kernel.amsterdam import day_of

VERDICTS = {Valid: "valid", Refused: "refused", NotFound: "not_found", Unavailable: "unavailable"}

NOT_ASKED_ABOUT = frozenset({Status.DEREGISTERED, Status.ERASED})


WHILE_A_CLERK_WAITS = 1.8
"""Seconds for the answer: with what is read and written around it, the clerk waits for 2 at most (R13)."""


async def check_term(
    guest_id: UUID, context: Context, deps: Dependencies, *, within: float | None = None
) -> Written:
    """Ask the home library of one guest and do what R12 says with the answer.

    `within` seconds or never: no answer by then is none. Without it the library's own time-outs decide. Never
    fails for want of an answer: then the term is kept and marked stale. How it went is told by `show_guest`
    (home, term.stale). Raises GuestNotFound (R20).
    """
    guest = await load_guest(guest_id, context.organisation, deps)
    if guest.state.status in NOT_ASKED_ABOUT:
        return await save_guest(guest, context, deps)
    asked_at = deps.clock.now()
    answer = Answer(await _ask_within(within, guest, deps), asked_at)
    written = await carry_out(guest_id, answer, context, deps)
    await deps.term_checks.record(guest_id, answer.outcome())
    return written


@dataclass(frozen=True, slots=True)
class Answer:
    """What home said, and the moment before which it cannot have known better."""

    verdict: Verdict
    asked_at: datetime

    def outcome(self) -> TermCheck:
        """R13: "valid" tells the clerk that re-registration would succeed, "refused" why it would not."""
        reasons = refusal_reasons(self.verdict, day_of(self.asked_at))
        told = "refused" if reasons else VERDICTS[type(self.verdict)]
        return TermCheck(told, self.asked_at, leaves_stale(self.verdict), reasons)


async def _ask_within(seconds: float | None, guest: Guest, deps: Dependencies) -> Verdict:
    try:
        async with asyncio.timeout(seconds):
            return await _ask(guest, deps)
    except TimeoutError:
        return Unavailable("too slow for somebody who waits")


async def _ask(guest: Guest, deps: Dependencies) -> Verdict:
    person = await decrypt_personal_data(guest, deps)
    if person is None:
        return NotFound()
    try:
        home = current_isil(guest.state.home_isil, deps)
        return await deps.home_libraries.ask(str(home), person.card.number)
    except UnknownHomeLibrary:
        return Unavailable("not in the settings")


async def carry_out(guest_id: UUID, answer: Answer, context: Context, deps: Dependencies) -> Written:
    """Do what an answer means for a guest as it is now (R12). Raises GuestNotFound (R20)."""
    return await retry_on_conflict(lambda: _attempt(guest_id, answer, context, deps))


async def _attempt(guest_id: UUID, answer: Answer, context: Context, deps: Dependencies) -> Written:
    guest = await load_guest(guest_id, context.organisation, deps)
    if guest.state.home_agreed_at > answer.asked_at:
        return await save_guest(guest, context, deps)  # re-registered meanwhile, on a later answer
    now = deps.clock.now()
    guest.check_term(answer.verdict, today=day_of(now), now=now)
    answered = answer.verdict.canonical_card_number if isinstance(answer.verdict, Valid) else None
    return await save_guest(guest, context, deps, *new_number_rows(guest, answered, deps))


async def open_guest(guest_id: UUID, context: Context, deps: Dependencies) -> GuestView:
    """Show a guest; about an expired one home is asked again at once.

    `home` then tells what a re-registration would meet: "valid" that it would succeed, "refused" why not,
    "unavailable" that home was too slow or silent: the guest is shown as it was, its term marked stale.
    Raises GuestNotFound (R20).
    """
    shown = await show_guest(guest_id, context.organisation, deps)
    if shown.status != "expired":
        return shown
    await check_term(guest_id, context, deps, within=WHILE_A_CLERK_WAITS)
    return await show_guest(guest_id, context.organisation, deps)
