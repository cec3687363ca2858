"""Whatever goes wrong in stopping, a worker that is told to stop does stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from uuid import uuid4

import aio_pika
import asyncpg
import pytest

from shared.event_log import InMemoryEventLog
from shared.messaging.envelope import Message
from shared.messaging.errors import BrokerUnavailable
from shared.messaging.rabbitmq import open_channel
from shared.messaging.relay import Relay
from shared.platform.leases import Lease, Leases
from tests.support.messaging import Sender, to_message


class BrokenConnection:
    """A connection that cannot be closed in good order."""

    async def channel(self, **_: object) -> object:
        return object()

    async def close(self) -> None:
        raise ConnectionResetError


async def test_a_connection_that_breaks_in_closing_does_not_hide_the_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect(*_: object, **__: object) -> BrokenConnection:
        return BrokenConnection()

    async def consume() -> None:
        async with open_channel("amqp://nowhere"):
            working.set()
            await asyncio.Event().wait()

    working = asyncio.Event()
    monkeypatch.setattr(aio_pika, "connect", connect)
    consuming = asyncio.create_task(consume())
    await working.wait()
    consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consuming


class FailingPublisher:
    """A broker that goes away at the very moment at which the relay is stopped."""

    def __init__(self, turns_later: int) -> None:
        self.turns_later = turns_later
        self.relaying: asyncio.Task[None] | None = None

    async def publish(self, message: Message) -> None:
        self._stop_after(self.turns_later)
        raise BrokerUnavailable("gone")

    def _stop_after(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._stop_after, turns - 1)
        elif self.relaying:
            self.relaying.cancel()


class OneLeader(Leases):
    """Leases of a process that is alone, and has no database."""

    async def checkpoint(self, name: str) -> int:
        return 0


@pytest.mark.parametrize("turns_later", range(12))
async def test_a_relay_stopped_as_the_broker_goes_does_stop(turns_later: int) -> None:
    log, publisher = InMemoryEventLog(), FailingPublisher(turns_later)
    await Sender(log).happens(uuid4(), "registered")

    @asynccontextmanager
    async def connect() -> AsyncIterator[FailingPublisher]:
        yield publisher

    relay = Relay(log, to_message, connect, OneLeader(cast("asyncpg.Pool", None)))
    relaying = asyncio.create_task(relay._relay(Lease("relay", 1)))
    publisher.relaying = relaying
    stopped, _ = await asyncio.wait([relaying], timeout=0.5)
    relaying.cancel()
    assert stopped
    assert relaying.cancelled()
