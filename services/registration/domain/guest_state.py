"""What is known of a guest after its events, and how the counter shows it (R13, R16)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from registration.domain.contributions import Contributions, evolve_contributions
from registration.domain.events import (
    DuplicateMerged,
    Encrypted,
    GuestDeregistered,
    GuestEvent,
    GuestRegistered,
    GuestReinstated,
    GuestReregistered,
    GuestsMerged,
    GuestSuspended,
    LendingStripsGranted,
    LoginAccountLinkRequested,
    PersonalDataErased,
    SubscriptionExpired,
    TermConfirmed,
)
from registration.domain.login_link import LoginLink, evolve_link
from registration.domain.subscriptions import subscription
from registration.domain.term import Term, expiry_line, last_of_month, reregistration_preview, valid_header
from registration.domain.term_check import Status

NOTHING: Mapping[str, Encrypted] = MappingProxyType({})


class GuestState(NamedTuple):
    """A guest now: a tuple, since a replay makes and changes millions of them.

    `changed_on` is the last day on which rows were closed or opened, `home_agreed_at` the last moment at
    which home agreed to a registration; `new_accounts` maps account ids to what was sealed for them.
    `merged_into`: the guest that this record is a signpost to, `merged_from`: those to this guest. Once
    erased nothing sealed is left, and `person_ref` finds nobody any more (R19).
    """

    organisation: str
    branch: str
    home_isil: str
    person_ref: str
    card_has_chip: bool
    subscription_code: str
    term: Term
    sealed_card: Encrypted
    sealed_details: Encrypted
    changed_on: date
    home_agreed_at: datetime
    status: Status = Status.VALID
    reason: str | None = None
    lending_strips: int = 0
    contributions: Contributions = Contributions()
    link: LoginLink = LoginLink()
    new_accounts: Mapping[str, Encrypted] = NOTHING
    merged_into: UUID | None = None
    merged_from: tuple[UUID, ...] = ()


def evolve_guest(before: GuestState | None, event: GuestEvent) -> GuestState:
    """Let the state follow one event; the first is a GuestRegistered."""
    if isinstance(event, GuestRegistered):
        return _registered(before, event)
    if before is None:
        msg = f"a guest begins with GuestRegistered, not with {type(event).__name__}"
        raise ValueError(msg)
    after = _changed(before, event)
    contributions = evolve_contributions(after.contributions, event)
    link, accounts = evolve_link(after.link, event), _new_accounts(after.new_accounts, event)
    if contributions is after.contributions and link is after.link and accounts is after.new_accounts:
        return after  # most events change none of them, and replays go through millions
    return after._replace(contributions=contributions, link=link, new_accounts=accounts)


def _registered(before: GuestState | None, event: GuestRegistered) -> GuestState:
    """Begin; a card registered afresh (R21) keeps its past."""
    return GuestState(
        organisation=event.organisation,
        branch=event.branch,
        home_isil=event.home_isil,
        person_ref=event.person_ref,
        card_has_chip=event.card_has_chip,
        subscription_code=event.subscription_code,
        term=Term(event.term_begin, event.term_end, provisional=True),
        sealed_card=event.sealed_card,
        sealed_details=event.sealed_details,
        changed_on=event.term_begin,
        home_agreed_at=event.timestamp,
        lending_strips=before.lending_strips if before else 0,
        contributions=evolve_contributions(before.contributions if before else Contributions(), event),
        link=evolve_link(before.link if before else LoginLink(), event),
        new_accounts=_new_accounts(before.new_accounts if before else NOTHING, event),
        merged_from=before.merged_from if before else (),
    )


def _changed(before: GuestState, event: GuestEvent) -> GuestState:  # noqa: PLR0911 - one per event
    match event:
        case LendingStripsGranted():
            return before._replace(lending_strips=before.lending_strips + event.strips)
        case TermConfirmed():
            return before._replace(term=before.term._replace(end=event.end, provisional=False))
        case SubscriptionExpired():
            return before._replace(status=Status.EXPIRED, reason=event.reason, changed_on=event.on)
        case GuestSuspended():
            return before._replace(status=Status.SUSPENDED, reason=event.reason)
        case GuestReinstated():
            return before._replace(status=Status.VALID, reason=None)
        case GuestReregistered():
            return before._replace(
                status=Status.VALID,
                reason=None,
                term=Term(event.term_begin, event.term_end, provisional=True),
                sealed_card=event.sealed_card,
                sealed_details=event.sealed_details,
                changed_on=event.term_begin,
                home_agreed_at=event.timestamp,
            )
        case GuestDeregistered():
            return before._replace(status=Status.DEREGISTERED, reason=event.reason, changed_on=event.on)
        case GuestsMerged():
            # For whoever knows no signposts: nobody who may borrow.
            return before._replace(
                status=Status.DEREGISTERED, reason=None, merged_into=event.into, merged_from=()
            )
        case DuplicateMerged():
            return before._replace(merged_from=(*before.merged_from, event.guest_id))
        case PersonalDataErased():
            return before._replace(
                status=Status.ERASED,
                reason=None,
                sealed_card=Encrypted(b""),
                sealed_details=Encrypted(b""),
                changed_on=event.on,
            )
        case _:
            return before


def _new_accounts(before: Mapping[str, Encrypted], event: GuestEvent) -> Mapping[str, Encrypted]:
    match event:
        case GuestRegistered() | GuestReregistered() | LoginAccountLinkRequested():
            if event.login_account_id and event.sealed_new_account:
                return {**before, event.login_account_id: event.sealed_new_account}
        case PersonalDataErased():
            return {}
    return before


CARD_NOT_VALID = "Pas niet geldig!"


@dataclass(frozen=True, slots=True)
class Display:
    """The words for a guest. What does not apply to its status is None.

    `expires_on`: the last day of the month of the row's end date. `card_notice` stands in red (R13).
    """

    header: str
    expires_on: date | None = None
    expiry_line: str | None = None
    card_notice: str | None = None
    reregistration_preview: str | None = None


def display(state: GuestState, today: date) -> Display:
    """Word a guest as it stands today; the current row's end date decides (R16)."""
    match state.status:
        case Status.VALID:
            return _running(state, valid_header(_row_end(state)))
        case Status.SUSPENDED:
            return _running(state, "Geblokkeerd")
        case Status.EXPIRED:
            months = subscription(state.subscription_code).tariff_months
            return Display(
                header=f"Ongeldig  Opgezegd, reden {state.reason}",
                card_notice=CARD_NOT_VALID,
                reregistration_preview=reregistration_preview(today, months),
            )
        case Status.DEREGISTERED if state.merged_into is not None:
            return Display(header="Samengevoegd")
        case Status.DEREGISTERED:
            return Display(header="Uitgeschreven", card_notice=CARD_NOT_VALID)
        case Status.ERASED:
            return Display(header="Persoonsgegevens gewist", card_notice=CARD_NOT_VALID)


def _running(state: GuestState, header: str) -> Display:
    end = _row_end(state)
    if end is None:
        return Display(header)
    return Display(header, expires_on=last_of_month(end), expiry_line=expiry_line(end))


def _row_end(state: GuestState) -> date | None:
    current = state.contributions.current
    return None if current is None else current.end


ENDED = frozenset({Status.EXPIRED, Status.DEREGISTERED})


def ended_on(guest: GuestState) -> date | None:
    """Give the day on which the registration ended; None as long as it runs, and for the erased.

    Nor did it end for a record that was merged into another: that one's person may still be a guest, and when
    not, both go together (R18).
    """
    return guest.changed_on if guest.status in ENDED and guest.merged_into is None else None
