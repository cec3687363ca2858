"""The state of a guest after its events, and the words that the counter shows for it (R13, R16)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from registration.domain.contributions import (
    Contributions,
    RowStatus,
    evolve_contributions,
    imported_rows,
)
from registration.domain.events import (
    PREFERENCES,
    CardChipChanged,
    CardNumberChanged,
    DuplicateMerged,
    Encrypted,
    GuestDeregistered,
    GuestEvent,
    GuestImported,
    GuestPreferencesChanged,
    GuestRegistered,
    GuestReinstated,
    GuestReregistered,
    GuestsMerged,
    GuestSuspended,
    LendingStripsGranted,
    LoginAccountLinkRequested,
    LoginAccountUnlinked,
    PatronDetailsChanged,
    PersonalDataErased,
    SubscriptionExpired,
    TermConfirmed,
)
from registration.domain.login_link import LoginLink, evolve_link
from registration.domain.term import (
    Term,
    expiry_line,
    last_of_month,
    reregistration_preview,
    subscription,
    valid_header,
)
from registration.domain.term_check import REASON_OF_EXPIRY, Status
from shared.kernel.amsterdam import moment_of

NOTHING: Mapping[str, Encrypted] = MappingProxyType({})
AT_THE_COUNTER = (
    GuestReregistered,
    CardChipChanged,
    LoginAccountLinkRequested,
    LoginAccountUnlinked,
    GuestDeregistered,
    GuestsMerged,
    DuplicateMerged,
)
"""What is done for a guest after the registration. The home library and identity cause the other events."""


class Preferences(NamedTuple):
    """What the guest wants: what nobody asked is off (R27).

    `language`: "nl" or "en". `newsletter`, `lending_history`: consent to the newsletter, and to keeping what
    was borrowed.
    """

    language: str = "nl"
    newsletter: bool = False
    lending_history: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the fields of an event that carries preferences."""
        return dict(zip(PREFERENCES, self, strict=True))


class GuestState(NamedTuple):
    """The state of a guest. It is a tuple, because a replay creates and changes millions of them.

    `changed_on`: the last day on which rows were closed or opened. `home_agreed_at`: the last moment at which
    the home library agreed to a registration. `active_at`: the last moment at which something was done for
    the guest at the counter. `card_since` and `chip_since`: the moments since which the present number, and
    whether the card has a chip, are known here. `new_accounts`: account id -> its encrypted details.
    `news_at`: the last moment at which news of the home library was taken over (R24).
    `imported_from`: the system from which the guest was imported, until a registration here (R29).
    `merged_into`: the guest to which this merged record points. `merged_from`: the merged records that point
    to this guest. After an erasure no encrypted data is left, and `person_ref` finds no guest (R19).
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
    active_at: datetime
    card_since: datetime
    chip_since: datetime
    status: Status = Status.VALID
    reason: str | None = None
    lending_strips: int = 0
    contributions: Contributions = Contributions()
    link: LoginLink = LoginLink()
    new_accounts: Mapping[str, Encrypted] = NOTHING
    merged_into: UUID | None = None
    merged_from: tuple[UUID, ...] = ()
    news_at: datetime | None = None
    preferences: Preferences = Preferences()
    imported_from: str | None = None


def evolve_guest(before: GuestState | None, event: GuestEvent) -> GuestState:
    """Return the state after one event. Raises ValueError when no guest begins with the first event."""
    if isinstance(event, GuestRegistered):
        return _registered(before, event)
    if before is None:
        if isinstance(event, GuestImported):
            return _imported(event)
        msg = f"a guest begins with GuestRegistered or GuestImported, not with {type(event).__name__}"
        raise ValueError(msg)
    after = _evolve_fields(before, event)
    if isinstance(event, AT_THE_COUNTER):
        after = after._replace(active_at=event.timestamp)
    contributions = evolve_contributions(after.contributions, event)
    link, accounts = evolve_link(after.link, event), _new_accounts(after.new_accounts, event)
    if contributions is after.contributions and link is after.link and accounts is after.new_accounts:
        return after  # most events change none of these, and a replay reads millions
    return after._replace(contributions=contributions, link=link, new_accounts=accounts)


def _registered(before: GuestState | None, event: GuestRegistered) -> GuestState:
    """Return the state after a registration. A guest who is registered again keeps its past (R21)."""
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
        active_at=event.timestamp,
        card_since=event.timestamp,
        chip_since=event.timestamp,
        lending_strips=before.lending_strips if before else 0,
        contributions=evolve_contributions(before.contributions if before else Contributions(), event),
        link=evolve_link(before.link if before else LoginLink(), event),
        new_accounts=_new_accounts(before.new_accounts if before else NOTHING, event),
        merged_from=before.merged_from if before else (),
        preferences=_preferred(event, Preferences()),
    )


def _imported(event: GuestImported) -> GuestState:
    """Return the state of a guest as another system knew it (R29).

    What is known of the guest is as old as the registration there: the import itself is no reply of the home
    library, and nobody was at the counter.
    """
    since = moment_of(event.registered_on, time())
    current = imported_rows(event)[0]
    ended = current.status is RowStatus.INVALID
    return GuestState(
        organisation=event.organisation,
        branch=event.branch,
        home_isil=event.home_isil,
        person_ref=event.person_ref,
        card_has_chip=event.card_has_chip,
        subscription_code=event.subscription_code,
        term=Term(event.term_begin, event.term_end, provisional=False),
        sealed_card=event.sealed_card,
        sealed_details=event.sealed_details,
        changed_on=current.begin,
        home_agreed_at=since,
        active_at=since,
        card_since=since,
        chip_since=since,
        status=Status.EXPIRED if ended else Status.VALID,
        reason=REASON_OF_EXPIRY if ended else None,
        lending_strips=event.lending_strips,
        contributions=evolve_contributions(Contributions(), event),
        link=evolve_link(LoginLink(), event),
        imported_from=event.source,
    )


def _evolve_fields(before: GuestState, event: GuestEvent) -> GuestState:  # noqa: PLR0911, PLR0912 - one per event
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
        case CardChipChanged():
            return before._replace(card_has_chip=event.card_has_chip, chip_since=event.timestamp)
        case GuestReregistered():
            return _reregistered(before, event)
        case CardNumberChanged() | PatronDetailsChanged():
            return _with_news(before, event)
        case GuestPreferencesChanged():
            return before._replace(preferences=_preferred(event, before.preferences))
        case GuestDeregistered():
            return before._replace(status=Status.DEREGISTERED, reason=event.reason, changed_on=event.on)
        case GuestsMerged():
            # To code that does not look at `merged_into` this is a guest who may not borrow.
            return before._replace(
                status=Status.DEREGISTERED, reason=None, merged_into=event.into, merged_from=()
            )
        case DuplicateMerged():
            return before._replace(merged_from=(*before.merged_from, event.guest_id))
        case PersonalDataErased():
            return _erased(before, event)
        case _:
            return before


def _reregistered(before: GuestState, event: GuestReregistered) -> GuestState:
    return before._replace(
        status=Status.VALID,
        reason=None,
        term=Term(event.term_begin, event.term_end, provisional=True),
        sealed_card=event.sealed_card,
        sealed_details=event.sealed_details,
        changed_on=event.term_begin,
        home_agreed_at=event.timestamp,
        preferences=_preferred(event, before.preferences),
        imported_from=None,
    )


def _preferred(
    event: GuestRegistered | GuestReregistered | GuestPreferencesChanged, otherwise: Preferences
) -> Preferences:
    """Return the preferences of an event; `otherwise` when it has none."""
    if event.preferred_language is None:
        return otherwise
    return Preferences(event.preferred_language, bool(event.newsletter), bool(event.lending_history))


def _with_news(before: GuestState, event: CardNumberChanged | PatronDetailsChanged) -> GuestState:
    after = before._replace(news_at=event.timestamp)
    if isinstance(event, PatronDetailsChanged):
        return after._replace(sealed_details=event.sealed_details)
    return after._replace(
        person_ref=event.person_ref, sealed_card=event.sealed_card, card_since=event.timestamp
    )


def _erased(before: GuestState, event: PersonalDataErased) -> GuestState:
    nothing = Encrypted(b"")
    return before._replace(
        status=Status.ERASED,
        reason=None,
        sealed_card=nothing,
        sealed_details=nothing,
        changed_on=event.on,
        preferences=Preferences(),
    )


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
    """The words that the counter shows for a guest. What does not apply to its status is None.

    `expires_on`: the last day of the month of the row's end date. `card_notice` is shown in red (R12, R13).
    """

    header: str
    expires_on: date | None = None
    expiry_line: str | None = None
    card_notice: str | None = None
    reregistration_preview: str | None = None


def display(state: GuestState, today: date) -> Display:
    """Return the words for a guest on `today`. The end date of the current row decides (R16)."""
    match state.status:
        case Status.VALID:
            end = _row_end(state)
            line = None if end is None else expiry_line(end)
            return Display(valid_header(end), expires_on=_last_day(end), expiry_line=line)
        case Status.SUSPENDED:
            return Display("Geblokkeerd", expires_on=_last_day(_row_end(state)), card_notice=CARD_NOT_VALID)
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


def _last_day(end: date | None) -> date | None:
    return None if end is None else last_of_month(end)


def _row_end(state: GuestState) -> date | None:
    current = state.contributions.current
    return None if current is None else current.end


ENDED = frozenset({Status.EXPIRED, Status.DEREGISTERED})


def ended_on(guest: GuestState) -> date | None:
    """Return the day on which the registration ended; None while it runs, and after an erasure.

    None for a merged record too: the person may still be a guest under the other record. When that one is
    erased, both are (R18).
    """
    return guest.changed_on if guest.status in ENDED and guest.merged_into is None else None
