"""Check one guest's term at the home library (R12, R13)."""

from __future__ import annotations

import asyncio
from uuid import UUID

from registration.application.dependencies import Context, Dependencies
from registration.application.home_reply import NEVER_CHECKED, HomeReply, apply_reply
from registration.application.membership import current_isil
from registration.application.repository import decrypt_personal_data, load_guest, save_guest
from registration.application.show_guest import GuestView, show_guest
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.guest import Guest
from registration.domain.verdict import NotFound, Unavailable, Verdict
from shared.event_log import CommandResult

WHILE_A_CLERK_WAITS = 1.8
"""Seconds for the home library's reply; with reading and writing the clerk waits at most 2 seconds (R13)."""


async def check_term(
    guest_id: UUID, context: Context, deps: Dependencies, *, within: float | None = None
) -> CommandResult:
    """Ask the home library about one guest and apply the reply (R12).

    `within`: seconds to wait; None: the library's own time limits. Without a usable reply the term is kept
    and marked stale; this never fails. `show_guest` returns the outcome (`home`, `term.stale`). Raises
    GuestNotFound (R20).
    """
    guest = await load_guest(guest_id, context.organisation, deps)
    if guest.state.status in NEVER_CHECKED:
        return await save_guest(guest, context, deps)
    asked_at = deps.clock.now()
    reply = HomeReply(await _ask_within(within, guest, deps), asked_at)
    result, reply = await apply_reply(guest_id, reply, context, deps)
    await deps.term_checks.record(guest_id, reply.outcome())
    return result


async def open_guest(guest_id: UUID, context: Context, deps: Dependencies) -> GuestView:
    """Show a guest; for an expired one, ask the home library first (R13).

    `home` then says what a re-registration would meet: "valid", it would succeed; "refused", and why;
    "unavailable", no reply in time: the guest is shown unchanged, its term marked stale.
    Raises GuestNotFound (R20).
    """
    shown = await show_guest(guest_id, context.organisation, deps)
    if shown.status != "expired":
        return shown
    await check_term(guest_id, context, deps, within=WHILE_A_CLERK_WAITS)
    return await show_guest(guest_id, context.organisation, deps)


async def _ask_within(seconds: float | None, guest: Guest, deps: Dependencies) -> Verdict:
    try:
        async with asyncio.timeout(seconds):
            return await _ask(guest, deps)
    except TimeoutError:
        return Unavailable("no reply while the clerk waited")


async def _ask(guest: Guest, deps: Dependencies) -> Verdict:
    person = decrypt_personal_data(guest)
    if person is None:
        return NotFound()
    try:
        home = current_isil(guest.state.home_isil, deps)
        return await deps.home_libraries.ask(str(home), person.card.number)
    except UnknownHomeLibrary:
        return Unavailable("not in the settings")
