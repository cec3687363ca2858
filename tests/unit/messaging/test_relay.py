"""The relay marks the messages of erased guests (R19), and stops when it has to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from uuid import uuid4

import asyncpg
import pytest

from shared.event_log import InMemoryEventLog, erasure_row
from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.envelope import Message
from shared.messaging.errors import BrokerUnavailable
from shared.messaging.relay import Relay
from shared.platform.leases import Lease, Leases
from tests.support.eventually import eventually
from tests.support.messaging import Sender, to_message

NO_DATABASE = cast("asyncpg.Pool", None)


class OneLeader(Leases):
    """Leases of a process that is alone, and has no database."""

    def __init__(self) -> None:
        super().__init__(NO_DATABASE)

    async def checkpoint(self, name: str) -> int:
        return 0

    async def move_checkpoint(self, lease: Lease, position: int) -> bool:
        return True


class Published(list[Message]):
    """A broker that keeps what it was given."""

    async def publish(self, message: Message) -> None:
        self.append(message)

    async def takes_messages(self) -> bool:
        return True


async def test_r19_the_relay_says_it_of_what_was_not_sent_before_the_erasure() -> None:
    log, published = InMemoryEventLog(), Published()
    sender, erased, other = Sender(log), uuid4(), uuid4()
    for guest in (erased, other):
        await sender.happens(guest, "registered")
    await log.append([], [erasure_row(erased)])

    @asynccontextmanager
    async def connect() -> AsyncIterator[Published]:
        yield published

    relaying = asyncio.create_task(
        Relay(log, to_message, connect, OneLeader(), BrokerFaults(NO_DATABASE))._relay(Lease("relay", 1))
    )
    await eventually(lambda: len(published) == 2)
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)
    assert [(each.subject, each.erased) for each in published] == [(erased, True), (other, False)]


class FailingPublisher:
    """A broker that goes away at the very moment at which the relay is stopped."""

    def __init__(self, turns_later: int) -> None:
        self.turns_later = turns_later
        self.relaying: asyncio.Task[None] | None = None

    async def publish(self, message: Message) -> None:
        self._stop_after(self.turns_later)
        raise BrokerUnavailable("gone")

    async def takes_messages(self) -> bool:
        return True

    def _stop_after(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._stop_after, turns - 1)
        elif self.relaying:
            self.relaying.cancel()


@pytest.mark.parametrize("turns_later", range(12))
async def test_a_relay_stopped_as_the_broker_goes_does_stop(turns_later: int) -> None:
    log, publisher = InMemoryEventLog(), FailingPublisher(turns_later)
    await Sender(log).happens(uuid4(), "registered")

    @asynccontextmanager
    async def connect() -> AsyncIterator[FailingPublisher]:
        yield publisher

    relay = Relay(log, to_message, connect, OneLeader(), BrokerFaults(NO_DATABASE))
    relaying = asyncio.create_task(relay._relay(Lease("relay", 1)))
    publisher.relaying = relaying
    stopped, _ = await asyncio.wait([relaying], timeout=0.5)
    relaying.cancel()
    assert stopped
    assert relaying.cancelled()
