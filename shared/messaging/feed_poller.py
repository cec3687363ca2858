"""The feed poller: read the other service's feed from a checkpoint, so that no last message is lost (I8).

A lost last message of a subject leaves no gap, so only the feed can show it. With long-polling and no pause
the same loop is the feed transport.
"""

import asyncio
from functools import partial

import structlog

from shared.messaging import metrics
from shared.messaging.envelope import Message
from shared.messaging.errors import FeedUnavailable, ForeignSource
from shared.messaging.feed import Feed, FeedPage
from shared.messaging.inbox import Inbox
from shared.messaging.other_log import LostEnd
from shared.platform.leases import Lease, LeaseLost, Leases, lead, now
from shared.platform.retry import keep_trying

PAGE = 500
TASK = "sweep"
"""The name of the task and its checkpoint in the database, which older releases share."""
QUIET_SECONDS = 0.5
"""After so long without a page it is asked whether the log still has what was read last."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0

log = structlog.get_logger(__name__)


class FeedPoller:
    """Passes a whole feed to the inbox, in one of the processes at a time.

    `interval`: seconds between reads when nothing is left. `wait`: seconds that the feed may delay an empty
    response.
    """

    def __init__(self, feed: Feed, inbox: Inbox, leases: Leases, *, interval: float, wait: float) -> None:
        self._feed = feed
        self._inbox = inbox
        self._leases = leases
        self._interval = interval
        self._wait = wait

    async def run(self) -> None:
        """Poll until cancelled."""
        await lead(self._leases, TASK, self._poll)

    async def _poll(self, lease: Lease) -> None:
        position = await self._leases.checkpoint(TASK)
        last: Message | None = None
        read_at = 0.0
        while True:
            seen = max(position, await self._inbox.other_log.highest())  # before the page says where it ends
            page = await self._page(position)
            if page.head is not None and page.head < seen:
                await self._inbox.other_log.note(page.source or "", seen=seen, head=page.head)
            elif last is not None and page.position > position and now() > read_at + QUIET_SECONDS:
                await self._require_still_there(last)
            lost = await self._inbox.other_log.lost_end()
            if lost is not None and lost.went_back_at is None:
                position, last = await self._go_back(position, lost, lease), None
                continue
            await self._process(page, lease)
            await self._leases.keep(lease)
            if page.position == position:
                if lost is not None and lost.read_again_at is None:
                    await self._inbox.other_log.read_again()
                await self._leases.rest(lease, self._interval)
                continue
            if not await self._leases.move_checkpoint(lease, page.position):
                raise LeaseLost
            position, read_at = page.position, now()
            last = page.messages[-1] if page.messages else last

    async def _require_still_there(self, last: Message) -> None:
        """Note a loss when the log has another event where the last message was read.

        A standby that took over without the newest events may have grown beyond them before it is asked.
        """
        page = await self._page(last.position - 1, limit=1, wait=0)
        if not page.unreadable and [message.id for message in page.messages] != [last.id]:
            await self._inbox.other_log.note_replaced(last.source, last.position)

    async def _go_back(self, position: int, lost: LostEnd, lease: Lease) -> int:
        """Move the checkpoint back before the lost end, unless it is there, and return it.

        What the other service wrote since has positions that were read already. Where these begin is not
        known: up to a page of messages that are all known, at steps that double.
        """
        start, step = min(position, lost.head), PAGE
        while start > 0:
            start, step = max(0, start - step), 2 * step
            messages = (await self._page(start)).messages
            await self._leases.keep(lease)
            if messages and not await self._inbox.unknown(messages):
                break
        if start < position and not await self._leases.move_checkpoint_back(lease, start):
            raise LeaseLost
        await self._inbox.other_log.went_back(start)
        log.warning("feed.goes_back", seen=lost.seen, to=start)
        return start

    async def _page(self, position: int, limit: int = PAGE, wait: float | None = None) -> FeedPage:
        return await keep_trying(
            partial(self._feed.after, position, limit=limit, wait=self._wait if wait is None else wait),
            action="feed.unavailable",
            on=FeedUnavailable,
            first=FIRST_PAUSE_SECONDS,
            longest=LONGEST_PAUSE_SECONDS,
        )

    async def _process(self, page: FeedPage, lease: Lease) -> None:
        """Return when the outcome of the whole page is durable; subjects run in parallel, each in order."""
        for unreadable in page.unreadable:
            await self._inbox.receive_unreadable(unreadable.body, unreadable.reason)
        unknown = await self._inbox.unknown(page.messages)
        metrics.feed_found.inc(len(unknown))
        async with asyncio.TaskGroup() as receiving:
            for message in unknown:
                receiving.create_task(self._receive(message, lease))

    async def _receive(self, message: Message, lease: Lease) -> None:
        try:
            await self._inbox.receive_or_park(message)
        except ForeignSource as error:
            await self._inbox.receive_unreadable(message.to_json(), str(error))
        await self._leases.keep(lease)
