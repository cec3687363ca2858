"""Show a guest from its stream: a guest is found directly after its registration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from registration.application.dependencies import Dependencies, TermCheck
from registration.application.repository import (
    PersonalData,
    decrypt_card,
    decrypt_personal_data,
    load_guest,
)
from registration.domain.contributions import Row
from registration.domain.guest import Guest
from registration.domain.guest_state import GuestState, Preferences, display, ended_on
from registration.domain.login_link import LoginLink
from registration.domain.term_check import Status
from registration.domain.verdict import PatronDetails
from shared.event_log import CommandResult, data_key_of
from shared.kernel.amsterdam import day_of


@dataclass(frozen=True, slots=True)
class HomeAnswer:
    """The home library's last reply: "valid", "refused", "not_found" or "unavailable", and when.

    "not_asked": the guest was imported at that moment, and was not asked about yet (R29).

    `other_guest`: the guest whose card it named (R10). `answered_at`: the last moment at which the library
    named this person, so the moment of the details (R5). `changed`: what the last reply changed, names of
    `home_reply.CHANGES`; None for the reply with which the guest was registered.
    """

    verdict: str
    checked_at: datetime
    reasons: tuple[str, ...]
    other_guest: UUID | None
    answered_at: datetime
    changed: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class TermView:
    """The term as shown. `stale`: there was no usable reply, so the term was kept (R12)."""

    begin: date
    end: date | None
    provisional: bool
    stale: bool


@dataclass(frozen=True, slots=True)
class MergedRecord:
    """A record that was merged into the guest, with the rows that stay with it (R18)."""

    guest_id: UUID
    contributions: Sequence[Row]


@dataclass(frozen=True, slots=True)
class GuestView:
    """A guest as the clerk sees it. After the erasure of personal data `card_number`, `details` and
    `preferences` are None.

    `merged_into`: this is a merged record of that guest. `merged_from`: the merged records of this guest
    (R18); an erased record is neither. `reason`: why the guest is expired, or the home library's reasons why
    it is suspended. `ended_on`: the day on which the registration ended. `active_at`, `card_since` and
    `chip_since`: see `domain.guest_state.GuestState`. `header` to `reregistration_preview`: the words on the
    screen, see `domain.guest_state.Display`. `new_account`: the login account of the link is one that a clerk
    had made.
    """

    guest_id: UUID
    version: int
    status: Literal["valid", "expired", "suspended", "deregistered", "erased"]
    organisation: str
    branch: str
    card_number: str | None
    aliases: Sequence[str]
    home_isil: str
    home: HomeAnswer
    details: PatronDetails | None
    preferences: Preferences | None
    header: str
    reason: str | None
    ended_on: date | None
    expires_on: date | None
    expiry_line: str | None
    card_notice: str | None
    reregistration_preview: str | None
    term: TermView
    contributions: Sequence[Row]
    lending_strips: int
    self_service: bool
    active_at: datetime
    card_since: datetime
    chip_since: datetime
    login_link: LoginLink
    merged_into: UUID | None
    merged_from: Sequence[MergedRecord]
    new_account: bool


async def show_guest(guest_id: UUID, organisation: str, deps: Dependencies) -> GuestView:
    """Return one guest of this organisation. Raises GuestNotFound (R20)."""
    guest = await load_guest(guest_id, organisation, deps)
    return await _shown(guest, await deps.term_checks.last(guest_id), deps)


async def show_result(result: CommandResult, organisation: str, deps: Dependencies) -> GuestView:
    """Return the guest that a command changed, as it was saved. Raises GuestNotFound (R20)."""
    if isinstance(result.saved, Guest):  # registered now: the last reply of the home library was to that
        return await _shown(result.saved, None, deps)
    return await show_guest(result.resource_id, organisation, deps)


async def _shown(guest: Guest, check: TermCheck | None, deps: Dependencies) -> GuestView:
    person = decrypt_personal_data(guest)
    merged = await _merged_records(guest, deps)
    return _view(guest, person, _current(check, guest), merged, day_of(deps.clock.now()))


async def card_numbers_since(guest_id: UUID, organisation: str, deps: Dependencies) -> Mapping[str, datetime]:
    """Return each number that the guest ever had, with the moment of the event that brought it (R10, R24).

    That is any event with a card, such as a registration or news from home. Empty after an erasure. Raises
    GuestNotFound.
    """
    key = data_key_of(await load_guest(guest_id, organisation, deps))
    since: dict[str, datetime] = {}
    for recorded in await deps.store.log.stream(guest_id) if key else ():
        event = deps.store.event(recorded)
        sealed = vars(event).get("sealed_card")
        for number in decrypt_card(sealed, key).numbers if key and sealed else ():
            since.setdefault(number, vars(event)["timestamp"])
    return since


async def _merged_records(guest: Guest, deps: Dependencies) -> list[MergedRecord]:
    if guest.state.status is Status.ERASED:
        return []
    records = [await deps.store.load(Guest, record_id) for record_id in guest.state.merged_from]
    return [
        MergedRecord(record.id, record.state.contributions.rows)
        for record in records
        if record.state.status is not Status.ERASED
    ]


def _current(check: TermCheck | None, guest: Guest) -> TermCheck:
    """Return the last reply of the home library: a registration after the last check is a reply, too."""
    agreed_at = guest.state.home_agreed_at
    if check is None and guest.state.imported_from is not None:
        return TermCheck("not_asked", guest.created_on)
    if check is None or check.checked_at < agreed_at:
        return TermCheck("valid", agreed_at)
    return check


def _home_answer(check: TermCheck, state: GuestState) -> HomeAnswer:
    answered = (state.home_agreed_at, state.news_at, check.answered_at)
    return HomeAnswer(
        verdict=check.verdict,
        checked_at=check.checked_at,
        reasons=check.reasons,
        other_guest=check.other_guest,
        answered_at=max(moment for moment in answered if moment is not None),
        changed=check.changed,
    )


def _view(
    guest: Guest,
    person: PersonalData | None,
    check: TermCheck,
    merged_from: Sequence[MergedRecord],
    today: date,
) -> GuestView:
    state = guest.state
    term, words = state.term, display(state, today)
    return GuestView(
        guest_id=guest.id,
        version=guest.version,
        status=state.status.value,
        organisation=state.organisation,
        branch=state.branch,
        card_number=person.card.number if person else None,
        aliases=person.card.aliases if person else (),
        home_isil=state.home_isil,
        home=_home_answer(check, state),
        details=person.details if person else None,
        preferences=state.preferences if person else None,
        header=words.header,
        reason=state.reason if state.status in {Status.EXPIRED, Status.SUSPENDED} else None,
        ended_on=ended_on(state),
        expires_on=words.expires_on,
        expiry_line=words.expiry_line,
        card_notice=words.card_notice,
        reregistration_preview=words.reregistration_preview,
        term=TermView(term.begin, term.end, term.provisional, check.stale),
        contributions=state.contributions.rows,
        lending_strips=state.lending_strips,
        self_service=state.card_has_chip,
        active_at=state.active_at,
        card_since=state.card_since,
        chip_since=state.chip_since,
        login_link=state.link,
        merged_into=None if state.status is Status.ERASED else state.merged_into,
        merged_from=merged_from,
        new_account=state.link.account_id in state.new_accounts,
    )
