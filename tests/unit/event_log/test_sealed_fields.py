"""Fields that an erasure makes unreadable: encrypted where they are stored, plain in the code (R19)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.domain import Aggregate

from shared.event_log import (
    AggregateStore,
    DecryptionFailed,
    InMemoryDataKeys,
    InMemoryEventLog,
    MasterKeys,
    Metadata,
    NoDataKey,
    RecordedEvent,
    UnreadableEvent,
    erasure_row,
    hide,
    make_mapper,
    sealed,
    unseal,
)
from tests.support.event_log import with_data_key

META = Metadata("tests", uuid4())
NOW = datetime(2025, 9, 11, tzinfo=UTC)


class Letter(Aggregate):
    """A letter of a person."""

    TOPIC = "tests.letter"

    class Event(Aggregate.Event):
        """An event of a letter."""

    class Written(Event, Aggregate.Created):
        """Its text was written."""

        TOPIC = "tests.letter-written"
        SEALED = ("text", "to")
        text: str
        to: str | None
        pages: int

    Created = Written

    def __init__(self, text: str, to: str | None, pages: int) -> None:
        self.text, self.to, self.pages = text, to, pages

    @classmethod
    def write(cls, text: str, to: str | None = None) -> Letter:
        """Write a letter of one page."""
        return cls._create(cls.Written, id=uuid4(), text=text, to=to, pages=1, timestamp=NOW)


@pytest.fixture
def log() -> InMemoryEventLog:
    return InMemoryEventLog()


@pytest.fixture
def keys(log: InMemoryEventLog) -> InMemoryDataKeys:
    return InMemoryDataKeys(log)


@pytest.fixture
def store(log: InMemoryEventLog, keys: InMemoryDataKeys) -> AggregateStore:
    return AggregateStore(log, make_mapper(), keys.unwrap)


async def saved(store: AggregateStore, keys: InMemoryDataKeys) -> UUID:
    letter = Letter.write("Lieve Jan", "Jan")
    await store.save(letter, metadata=META, side_rows=[with_data_key(letter, keys)])
    return letter.id


async def test_r19_what_is_stored_is_encrypted_and_what_is_read_is_plain(
    log: InMemoryEventLog, store: AggregateStore, keys: InMemoryDataKeys
) -> None:
    letter_id = await saved(store, keys)
    [recorded] = await log.read(0, 10)
    assert b"Jan" not in recorded.state
    assert b'"pages":1' in recorded.state
    event: Any = store.event(recorded)
    assert (event.text, event.to, event.pages) == ("Lieve Jan", "Jan", 1)
    letter = await store.load(Letter, letter_id)
    assert (letter.text, letter.to, letter.pages) == ("Lieve Jan", "Jan", 1)


async def test_r19_after_an_erasure_the_fields_are_none_and_the_rest_is_there(
    log: InMemoryEventLog, store: AggregateStore, keys: InMemoryDataKeys
) -> None:
    letter_id = await saved(store, keys)
    await log.append([], [erasure_row(letter_id)])
    letter = await store.load(Letter, letter_id)
    assert [letter.text, letter.to, letter.pages] == [None, None, 1]


async def test_without_a_data_key_nothing_is_saved_in_clear(
    log: InMemoryEventLog, store: AggregateStore
) -> None:
    with pytest.raises(NoDataKey):
        await store.save(Letter.write("Lieve Jan"), metadata=META)
    assert await log.position() == 0


async def test_a_key_of_another_subject_opens_nothing(store: AggregateStore, keys: InMemoryDataKeys) -> None:
    letter = Letter.write("Lieve Jan")
    with_data_key(letter, keys)
    [event] = letter.collect_events()
    key, _ = keys.create(letter.id)
    stored = sealed(event, keys.create(letter.id)[0])
    with pytest.raises(DecryptionFailed):
        unseal(stored, key)


async def test_an_unreadable_event_says_whether_a_key_is_missing_and_nothing_of_its_content(
    log: InMemoryEventLog, store: AggregateStore, keys: InMemoryDataKeys
) -> None:
    letter_id = await saved(store, keys)
    elsewhere = AggregateStore(log, make_mapper(), MasterKeys([b"x" * 32]).unwrap)
    [recorded] = await log.read(0, 10)
    for reading in (elsewhere.load(Letter, letter_id), _event(elsewhere, recorded)):
        with pytest.raises(
            UnreadableEvent, match=r"position 1 \(tests.letter-written, .*master key"
        ) as error:
            await reading
        assert "Jan" not in str(error.value)


async def _event(store: AggregateStore, recorded: RecordedEvent) -> Any:
    return store.event(recorded)


async def test_an_event_of_before_is_read_in_clear(store: AggregateStore, keys: InMemoryDataKeys) -> None:
    [event] = Letter.write("Lieve Jan").collect_events()
    mapper = make_mapper()
    read: Any = mapper.to_domain_event(mapper.to_stored_event(event))
    unseal(read, None)
    assert read.text == "Lieve Jan"


async def test_a_view_that_does_not_decrypt_has_the_encrypted_fields_only(keys: InMemoryDataKeys) -> None:
    letter = Letter.write("Lieve Jan", "Jan")
    key, _ = keys.create(letter.id)
    [event] = letter.collect_events()
    stored = sealed(event, key)
    hide(stored)
    assert (stored.text, stored.to) == (None, None)
    assert key.decrypt(stored.sealed) == {"text": "Lieve Jan", "to": "Jan"}
