"""Messages of erased guests say so, whichever way they go (R19)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import cast
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.event_log import InMemoryEventLog, LogUnavailable, erasure_row
from shared.messaging.envelope import Message
from shared.messaging.feed import LogFeed
from shared.messaging.relay import Relay
from shared.platform.leases import Lease, Leases
from tests.support.eventually import eventually
from tests.support.messaging import SECRET_TOPIC, Sender, to_message


class CountingLog(InMemoryEventLog):
    """A log that counts the questions about erasures, and cannot answer the first ones when told so."""

    def __init__(self, unavailable: int = 0) -> None:
        super().__init__()
        self.asked = 0
        self._unavailable = unavailable

    async def erased(self, subject_ids: Collection[UUID]) -> Collection[UUID]:
        self.asked += 1
        if self.asked <= self._unavailable:
            raise LogUnavailable("failing over")
        return await super().erased(subject_ids)


class OneLeader(Leases):
    """Leases of a process that is alone, and has no database."""

    def __init__(self) -> None:
        super().__init__(cast("asyncpg.Pool", None))

    async def checkpoint(self, name: str) -> int:
        return 0

    async def move_checkpoint(self, lease: Lease, position: int) -> bool:
        return True


class Published(list[Message]):
    """A broker that keeps what it was given."""

    async def publish(self, message: Message) -> None:
        self.append(message)


async def test_r19_the_feed_asks_once_for_a_page() -> None:
    log = CountingLog()
    sender, erased, other = Sender(log), uuid4(), uuid4()
    for guest in (erased, other, erased):
        await sender.happens(guest, "registered", SECRET_TOPIC)
    await log.append([], [erasure_row(erased)])
    log.asked = 0
    page = await LogFeed(log, to_message).after(0, limit=100, wait=0)
    assert [(each.subject, each.erased) for each in page.messages] == [
        (erased, True),
        (other, False),
        (erased, True),
    ]
    assert log.asked == 1
    assert [each.erased for each in await LogFeed(log, to_message).of_subject(erased, after_version=0)] == [
        True,
        True,
    ]


@pytest.mark.parametrize("unavailable", [0, 1])
async def test_r19_the_relay_says_it_of_what_was_not_sent_before_the_erasure(unavailable: int) -> None:
    log, published = CountingLog(), Published()
    sender, erased, other = Sender(log), uuid4(), uuid4()
    for guest in (erased, other):
        await sender.happens(guest, "registered")
    await log.append([], [erasure_row(erased)])
    log.asked, log._unavailable = 0, unavailable

    @asynccontextmanager
    async def connect() -> AsyncIterator[Published]:
        yield published

    relaying = asyncio.create_task(Relay(log, to_message, connect, OneLeader())._relay(Lease("relay", 1)))
    await eventually(lambda: len(published) == 2)
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)
    assert [(each.subject, each.erased) for each in published] == [(erased, True), (other, False)]
