"""Show all personal data of a guest, for a person who asks for it (R19)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from registration.application.dependencies import Dependencies
from registration.application.show_guest import GuestView, show_guest
from registration.domain.errors import GuestNotFound
from registration.domain.events import PREFERENCES
from registration.domain.guest import Guest
from shared.event_log import DataKey, RecordedEvent

ENCRYPTED_PREFIX = "sealed_"


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """One event: what happened, when, who caused it, why, and its personal data, decrypted."""

    what: str
    at: datetime
    by: str
    reason: str | None
    personal_data: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class HeldData:
    """The present guest, and its history."""

    guest: GuestView
    history: Sequence[HeldEvent]


async def show_personal_data(guest_id: UUID, deps: Dependencies) -> HeldData:
    """Decrypt all personal data, also details that were replaced later; nothing after an erasure.

    An operator sees the guests of every organisation. Raises GuestNotFound.
    """
    guest = await deps.store.find(Guest, guest_id)
    if guest is None:
        raise GuestNotFound
    view = await show_guest(guest_id, guest.state.organisation, deps)
    key = await deps.data_keys.get(guest_id)
    recorded = await deps.store.log.stream(guest_id)
    return HeldData(view, [_held(event, key, deps) for event in recorded])


def _held(recorded: RecordedEvent, key: DataKey | None, deps: Dependencies) -> HeldEvent:
    event = deps.store.event(recorded)
    values = vars(event)
    opened = {
        name.removeprefix(ENCRYPTED_PREFIX): key.decrypt(value)
        for name, value in values.items()
        if key is not None and name.startswith(ENCRYPTED_PREFIX) and value is not None
    }
    if values.get(PREFERENCES[0]) is not None:
        opened["preferences"] = {name: values[name] for name in PREFERENCES}
    what = recorded.event_type.removeprefix("registration.")
    caused_by = recorded.metadata.caused_by
    reason = values.get("reason") or values.get("login_account_reason")
    return HeldEvent(what, recorded.recorded_at, caused_by, reason, opened)
