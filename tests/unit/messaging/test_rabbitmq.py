"""A connection to RabbitMQ that breaks does not hide that a worker has to stop."""

import asyncio

import aio_pika
import pytest

from tests.support.messaging import open_channel


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
