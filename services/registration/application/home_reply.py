"""A home library's reply about one guest, and the changes that it causes (R12)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from registration.application.dependencies import Context, Dependencies, TermCheck
from registration.application.repository import load_guest, new_number_rows, save_guest
from registration.domain.term_check import leaves_stale, refusal_reasons
from registration.domain.verdict import NotFound, Refused, Unavailable, Valid, Verdict
from shared.event_log import CommandResult, retry_on_conflict
from shared.kernel.amsterdam import day_of

VERDICTS = {Valid: "valid", Refused: "refused", NotFound: "not_found", Unavailable: "unavailable"}


@dataclass(frozen=True, slots=True)
class HomeReply:
    """A verdict, and the moment before the request: nothing that happened later can be in it."""

    verdict: Verdict
    asked_at: datetime

    def outcome(self) -> TermCheck:
        """Return it as a term check: "valid" if a re-registration would succeed, "refused" if not (R13)."""
        reasons = refusal_reasons(self.verdict, day_of(self.asked_at))
        verdict = "refused" if reasons else VERDICTS[type(self.verdict)]
        return TermCheck(verdict, self.asked_at, leaves_stale(self.verdict), reasons)


async def apply_reply(
    guest_id: UUID, reply: HomeReply, context: Context, deps: Dependencies
) -> CommandResult:
    """Change the guest as the reply requires (R12). Raises GuestNotFound (R20)."""
    return await retry_on_conflict(lambda: _apply(guest_id, reply, context, deps))


async def _apply(guest_id: UUID, reply: HomeReply, context: Context, deps: Dependencies) -> CommandResult:
    guest = await load_guest(guest_id, context.organisation, deps)
    if guest.state.home_agreed_at > reply.asked_at:
        return await save_guest(guest, context, deps)  # registered again meanwhile, on a later reply
    now = deps.clock.now()
    guest.check_term(reply.verdict, today=day_of(now), now=now)
    number = reply.verdict.canonical_card_number if isinstance(reply.verdict, Valid) else None
    return await save_guest(guest, context, deps, *new_number_rows(guest, number, deps))
