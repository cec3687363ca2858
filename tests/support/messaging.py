"""A service that sends, one that receives, and guests that are parked: small enough to see through."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
from aio_pika.abc import AbstractChannel, AbstractQueue
from pydantic import BaseModel

from shared.event_log import (
    SCHEMA,
    EventLog,
    InMemoryEventLog,
    Metadata,
    NewEvent,
    PostgresEventLog,
    RecordedEvent,
    SideRow,
)
from shared.messaging import SCHEMA as MESSAGING_SCHEMA
from shared.messaging.broker_connection import open_connection
from shared.messaging.envelope import Message, data_of
from shared.messaging.errors import FeedUnavailable
from shared.messaging.exchanges import QUEUES, declare_share, declare_subjects, follow
from shared.messaging.feed import FeedPage, LogFeed, message_of
from shared.messaging.inbox import Inbox
from shared.messaging.parked import ParkedSubjects, State
from shared.messaging.signing import SigningKeys
from shared.platform import limits
from shared.platform.postgres import open_pool
from tests.support.servers import migrated

METADATA = Metadata(caused_by="tests", correlation_id=UUID(int=7))
SECRET_TOPIC = "secret"
SOURCE = "/registration/tests"
KEYS = SigningKeys([b"k" * 32])
"""The keys of the messages of the sender."""
RECEIVER_SCHEMA = (*SCHEMA, *MESSAGING_SCHEMA)
REASON = "ValueError: what an older release could not do"
# Registration skips a type that it does not know, and cannot handle a reply to a request never made.
HARMLESS, FAULTY = "guest-noted.v1", "login-account-linked.v1"


def to_message(event: RecordedEvent) -> Message | None:
    """The sender publishes every event but those of the secret topic."""
    if event.event_type == SECRET_TOPIC:
        return None
    return message_of(event, source=SOURCE, kind=event.event_type, data=lambda: orjson.loads(event.state))


@dataclass
class Sender:
    """A log whose events are messages, with its feed, which can be unplugged."""

    log: EventLog = field(default_factory=InMemoryEventLog)
    unplugged: bool = False
    asked: int = 0

    async def happens(self, guest: UUID, *types: str) -> list[Message]:
        """These things happen to the guest; returns their messages."""
        before = len(await self.log.stream(guest))
        events = [
            NewEvent(guest, before + number, what, b"{}", uuid4(), METADATA)
            for number, what in enumerate(types, start=1)
        ]
        await self.log.append(events)
        return await LogFeed(self.log, to_message).of_subject(guest, after_version=before)

    async def after(self, position: int, *, limit: int, wait: float) -> FeedPage:
        """The feed, unless it is unplugged."""
        self._ask()
        return await LogFeed(self.log, to_message).after(position, limit=limit, wait=wait)

    async def of_subject(self, guest_id: UUID, *, after_version: int) -> list[Message]:
        """The feed of one guest, unless it is unplugged."""
        self._ask()
        return await LogFeed(self.log, to_message).of_subject(guest_id, after_version=after_version)

    def _ask(self) -> None:
        self.asked += 1
        if self.unplugged:
            raise FeedUnavailable("unplugged")


class AnyData(BaseModel):
    """Data of a message, whatever is in it."""


class Receiver:
    """A service that writes down every message it applies, in a stream of the guest, with the inbox row."""

    def __init__(self, pool: asyncpg.Pool, log: EventLog, sender: Sender) -> None:
        self.pool = pool
        self.log = log
        self.sender = sender
        self.refuses: dict[str, Exception] = {}
        self.calls = 0
        self.inbox = Inbox(pool, sender, self.handle, other="registration")

    def another_process(self) -> "Receiver":
        """A second receiver on the same database, which shares nothing else."""
        other = Receiver(self.pool, self.log, self.sender)
        other.refuses = self.refuses
        return other

    async def handle(self, message: Message, inbox_row: SideRow) -> None:
        """Load, decide, save: the guest's stream here gets an event that names the message's version."""
        self.calls += 1
        if message.type in self.refuses:
            raise self.refuses[message.type]
        data_of(message, AnyData)
        known = await self.log.stream(message.subject)
        state = str(message.stream_version).encode()
        event = NewEvent(message.subject, len(known) + 1, message.type, state, uuid4(), METADATA)
        await self.log.append([event], [inbox_row])

    async def effects(self, guest: UUID) -> list[int]:
        """The versions that had their effect, in the order in which they had it."""
        return [int(event.state) for event in await self.log.stream(guest)]

    async def all_processed(self, guests: Sequence[UUID], count: int) -> bool:
        """Whether each of these guests has had this many effects; the order and number must be right."""
        for guest in guests:
            effects = await self.effects(guest)
            assert effects == list(range(1, len(effects) + 1)), f"{guest}: {effects}"
            if len(effects) < count:
                return False
        return True


async def declare_queues(
    channel: AbstractChannel, *, source: str, consumer: str, queues: int = QUEUES
) -> list[AbstractQueue]:
    """What a consumer declares for the events of `source`; with fewer queues a subject is found sooner."""
    await declare_subjects(channel, consumer)
    names = [f"{consumer}.guests.{number}" for number in range(queues)]
    declared = [await declare_share(channel, consumer, name) for name in names]
    await follow(channel, source=source, consumer=consumer)
    return declared


@asynccontextmanager
async def receiving(database: str, sender: Sender) -> AsyncIterator[Receiver]:
    """A receiver on a fresh database."""
    await migrated(database, RECEIVER_SCHEMA)
    async with await open_pool(database, min_size=4, max_size=12) as pool, PostgresEventLog(pool) as log:
        yield Receiver(pool, log, sender)


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs these in the background; what they raise fails the test."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended


def from_identity(guest_id: UUID, version: int, kind: str) -> Message:
    """A message of identity about a guest."""
    return Message(
        id=uuid4(),
        source="/identity/tests",
        type=kind,
        subject=guest_id,
        time=datetime(2025, 9, 11, 12, tzinfo=UTC),
        stream_version=version,
        position=version,
        correlation_id=uuid4(),
        causation_id=None,
        data={},
    )


async def park_guest(
    pool: asyncpg.Pool, kind: str, state: State = State.PARKED, guest_id: UUID | None = None
) -> UUID:
    """Park a guest whose failed message is of this kind, with a harmless one behind it. Returns its id.

    Without a `guest_id` it is a guest who was never registered, and so stays parked.
    """
    guest_id = guest_id or uuid4()
    line = [from_identity(guest_id, 1, kind), from_identity(guest_id, 2, HARMLESS)]
    await ParkedSubjects(pool).park(guest_id, state, REASON, line, line[0].id)
    return guest_id


@asynccontextmanager
async def open_channel(urls: str) -> AsyncIterator[AbstractChannel]:
    """Open a channel with confirms on its own connection. Raises BrokerUnavailable, also from the body."""
    async with open_connection(urls) as connection:
        async with asyncio.timeout(limits.BROKER_ANSWER):
            channel = await connection.channel(on_return_raises=True)
        yield channel
