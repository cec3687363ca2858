"""A home library's reply about one guest, and the changes that it causes (R12, R24, R25)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from registration.application.dependencies import Context, Dependencies, TermCheck
from registration.application.repository import (
    PersonalData,
    decrypt_personal_data,
    load_guest,
    save_guest,
    take_reply,
)
from registration.domain.errors import CardOfAnotherGuest
from registration.domain.guest import Guest
from registration.domain.guest_state import GuestState
from registration.domain.term_check import Status, leaves_stale, refusal_reasons
from registration.domain.verdict import Mismatch, NotFound, NotOfGuest, Reading, Refused, Unavailable, Valid
from shared.event_log import CommandResult, SideRow, retry_on_conflict
from shared.kernel.amsterdam import day_of

NEVER_CHECKED = frozenset({Status.DEREGISTERED, Status.ERASED})

VERDICTS = {
    Valid: "valid",
    Refused: "refused",
    NotFound: "not_found",
    Unavailable: "unavailable",
    NotOfGuest: "refused",
}

CHANGES = ("status", "term", "name", "birth_date", "address", "email", "card_number")
"""What a reply can change of a guest."""


@dataclass(frozen=True, slots=True)
class HomeReply:
    """A verdict, and the moment before the request: nothing that happened later can be in it.

    `changed`: what it changed of the guest, names of `CHANGES`.
    """

    verdict: Reading
    asked_at: datetime
    changed: tuple[str, ...] = ()

    def outcome(self) -> TermCheck:
        """Return it as a term check: "valid" if a re-registration would succeed, "refused" if not (R13)."""
        reasons = refusal_reasons(self.verdict, day_of(self.asked_at))
        verdict = "refused" if reasons else VERDICTS[type(self.verdict)]
        other = self.verdict.guest_id if isinstance(self.verdict, NotOfGuest) else None
        answered_at = self.asked_at if isinstance(self.verdict, Valid | Refused) else None
        stale = leaves_stale(self.verdict)
        return TermCheck(verdict, self.asked_at, stale, reasons, other, answered_at, self.changed)

    def about(self, person: PersonalData) -> HomeReply:
        """Return the reply as it is about this person: a number is not a person (R25)."""
        if isinstance(self.verdict, Valid | Refused) and person.details.born_otherwise(self.verdict.details):
            return replace(self, verdict=NotOfGuest(Mismatch.OTHER_PERSON))
        return self

    def is_news(self, person: PersonalData) -> bool:
        """Return whether the reply says something else about the person than what is known (R24, R25)."""
        match self.about(person).verdict:
            case NotOfGuest():
                return True
            case Valid() | Refused() as verdict:
                return person.followed_by(verdict) != person
            case _:
                return False


async def apply_reply(
    guest_id: UUID, reply: HomeReply, context: Context, deps: Dependencies
) -> tuple[CommandResult, HomeReply]:
    """Change the guest as the reply requires (R12), and take over its news (R24).

    Returns also the reply as it is about this guest. Raises GuestNotFound (R20).
    """
    return await retry_on_conflict(lambda: _apply(guest_id, reply, context, deps))


async def _apply(
    guest_id: UUID, reply: HomeReply, context: Context, deps: Dependencies
) -> tuple[CommandResult, HomeReply]:
    guest = await load_guest(guest_id, context.organisation, deps)
    before, person = guest.state, decrypt_personal_data(guest)
    rows: tuple[SideRow, ...] = ()
    # After a later registration, or an end of it, the reply is about what was before.
    if (
        person is not None
        and guest.state.status not in NEVER_CHECKED
        and guest.state.home_agreed_at <= reply.asked_at
    ):
        reply = reply.about(person)
        try:
            rows = await _news(guest, person, reply, deps)
        except CardOfAnotherGuest as other:
            reply = replace(reply, verdict=NotOfGuest(Mismatch.CARD_OF_ANOTHER_GUEST, other.guest_id))
        now = deps.clock.now()
        guest.check_term(reply.verdict, today=day_of(now), now=now)
        if guest.pending_events:
            now_known = decrypt_personal_data(guest) or person
            reply = replace(reply, changed=_changes(before, guest.state, person, now_known))
    return await save_guest(guest, context, deps, *rows), reply


def _changes(
    before: GuestState, after: GuestState, known: PersonalData, now_known: PersonalData
) -> tuple[str, ...]:
    details, now_details = known.details, now_known.details
    changed = {
        "status": before.status is not after.status,
        "term": before.term.end != after.term.end,
        "name": details.name != now_details.name,
        "birth_date": details.birth_date != now_details.birth_date,
        "address": details.address != now_details.address,
        "email": details.email != now_details.email,
        "card_number": known.card.number != now_known.card.number,
    }
    return tuple(name for name in CHANGES if changed[name])


async def _news(
    guest: Guest, person: PersonalData, reply: HomeReply, deps: Dependencies
) -> tuple[SideRow, ...]:
    if not isinstance(reply.verdict, Valid | Refused):
        return ()
    if guest.state.news_at is not None and guest.state.news_at > reply.asked_at:
        return ()  # there is later news
    _, rows = await take_reply(guest, person, reply.verdict, deps)
    return tuple(rows)
