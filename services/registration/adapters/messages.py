"""The messages that registration publishes about its guests, without personal data (docs/contract.md).

Every event of a guest is published, so that stream versions have no gaps. If there is nothing to share, the
data is empty. A published message type never changes: other data needs a new version of the type.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg

from registration.domain import events
from registration.domain.contributions import RowStatus, imported_rows
from registration.domain.guest import Guest
from shared.event_log import AggregateStore, RecordedEvent
from shared.event_log.reading import first_events
from shared.messaging.envelope import Message
from shared.messaging.feed import ToMessage, message_of

Data = dict[str, Any]
MOST_KNOWN = 50_000
"""Guests whose organisation a process remembers."""


def published_messages(store: AggregateStore) -> ToMessage:
    """Return a function from a recorded event to its message; None for events of other streams."""

    def to_message(recorded: RecordedEvent) -> Message | None:
        kind = MESSAGE_TYPES.get(recorded.event_type)
        if kind is None:
            return None
        share = SHARED_DATA.get(recorded.event_type)
        return message_of(
            recorded,
            source=f"/registration/{store.log.log_id}",
            kind=kind,
            data=lambda: {} if share is None else share(store.event(recorded)),
        )

    return to_message


def _guest_registered(event: events.GuestRegistered) -> Data:
    return {
        "organisation": event.organisation,
        "branch": event.branch,
        "person_ref": event.person_ref,
        "term": _provisional(event.term_begin, event.term_end),
        "login_account": {"choice": event.login_account_choice, "account_id": event.login_account_id},
        **_preferences(event),
    }


def _guest_imported(event: events.GuestImported) -> Data:
    newest = imported_rows(event)[0]
    return {
        "organisation": event.organisation,
        "branch": event.branch,
        "person_ref": event.person_ref,
        "source": event.source,
        "registered_on": event.registered_on.isoformat(),
        "term": {
            "begin": event.term_begin.isoformat(),
            "end": event.term_end.isoformat() if event.term_end else None,
            "provisional": False,
        },
        "expired_on": newest.begin.isoformat() if newest.status is RowStatus.INVALID else None,
        "login_account": {"choice": event.login_account_choice, "account_id": event.login_account_id},
    }


def _guest_reregistered(event: events.GuestReregistered) -> Data:
    chosen = {"choice": event.login_account_choice, "account_id": event.login_account_id}
    return {
        "term": _provisional(event.term_begin, event.term_end),
        "login_account": chosen if event.login_account_id else None,
        **_preferences(event),
    }


def _preferences(
    event: events.GuestRegistered | events.GuestReregistered | events.GuestPreferencesChanged,
) -> Data:
    """Return what a catalogue needs, so not the newsletter; nothing if not asked or erased (R27)."""
    if event.preferred_language is None:
        return {}
    return {"preferences": {"language": event.preferred_language, "lending_history": event.lending_history}}


def _card_number_changed(event: events.CardNumberChanged) -> Data:
    return {"person_ref": event.person_ref}


def _link_requested(event: events.LoginAccountLinkRequested) -> Data:
    return {"login_account": {"choice": event.login_account_choice, "account_id": event.login_account_id}}


def _expired(event: events.SubscriptionExpired) -> Data:
    return {"on": event.on.isoformat(), "reason": event.reason}


def _confirmed(event: events.TermConfirmed) -> Data:
    return {"end": event.end.isoformat() if event.end else None}


def _suspended(event: events.GuestSuspended) -> Data:
    return {"reason": event.reason}


def _mistake(_event: events.LoginAccountUnlinked | events.GuestDeregistered) -> Data:
    # What the clerk typed stays here: it may name people (R19).
    return {"reason": "mistake"}


def _merged(event: events.GuestsMerged) -> Data:
    return {"into": str(event.into)}


def _provisional(begin: date, end: date) -> Data:
    return {"begin": begin.isoformat(), "end": end.isoformat(), "provisional": True}


class GuestOrganisations:
    """The organisation of each guest, from the guest's first event: it never changes."""

    def __init__(self, pool: asyncpg.Pool, to_message: ToMessage) -> None:
        self._pool = pool
        self._to_message = to_message
        self._known: dict[UUID, str] = {}

    async def __call__(self, guests: Collection[UUID]) -> Mapping[UUID, str]:
        """Return guest -> organisation."""
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        if new := set(guests) - self._known.keys():
            for event in await first_events(self._pool, new):
                message = self._to_message(event)
                organisation = message and message.data.get("organisation")
                if organisation:
                    self._known[event.stream_id] = organisation
        return self._known


SHARED_DATA: dict[str, Callable[[Any], Data]] = {
    events.GuestRegistered.TOPIC: _guest_registered,
    events.GuestImported.TOPIC: _guest_imported,
    events.GuestReregistered.TOPIC: _guest_reregistered,
    events.GuestPreferencesChanged.TOPIC: _preferences,
    events.CardNumberChanged.TOPIC: _card_number_changed,
    events.SubscriptionExpired.TOPIC: _expired,
    events.TermConfirmed.TOPIC: _confirmed,
    events.GuestSuspended.TOPIC: _suspended,
    events.LoginAccountLinkRequested.TOPIC: _link_requested,
    events.LoginAccountUnlinked.TOPIC: _mistake,
    events.GuestDeregistered.TOPIC: _mistake,
    events.GuestsMerged.TOPIC: _merged,
}

# Spelled out, although they resemble the topics: other services depend on these names.
MESSAGE_TYPES = {
    Guest.Created.TOPIC: "guest-registered.v1",
    Guest.Imported.TOPIC: "guest-imported.v1",
    Guest.Reregistered.TOPIC: "guest-reregistered.v1",
    Guest.SubscriptionExpired.TOPIC: "subscription-expired.v1",
    Guest.TermConfirmed.TOPIC: "term-confirmed.v1",
    Guest.Suspended.TOPIC: "guest-suspended.v1",
    Guest.Reinstated.TOPIC: "guest-reinstated.v1",
    Guest.PreferencesChanged.TOPIC: "guest-preferences-changed.v1",
    Guest.CardNumberChanged.TOPIC: "card-number-changed.v1",
    Guest.DetailsChanged.TOPIC: "patron-details-changed.v1",
    Guest.LendingStripsGranted.TOPIC: "lending-strips-granted.v1",
    Guest.CardChipChanged.TOPIC: "card-chip-changed.v1",
    Guest.LoginAccountLinkRequested.TOPIC: "login-account-link-requested.v1",
    Guest.LoginAccountLinkConfirmed.TOPIC: "login-account-link-confirmed.v1",
    Guest.LoginAccountLinkRefused.TOPIC: "login-account-link-refused.v1",
    Guest.LoginAccountUnlinked.TOPIC: "login-account-unlinked.v1",
    Guest.LoginActorsMergeRequested.TOPIC: "login-actors-merge-requested.v1",
    Guest.Deregistered.TOPIC: "guest-deregistered.v1",
    Guest.Merged.TOPIC: "guests-merged.v1",
    Guest.DuplicateMerged.TOPIC: "duplicate-merged.v1",
    Guest.PersonalDataErased.TOPIC: "personal-data-erased.v1",
}
