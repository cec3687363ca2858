"""Every event of a guest is published, and what was once published stays as it was.

`messages/` holds the data of each type and version as it went out first: a change of it is a new version.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from registration.adapters.messages import MESSAGE_TYPES, published_messages
from registration.domain import events
from registration.domain.contributions import RowStatus
from registration.domain.events import Encrypted, GuestEvent
from registration.domain.guest import Guest, ImportedRow
from registration.domain.guest_state import Preferences
from registration.domain.login_link import LinkRequest
from registration.domain.verdict import Reason, Refused
from shared.event_log import (
    AggregateStore,
    InMemoryDataKeys,
    InMemoryEventLog,
    Metadata,
    NewEvent,
    make_mapper,
)
from shared.messaging.envelope import Message
from tests.support.event_log import with_data_key
from tests.support.scenario import noon
from tests.unit.registration.guest_events import (
    CANCELLED,
    GUEST_ID,
    SEPT_11,
    SEPT_12,
    SEPT_15,
    admission,
    imported_guest,
    renewal,
    valid,
)

GOLDEN = Path(__file__).parents[1] / "messages"
JAN = LinkRequest("existing", "acc-jan")
NEW = LinkRequest("new", "acc-new", Encrypted(b"sealed username and e-mail"))
FINES = Refused((Reason.FINES,), because_ended=False)
ENGLISH = Preferences("en", newsletter=True, lending_history=True)
META = Metadata("clerk", uuid4(), uuid4())


def whole_life() -> Guest:
    """A guest to whom everything happens that can."""
    now = noon(SEPT_12)
    guest = Guest.register(GUEST_ID, admission(JAN), today=SEPT_11, now=noon(SEPT_11))
    guest.grant_strips(now=now)
    guest.refuse_link("acc-jan", "account-in-use", now=now)
    guest.request_link(NEW, now=now)
    guest.confirm_link("acc-new", too_late=True, now=now)
    guest.request_actor_merge("de klant had zelf al ingelogd", now=now)
    guest.check_term(FINES, today=SEPT_12, now=now)
    guest.check_term(valid(date(2026, 12, 31)), today=SEPT_12, now=now)
    guest.check_term(CANCELLED, today=SEPT_12, now=now)
    guest.unlink("account van moeder", now=now)
    guest.change_card_number(Encrypted(b"new card"), "new-reference", now=now)
    guest.change_details(Encrypted(b"new details"), now=now)
    guest.change_chip(False, "verkeerd aangevinkt", now=now)
    guest.change_preferences(ENGLISH, now=now)
    guest.reregister("04", renewal(JAN), today=SEPT_15, now=now)
    guest.deregister("verkeerde klant", today=SEPT_15, now=now)
    guest.absorb(UUID(int=0xA), now=now)
    guest.merge_into(UUID(int=0xB), now=now)
    guest.erase_personal_data(today=SEPT_15, now=now)
    return guest


def of_before() -> Guest:
    """A guest who was imported."""
    return Guest.take_over(GUEST_ID, imported_guest(), now=noon(SEPT_11))


async def published(guest: Guest) -> list[Message]:
    log = InMemoryEventLog()
    keys = InMemoryDataKeys(log)
    store = AggregateStore(log, make_mapper(), keys.unwrap)
    await store.save(guest, metadata=META, side_rows=[with_data_key(guest, keys)])
    to_message = published_messages(store)
    messages = [to_message(recorded) for recorded in await log.read(0, 100)]
    return [message for message in messages if message is not None]


async def test_every_event_of_a_guest_is_published_without_gaps() -> None:
    messages = await published(whole_life())
    imported = await published(of_before())
    assert {message.type for message in (*messages, *imported)} == set(MESSAGE_TYPES.values())
    assert [message.stream_version for message in messages] == list(range(1, len(messages) + 1))
    assert {message.subject for message in messages} == {GUEST_ID}
    assert messages[0].source.startswith("/registration/")
    assert (messages[0].correlation_id, messages[0].causation_id) == (META.correlation_id, META.causation_id)


def test_every_event_has_a_topic_and_a_message_type() -> None:
    problem_types = {kind.TOPIC for kind in vars(events).values() if _is_event(kind)}
    assert problem_types == set(MESSAGE_TYPES)


def _is_event(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, GuestEvent) and kind is not GuestEvent


@pytest.mark.parametrize("kind", sorted(set(MESSAGE_TYPES.values())))
async def test_what_was_once_published_stays_as_it_was(kind: str) -> None:
    messages = [*await published(whole_life()), *await published(of_before())]
    [message] = [message for message in messages if message.type == kind]
    assert message.data == json.loads((GOLDEN / f"{kind}.json").read_text(encoding="utf-8"))


async def test_a_choice_that_is_not_made_is_null_in_a_reregistration() -> None:
    guest = Guest.register(GUEST_ID, admission(), today=SEPT_11, now=noon(SEPT_11))
    guest.check_term(CANCELLED, today=SEPT_12, now=noon(SEPT_12))
    guest.reregister("04", renewal(), today=SEPT_15, now=noon(SEPT_15))
    assert (await published(guest))[-1].data["login_account"] is None


@pytest.mark.parametrize("kind", ["guest-registered.v1", "guest-reregistered.v1"])
async def test_r27_a_registration_says_what_the_catalogue_needs_and_nothing_of_the_newsletter(
    kind: str,
) -> None:
    """The members of before are as they were: `messages/` holds a registration without preferences."""
    guest = Guest.register(GUEST_ID, admission(JAN, preferences=ENGLISH), today=SEPT_11, now=noon(SEPT_11))
    guest.check_term(CANCELLED, today=SEPT_12, now=noon(SEPT_12))
    again = renewal(JAN)._replace(preferences=ENGLISH)
    guest.reregister("04", again, today=SEPT_15, now=noon(SEPT_15))
    [message] = [message for message in await published(guest) if message.type == kind]
    before = json.loads((GOLDEN / f"{kind}.json").read_text(encoding="utf-8"))
    assert message.data == before | {"preferences": {"language": "en", "lending_history": True}}


async def test_r29_an_imported_guest_with_an_open_end_or_an_ended_subscription() -> None:
    rows = (ImportedRow(SEPT_11, None, RowStatus.VALID),)
    guest = Guest.take_over(GUEST_ID, imported_guest(rows=rows, login_account_id=None), now=noon(SEPT_15))
    data = (await published(guest))[0].data
    assert data["term"] == {"begin": "2025-09-11", "end": None, "provisional": False}
    assert data["login_account"] == {"choice": "none", "account_id": None}
    ended = (ImportedRow(SEPT_12, SEPT_15, RowStatus.INVALID), ImportedRow(SEPT_11, SEPT_11, RowStatus.VALID))
    guest = Guest.take_over(GUEST_ID, imported_guest(rows=ended), now=noon(SEPT_15))
    data = (await published(guest))[0].data
    assert (data["expired_on"], data["term"]["begin"]) == ("2025-09-12", "2025-09-11")


async def test_an_open_end_is_null() -> None:
    guest = Guest.register(GUEST_ID, admission(), today=SEPT_11, now=noon(SEPT_11))
    guest.check_term(valid(None), today=SEPT_12, now=noon(SEPT_12))
    assert (await published(guest))[-1].data == {"end": None}


async def test_r19_nothing_encrypted_is_in_a_message() -> None:
    text = b"".join([message.to_json() for message in await published(whole_life())])
    assert b"sealed" not in text


async def test_other_streams_are_not_published() -> None:
    log = InMemoryEventLog()
    store = AggregateStore(log, make_mapper(), InMemoryDataKeys(log).unwrap)
    await log.append([NewEvent(uuid4(), 1, "something.else", b"{}", uuid4(), META)])
    [recorded] = await log.read(0, 1)
    assert published_messages(store)(recorded) is None
