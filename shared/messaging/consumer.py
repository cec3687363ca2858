"""The consumer: brings what is in the queues into the inbox, and acknowledges what was dealt with (A4)."""

import asyncio
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from shared.messaging.envelope import Message
from shared.messaging.errors import BrokerUnavailable, MalformedMessage
from shared.messaging.inbox import Inbox
from shared.messaging.rabbitmq import CLOSE_SECONDS, declare_queues, open_channel

QUEUES = 4
# Unacknowledged per queue, at most: guests of one queue are handled side by side.
PREFETCH = 200
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
LAST_WORK_SECONDS = 5.0

logger = structlog.get_logger(__name__)


class Consumer:
    """Consumes a service's queues of the other's events. A message is never given back to its queue.

    Giving back would put it behind later ones of the same guest. The inbox holds what cannot be applied;
    while not even that works (the database is away) the message stays in hand and is tried again.
    """

    def __init__(self, url: str, inbox: Inbox, *, source: str, consumer: str, queues: int = QUEUES) -> None:
        self._url = url
        self._inbox = inbox
        self._source = source
        self._consumer = consumer
        self._queues = queues
        self._in_hand: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Consumes for ever, until cancelled; then what is in hand is finished first."""
        pause = FIRST_PAUSE
        while True:
            began = asyncio.get_running_loop().time()
            try:
                async with open_channel(self._url) as channel:
                    await self._consume(channel)
            except BrokerUnavailable as error:
                logger.warning("consumer.waiting", reason=str(error))
            lasted = asyncio.get_running_loop().time() - began
            pause = FIRST_PAUSE if lasted > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _consume(self, channel: AbstractChannel) -> None:
        await channel.set_qos(prefetch_count=PREFETCH)
        queues = await declare_queues(
            channel, source=self._source, consumer=self._consumer, queues=self._queues
        )
        tags = [(queue, await queue.consume(self._take_in_hand)) for queue in queues]
        logger.info("consumer.consuming", queues=[queue.name for queue in queues])
        try:
            await channel.closed()
        finally:
            with suppress(*CONNECTION_EXCEPTIONS):
                async with asyncio.timeout(CLOSE_SECONDS):
                    for queue, tag in tags:
                        await queue.cancel(tag)
            await self._finish()

    async def _take_in_hand(self, delivery: AbstractIncomingMessage) -> None:
        # Started in the order of the queue; the inbox takes one guest's messages in the order of their start.
        task = asyncio.create_task(self._deal_with(delivery))
        self._in_hand.add(task)
        task.add_done_callback(self._in_hand.discard)

    async def _deal_with(self, delivery: AbstractIncomingMessage) -> None:
        await self._receive(delivery.body)
        try:
            await delivery.ack()
        except CONNECTION_EXCEPTIONS as error:
            # It is delivered once more, and dropped as known.
            logger.info("message.not_acknowledged", reason=str(error))

    async def _receive(self, body: bytes) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._receive_once(body)
            except Exception as error:
                logger.warning("message.not_received", reason=f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _receive_once(self, body: bytes) -> None:
        try:
            message = Message.from_json(body)
        except MalformedMessage as error:
            await self._inbox.receive_unreadable(body, str(error))
        else:
            await self._inbox.receive(message)

    async def _finish(self) -> None:
        """Gives what is in hand some seconds; what is not done by then is delivered again."""
        if not self._in_hand:
            return
        _, late = await asyncio.wait(self._in_hand, timeout=LAST_WORK_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
