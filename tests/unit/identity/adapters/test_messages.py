"""Every event of a guest's link is published, and what was once published stays as it was.

`messages/` holds the data of each type and version as it went out first: a change of it is a new version.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from identity.adapters.messages import PUBLISHED, published_messages
from identity.domain.actor import Actor
from identity.domain.errors import RefusalReason
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.login_account import LoginAccount, login_account_stream
from shared.event_log import AggregateStore, InMemoryDataKeys, InMemoryEventLog, Metadata, make_mapper
from shared.messaging.envelope import Message
from tests.support.event_log import with_data_key
from tests.support.identity import InMemoryIdentity, account_details

GOLDEN = Path(__file__).parents[1] / "messages"
OF_REGISTRATION = Path(__file__).parents[2] / "registration" / "messages"
NOW = datetime(2025, 9, 11, 12, tzinfo=UTC)
ACTOR = UUID(int=0xA1)
META = Metadata("identity", uuid4(), uuid4())


def whole_life() -> GuestLink:
    """A link to which everything happens that can."""
    link = GuestLink.note(uuid4(), organisation="1001", person_ref="ab", ends_on=date(2025, 12, 11), now=NOW)
    link.refuse("acc-piet", RefusalReason.ACCOUNT_IN_USE, NOW)
    link.confirm(Linked("acc-jan", ACTOR, too_late=False), NOW)
    link.change_guest_status(link.guest_status.expired(NOW.date()), NOW)
    link.release(NOW)
    link.confirm(Linked("acc-jan", ACTOR, too_late=True), NOW)
    link.merge_into(UUID(int=0xB), NOW)
    return link


async def published() -> list[Message]:
    log = InMemoryEventLog()
    keys = InMemoryDataKeys(log)
    store = AggregateStore(log, make_mapper(), keys.unwrap)
    actor = Actor.open(uuid4(), account_stream=login_account_stream("acc-jan"), organisation=None, now=NOW)
    account = LoginAccount.open(
        "acc-jan",
        stream=login_account_stream("acc-jan"),
        actor_id=actor.id,
        home_isil="NL-070288",
        person_ref="ab",
        details=b"sealed",
        now=NOW,
    )
    account.erase(NOW)
    link = whole_life()
    rows = [with_data_key(aggregate, keys) for aggregate in (account, link)]
    await store.save(actor, account, link, metadata=META, side_rows=rows)
    to_message = published_messages(store)
    messages = [to_message(recorded) for recorded in await log.read(0, 100)]
    return [message for message in messages if message is not None]


async def test_every_event_of_a_link_is_published_without_gaps_and_nothing_else() -> None:
    messages = await published()
    assert {message.type for message in messages} == {kind for kind, _ in PUBLISHED.values()}
    assert [message.stream_version for message in messages] == list(range(1, len(messages) + 1))
    assert messages[0].source.startswith("/identity/")
    assert (messages[0].correlation_id, messages[0].causation_id) == (META.correlation_id, META.causation_id)


def test_every_event_of_a_link_has_a_message_type() -> None:
    topics = {
        each.TOPIC for each in vars(GuestLink).values() if isinstance(each, type) and hasattr(each, "TOPIC")
    }
    assert topics == set(PUBLISHED)


@pytest.mark.parametrize("kind", sorted(kind for kind, _ in PUBLISHED.values()))
async def test_what_was_once_published_stays_as_it_was(kind: str) -> None:
    [message] = [message for message in await published() if message.type == kind]
    assert message.data == json.loads((GOLDEN / f"{kind}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (path.stem, json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(OF_REGISTRATION.glob("*.json"))
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_whatever_registration_ever_published_can_still_be_read(
    kind: str, data: dict[str, Any]
) -> None:
    in_memory_identity = InMemoryIdentity(account_details("jan"))
    guest = in_memory_identity.counter.registers("jan")
    if kind == "guest-registered.v1":
        in_memory_identity.registration.messages[guest].clear()
    in_memory_identity.counter.happens(guest, kind, **data)
    await in_memory_identity.deliver_all(guest)
    assert in_memory_identity.version_of(guest) == len(in_memory_identity.registration.messages[guest])
