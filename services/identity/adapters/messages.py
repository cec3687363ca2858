"""What identity tells other services: every event of a guest's link, and nothing of accounts and actors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eventsourcing.domain import DomainEventProtocol

from identity.domain.guest_link import GuestLink
from shared.event_log import AggregateStore, RecordedEvent
from shared.messaging.envelope import Message
from shared.messaging.feed import ToMessage

Data = Callable[[Any], dict[str, Any]]


def _nothing(_event: DomainEventProtocol[Any]) -> dict[str, Any]:
    """Nothing to share, but published: versions have no gaps."""
    return {}


def _link(event: Any) -> dict[str, Any]:
    return {"account_id": event.account_id, "actor_id": str(event.actor_id)}


def _refusal(event: GuestLink.LoginAccountLinkRefused) -> dict[str, Any]:
    # With the account, so that registration can tell an answer to an older request.
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
"""Topic of the event -> type and data of the message. Types stay readable for ever."""


def published_messages(store: AggregateStore) -> ToMessage:
    """How identity publishes a recorded event; None for what stays inside."""
    source = f"/identity/{store.log.log_id}"

    def to_message(recorded: RecordedEvent) -> Message | None:
        published = PUBLISHED.get(recorded.event_type)
        if published is None:
            return None
        kind, data = published
        return Message(
            id=recorded.event_id,
            source=source,
            type=kind,
            subject=recorded.stream_id,
            time=recorded.recorded_at,
            stream_version=recorded.stream_version,
            position=recorded.position,
            correlation_id=recorded.metadata.correlation_id,
            causation_id=recorded.metadata.causation_id,
            data=data(store.event(recorded)),
        )

    return to_message
