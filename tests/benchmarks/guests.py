"""Guests as the counter registers them: real aggregates with encrypted personal data."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from uuid import uuid4

from registration.application.repository import Card, encrypt_card, encrypt_details
from registration.domain.guest import Admission, Guest
from registration.domain.login_link import LinkRequest
from registration.domain.verdict import PatronDetails
from shared.event_log import AggregateStore, DataKey, MasterKeys, Metadata, SideRow, set_data_key
from shared.kernel.library_card import person_ref

MASTER_KEYS = MasterKeys([b"m" * 32])
PERSON_REF_KEY = b"p" * 32
METADATA = Metadata("clerk-7", uuid4())
EVENTS_PER_GUEST = 2
"""GuestRegistered and LendingStripsGranted."""

NOW = datetime(2025, 9, 11, 10, tzinfo=UTC)
TODAY = date(2025, 9, 11)
DETAILS = PatronDetails("J. Jansen", date(1980, 2, 3), "Brink 1, 9301 JK Roden", "jan.jansen@example.org")


def registered(key: DataKey, card_number: str, *, strips: bool = True) -> Guest:
    """Register a guest, with details encrypted under `key`. It has two events, or one without strips."""
    admission = Admission(
        organisation="1001",
        branch="9453",
        home_isil="NL-070288",
        person_ref=person_ref(PERSON_REF_KEY, "NL-070288", card_number),
        card_has_chip=True,
        identity_document_checked=True,
        subscription_code="346",
        sealed_card=encrypt_card(Card(card_number), key),
        sealed_details=encrypt_details(DETAILS, key),
        link_request=LinkRequest("existing", f"acc-{card_number}"),
    )
    guest = Guest.register(key.subject_id, admission, today=TODAY, now=NOW)
    set_data_key(guest, key)
    if strips:
        guest.grant_strips(now=NOW)
    return guest


def prepare(count: int, *, strips: bool) -> list[Guest]:
    """Return this number of new guests that are not saved yet."""
    keys: list[tuple[DataKey, SideRow]] = [MASTER_KEYS.create(uuid4()) for _ in range(count)]
    return [registered(key, f"0991{number:06}", strips=strips) for number, (key, _) in enumerate(keys)]


async def save_registered(store: AggregateStore, first: int, count: int, writers: int = 64) -> None:
    """Save so many registered guests with their data keys; their cards are numbered from `first`."""
    numbers = iter(range(first, first + count))

    async def writer() -> None:
        for number in numbers:
            key, row = MASTER_KEYS.create(uuid4())
            await store.save(registered(key, f"0991{number:06}"), metadata=METADATA, side_rows=[row])

    await asyncio.gather(*(writer() for _ in range(writers)))
