"""Identity's messages: one for every event of a guest's link, none for accounts and actors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eventsourcing.domain import DomainEventProtocol

from identity.domain.guest_link import GuestLink
from shared.event_log import AggregateStore, RecordedEvent
from shared.messaging.envelope import Message
from shared.messaging.feed import ToMessage, message_of

Data = Callable[[Any], dict[str, Any]]


def _nothing(_event: DomainEventProtocol[Any]) -> dict[str, Any]:
    """Return no data. The event is published all the same, so that the versions have no gaps."""
    return {}


def _link(event: Any) -> dict[str, Any]:
    return {"account_id": event.account_id, "actor_id": str(event.actor_id)}


def _refusal(event: GuestLink.LoginAccountLinkRefused) -> dict[str, Any]:
    # Registration needs the account id to recognise a reply to an older request.
    return {"account_id": event.account_id, "reason": event.reason}


PUBLISHED: Mapping[str, tuple[str, Data]] = {
    GuestLink.Noted.TOPIC: ("guest-noted.v1", _nothing),
    GuestLink.StandingChanged.TOPIC: ("guest-standing-changed.v1", _nothing),
    GuestLink.LoginAccountLinked.TOPIC: ("login-account-linked.v1", _link),
    GuestLink.LoginAccountLinkedTooLate.TOPIC: ("login-account-linked-too-late.v1", _link),
    GuestLink.LoginAccountLinkRefused.TOPIC: ("login-account-link-refused.v1", _refusal),
    GuestLink.LoginAccountReleased.TOPIC: ("login-account-released.v1", _nothing),
    GuestLink.Merged.TOPIC: ("guest-merged.v1", _nothing),
}
"""Event type -> message type, and the function that makes the message's data. A type never changes."""


def published_messages(store: AggregateStore) -> ToMessage:
    """Return the function from a recorded event to its message; its result is None for an internal event."""
    source = f"/identity/{store.log.log_id}"

    def to_message(recorded: RecordedEvent) -> Message | None:
        published = PUBLISHED.get(recorded.event_type)
        if published is None:
            return None
        message_type, data = published
        return message_of(
            recorded, source=source, kind=message_type, data=lambda: data(store.event(recorded))
        )

    return to_message
