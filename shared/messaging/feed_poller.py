"""The sweep: pulls the other service's feed from a checkpoint, so that no last message stays lost (A5).

With long-polling and no pause the same loop is the feed transport.
"""

import asyncio

import orjson
import structlog

from shared.messaging import metrics
from shared.messaging.errors import FeedUnavailable
from shared.messaging.feed import Feed, FeedPage
from shared.messaging.inbox import Inbox
from shared.platform.leases import Lease, LeaseLost, Leases, lead

PAGE = 500
TASK = "sweep"
# Between two questions to a feed that does not answer, seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0

log = structlog.get_logger(__name__)


class FeedPoller:
    """Brings all of a feed into the inbox, in one of the processes at a time.

    `interval`: seconds of rest once all is read; `wait`: seconds that the feed may hold an empty answer back.
    """

    def __init__(self, feed: Feed, inbox: Inbox, leases: Leases, *, interval: float, wait: float) -> None:
        self._feed = feed
        self._inbox = inbox
        self._leases = leases
        self._interval = interval
        self._wait = wait

    async def run(self) -> None:
        """Sweeps for ever, until cancelled."""
        await lead(self._leases, TASK, self._poll)

    async def _poll(self, lease: Lease) -> None:
        position = await self._leases.checkpoint(TASK)
        while True:
            page = await self._page(position)
            await self._deal_with(page)
            if page.position == position:
                await asyncio.sleep(self._interval)
                continue
            if not await self._leases.move_checkpoint(lease, page.position):
                raise LeaseLost
            position = page.position
            metrics.sweep_position.set(position)

    async def _page(self, position: int) -> FeedPage:
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._feed.after(position, limit=PAGE, wait=self._wait)
            except FeedUnavailable as error:
                log.warning("feed.unavailable", reason=str(error), position=position)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _deal_with(self, page: FeedPage) -> None:
        """Returns when all of the page is durably dealt with; guests side by side, each in order."""
        for unreadable in page.unreadable:
            await self._inbox.receive_unreadable(orjson.dumps(unreadable.item), unreadable.reason)
        unknown = await self._inbox.unknown(page.messages)
        metrics.sweep_found.inc(len(unknown))
        async with asyncio.TaskGroup() as receiving:
            for message in unknown:
                receiving.create_task(self._inbox.receive(message))
