"""The guest: a member of another library who may borrow here. Commands trigger events or raise an error."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from eventsourcing.domain import Aggregate

from registration.domain import events
from registration.domain.contributions import RowStatus
from registration.domain.errors import (
    AlreadyLinked,
    AlreadyRegistered,
    GuestErased,
    GuestMerged,
    NoLongerRegistered,
    NotExpired,
    NotLinked,
    NotTooLate,
    WrongPatronType,
)
from registration.domain.events import PREFERENCES, Encrypted
from registration.domain.guest_state import GuestState, Preferences, evolve_guest
from registration.domain.login_link import LinkRequest, LinkState
from registration.domain.term import provisional_term
from registration.domain.term_check import Confirm, Decision, Expire, Reinstate, Status, Suspend, decide
from registration.domain.verdict import Reading


class Admission(NamedTuple):
    """All that a registration needs: the person, the library and the link request.

    `preferences` None: they were not asked (R27).
    """

    organisation: str
    branch: str
    home_isil: str
    person_ref: str
    card_has_chip: bool
    identity_document_checked: bool
    subscription_code: str
    sealed_card: Encrypted
    sealed_details: Encrypted
    link_request: LinkRequest
    preferences: Preferences | None = None

    def fields(self, today: date) -> dict[str, Any]:
        """Return the fields of a GuestRegistered on this day, with its provisional term (R6)."""
        term = provisional_term(today)
        return {
            "organisation": self.organisation,
            "branch": self.branch,
            "home_isil": self.home_isil,
            "person_ref": self.person_ref,
            "card_has_chip": self.card_has_chip,
            "identity_document_checked": self.identity_document_checked,
            "subscription_code": self.subscription_code,
            "term_begin": term.begin,
            "term_end": term.end,
            "sealed_card": self.sealed_card,
            "sealed_details": self.sealed_details,
            **self.link_request.fields(),
            **_preference_fields(self.preferences),
        }


class ImportedRow(NamedTuple):
    """A contribution row of an imported guest; both days are inclusive (R15)."""

    begin: date
    end: date | None
    status: RowStatus


class Renewal(NamedTuple):
    """All that a re-registration needs. `link_request`, `preferences` None: they stay as they are."""

    sealed_card: Encrypted
    sealed_details: Encrypted
    link_request: LinkRequest | None = None
    preferences: Preferences | None = None

    def fields(self, today: date, link_request: LinkRequest | None) -> dict[str, Any]:
        """Return the fields of a GuestReregistered on this day, with its provisional term (R6, R14)."""
        term = provisional_term(today)
        return {
            "term_begin": term.begin,
            "term_end": term.end,
            "sealed_card": self.sealed_card,
            "sealed_details": self.sealed_details,
            **(link_request or NO_LINK_REQUEST).fields(),
            **_preference_fields(self.preferences),
        }


class ImportedGuest(NamedTuple):
    """A guest of before as another system knew it. See `events.GuestImported` for the fields."""

    organisation: str
    branch: str
    home_isil: str
    person_ref: str
    card_has_chip: bool
    subscription_code: str
    source: str
    registered_on: date
    rows: tuple[ImportedRow, ...]
    strips_granted: bool
    login_account_id: str | None
    sealed_card: Encrypted
    sealed_details: Encrypted

    def fields(self) -> dict[str, Any]:
        """Return the fields of a GuestImported. The term is that of the newest row in which it ran."""
        fields = self._asdict()
        rows, strips = fields.pop("rows"), fields.pop("strips_granted")
        running = next((row for row in self.rows if row.status is RowStatus.VALID), self.rows[-1])
        return {
            **fields,
            "term_begin": running.begin,
            "term_end": self.rows[0].end,
            "contributions": [{**row._asdict(), "status": row.status.value} for row in rows],
            "lending_strips": FREE_STRIPS if strips else 0,
            "login_account_choice": "none" if self.login_account_id is None else "existing",
        }


def _preference_fields(preferences: Preferences | None) -> dict[str, Any]:
    return dict.fromkeys(PREFERENCES) if preferences is None else preferences.fields()


NO_LINK_REQUEST = LinkRequest(choice=None)

REREGISTRATION_PATRON_TYPE = "04"
FREE_STRIPS = 125
STRIPS_RECEIPT_CODE = "780"


class Guest(Aggregate):
    """The registration of one person at one library, with its whole history."""

    TOPIC = events.GUEST_TOPIC

    Event = events.GuestEvent
    Created = events.GuestRegistered
    Imported = events.GuestImported
    LendingStripsGranted = events.LendingStripsGranted
    TermConfirmed = events.TermConfirmed
    SubscriptionExpired = events.SubscriptionExpired
    Suspended = events.GuestSuspended
    Reinstated = events.GuestReinstated
    Reregistered = events.GuestReregistered
    PreferencesChanged = events.GuestPreferencesChanged
    CardNumberChanged = events.CardNumberChanged
    DetailsChanged = events.PatronDetailsChanged
    CardChipChanged = events.CardChipChanged
    LoginAccountLinkRequested = events.LoginAccountLinkRequested
    LoginAccountLinkConfirmed = events.LoginAccountLinkConfirmed
    LoginAccountLinkRefused = events.LoginAccountLinkRefused
    LoginAccountUnlinked = events.LoginAccountUnlinked
    LoginActorsMergeRequested = events.LoginActorsMergeRequested
    Deregistered = events.GuestDeregistered
    Merged = events.GuestsMerged
    DuplicateMerged = events.DuplicateMerged
    PersonalDataErased = events.PersonalDataErased

    @classmethod
    def register(cls, guest_id: UUID, admission: Admission, *, today: date, now: datetime) -> Guest:
        """Register a person who was never a guest here (R6, R7, R9, R17)."""
        return cls._begin(events.GuestRegistered, guest_id, admission.fields(today), now)

    @classmethod
    def take_over(cls, guest_id: UUID, imported: ImportedGuest, *, now: datetime) -> Guest:
        """Take over a guest of before from another system (R29)."""
        return cls._begin(events.GuestImported, guest_id, imported.fields(), now)

    @classmethod
    def _begin(cls, kind: type[Any], guest_id: UUID, fields: dict[str, Any], now: datetime) -> Guest:
        first = kind(
            originator_topic=events.GUEST_TOPIC,
            originator_id=guest_id,
            originator_version=cls.INITIAL_VERSION,
            timestamp=now,
            **fields,
        )
        guest: Guest = first.mutate(None)
        guest.pending_events.append(first)
        return guest

    def register_afresh(self, admission: Admission, *, today: date, now: datetime) -> None:
        """Register a deregistered guest again (R21).

        Raises AlreadyRegistered (R10), GuestMerged, GuestErased.
        """
        self._must_be_open()
        if self.state.status is not Status.DEREGISTERED:
            raise AlreadyRegistered(self.id)
        self.trigger_event(
            events.GuestRegistered,
            timestamp=now,
            originator_topic=events.GUEST_TOPIC,
            **admission.fields(self._day(today)),
        )

    def grant_strips(self, *, now: datetime) -> None:
        """Grant the free strips, once per guest (R8)."""
        if self.state.lending_strips == 0:
            self.trigger_event(
                events.LendingStripsGranted,
                timestamp=now,
                strips=FREE_STRIPS,
                receipt_code=STRIPS_RECEIPT_CODE,
                price="0.00",
            )

    def check_term(self, verdict: Reading, *, today: date, now: datetime) -> None:
        """Trigger the events that follow from a verdict of the home library (R12)."""
        for decision in decide(verdict, self.state.status, self.state.term, today):
            self._carry_out(decision, today, now)

    def change_card_number(self, sealed_card: Encrypted, person_ref: str, *, now: datetime) -> None:
        """Record the number that the home library gave out (R24).

        Raises NoLongerRegistered, GuestMerged, GuestErased.
        """
        self._must_be_registered()
        self.trigger_event(
            events.CardNumberChanged, timestamp=now, person_ref=person_ref, sealed_card=sealed_card
        )

    def change_details(self, sealed_details: Encrypted, *, now: datetime) -> None:
        """Record the home library's present details (R5, R24).

        Raises NoLongerRegistered, GuestMerged, GuestErased.
        """
        self._must_be_registered()
        self.trigger_event(events.PatronDetailsChanged, timestamp=now, sealed_details=sealed_details)

    def change_chip(self, card_has_chip: bool, reason: str, *, now: datetime) -> None:
        """Record whether the card has a chip, with the reason; the same as before is no event (R9, R21).

        Raises NoLongerRegistered, GuestMerged, GuestErased.
        """
        self._must_be_registered()
        if self.state.card_has_chip is not card_has_chip:
            self.trigger_event(
                events.CardChipChanged, timestamp=now, card_has_chip=card_has_chip, reason=reason
            )

    def change_preferences(self, preferences: Preferences, *, now: datetime) -> None:
        """Record what the guest wants from now on; the same as before is no event (R27).

        Also after the registration ended: a consent can be withdrawn as long as there is personal data.
        Raises GuestMerged, GuestErased.
        """
        self._must_be_open()
        if preferences != self.state.preferences:
            self.trigger_event(events.GuestPreferencesChanged, timestamp=now, **preferences.fields())

    def may_reregister(self, patron_type: str) -> None:
        """Check what can be checked before the home library is asked (R14).

        Raises WrongPatronType, NotExpired, NoLongerRegistered, GuestMerged, GuestErased.
        """
        if patron_type != REREGISTRATION_PATRON_TYPE:
            raise WrongPatronType
        self._must_be_registered()
        if self.state.status is not Status.EXPIRED:
            raise NotExpired

    def reregister(self, patron_type: str, renewal: Renewal, *, today: date, now: datetime) -> None:
        """Register an expired guest again, without new strips (R14, R17).

        Raises AlreadyLinked, and what `may_reregister` raises.
        """
        self.may_reregister(patron_type)
        link_request = self._new_link_request(renewal.link_request)
        self.trigger_event(
            events.GuestReregistered,
            timestamp=now,
            patron_type=patron_type,
            **renewal.fields(self._day(today), link_request),
        )

    def may_request_link(self) -> None:
        """Check what can be checked before the account is (R17).

        Raises AlreadyLinked, NoLongerRegistered, GuestMerged, GuestErased.
        """
        self._must_be_registered()
        if self.state.link.is_tied:
            raise AlreadyLinked

    def request_link(self, link_request: LinkRequest, *, now: datetime) -> None:
        """Request a link to a login account (R17). Raises what `may_request_link` raises."""
        self.may_request_link()
        if link_request.account_id is not None:
            self.trigger_event(events.LoginAccountLinkRequested, timestamp=now, **link_request.fields())

    def confirm_link(self, account_id: str, *, too_late: bool, now: datetime) -> None:
        """Record that identity linked the account. A reply about another account is late, and is ignored."""
        link = self.state.link
        outcome = LinkState.TOO_LATE if too_late else LinkState.LINKED
        if link.account_id == account_id and link.state is not outcome:
            self.trigger_event(
                events.LoginAccountLinkConfirmed, timestamp=now, account_id=account_id, too_late=too_late
            )

    def refuse_link(self, account_id: str | None, reason: str, *, now: datetime) -> None:
        """Record that identity refused the link. `account_id` None means the requested account.

        Identity's last reply about the account counts: a confirmation before it may have answered an earlier
        request for the same account.
        """
        link = self.state.link
        pending = link.state is LinkState.PENDING and account_id is None
        last_word = link.account_id == account_id is not None and link.state is not LinkState.REFUSED
        if pending or last_word:
            self.trigger_event(
                events.LoginAccountLinkRefused, timestamp=now, account_id=link.account_id, reason=reason
            )

    def unlink(self, reason: str, *, now: datetime) -> None:
        """Remove the login account, with a reason (R21). Raises NotLinked, GuestMerged, GuestErased."""
        self._must_be_open()
        if self.state.link.account_id is None:
            raise NotLinked
        self.trigger_event(
            events.LoginAccountUnlinked,
            timestamp=now,
            account_id=self.state.link.account_id,
            reason=reason,
        )

    def request_actor_merge(self, reason: str, *, now: datetime) -> None:
        """Record why the two actors behind a link that is too late are merged (I6). Raises NotTooLate."""
        if self.state.link.state is not LinkState.TOO_LATE:
            raise NotTooLate
        self.trigger_event(events.LoginActorsMergeRequested, timestamp=now, reason=reason)

    def deregister(self, reason: str, *, today: date, now: datetime) -> None:
        """Deregister the guest, with a reason (R21).

        Raises NoLongerRegistered, GuestMerged, GuestErased.
        """
        self._must_be_registered()
        self.trigger_event(events.GuestDeregistered, timestamp=now, on=self._day(today), reason=reason)

    def merge_into(self, into: UUID, *, now: datetime) -> None:
        """Become a merged record that points to `into` (R18). The caller checks `may_be_merged` first."""
        self.trigger_event(events.GuestsMerged, timestamp=now, into=into)

    def absorb(self, guest_id: UUID, *, now: datetime) -> None:
        """Record that the guest `guest_id` was merged into this one (R18)."""
        self.trigger_event(events.DuplicateMerged, timestamp=now, guest_id=guest_id)

    def erase_personal_data(self, *, today: date, now: datetime) -> None:
        """Record that all personal data is destroyed (R19). A second call triggers no event."""
        if self.state.status is not Status.ERASED:
            self.trigger_event(events.PersonalDataErased, timestamp=now, on=self._day(today))

    def evolve(self, event: events.GuestEvent) -> None:
        """Change the state by one event, whether it is new or read from the log."""
        self.state: GuestState = evolve_guest(getattr(self, "state", None), event)

    def _carry_out(self, decision: Decision, today: date, now: datetime) -> None:
        match decision:
            case Confirm(end):
                self.trigger_event(events.TermConfirmed, timestamp=now, end=end)
            case Expire(reason):
                on = self._day(today)
                self.trigger_event(events.SubscriptionExpired, timestamp=now, on=on, reason=reason)
            case Suspend(reason):
                self.trigger_event(events.GuestSuspended, timestamp=now, reason=reason)
            case Reinstate():
                self.trigger_event(events.GuestReinstated, timestamp=now)

    def _new_link_request(self, link_request: LinkRequest | None) -> LinkRequest | None:
        link = self.state.link
        if link_request is None or link_request.account_id is None:
            return None
        if link.is_tied and link.account_id != link_request.account_id:
            raise AlreadyLinked
        return None if link.is_tied else link_request

    def _must_be_open(self) -> None:
        if self.state.status is Status.ERASED:
            raise GuestErased
        if self.state.merged_into is not None:
            raise GuestMerged(self.state.merged_into)

    def _must_be_registered(self) -> None:
        self._must_be_open()
        if self.state.status is Status.DEREGISTERED:
            raise NoLongerRegistered

    def _day(self, today: date) -> date:
        # A machine's clock may go back. The days of one guest may not: contribution rows would overlap.
        return max(today, self.state.changed_on)
