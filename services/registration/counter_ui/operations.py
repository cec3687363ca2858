"""What the operators' pages look at and turn."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import asyncpg
from fastapi import Depends, Request

from registration.application.nights import Nights
from shared.messaging.feed import Feed
from shared.messaging.inbox import Inbox
from shared.messaging.queues import QueueStatus, queues_of
from shared.messaging.unreadable import UnreadableMessage, kept
from shared.projections import View
from shared.projections.background import BackgroundRebuilds
from shared.projections.status import ViewStatus, status_of


@dataclass(frozen=True, slots=True)
class Operations:
    """The service from the operators' side. `stopping` is set when the server is told to stop."""

    pool: asyncpg.Pool
    inbox: Inbox
    identity_feed: Feed
    nights: Nights
    with_broker: bool
    all_views: Sequence[View]
    rebuilds: BackgroundRebuilds
    stopping: asyncio.Event

    async def views(self) -> list[ViewStatus]:
        """How far each view is."""
        return await status_of(self.pool, self.all_views)

    async def queues(self) -> list[QueueStatus]:
        """How far messages have come."""
        return await queues_of(self.pool, self.identity_feed, with_relay=self.with_broker)

    async def unreadable(self) -> list[UnreadableMessage]:
        """What came in and is no message of ours."""
        return await kept(self.pool)


def _operations(request: Request) -> Operations:
    found: Operations = request.app.state.operations
    return found


TheOperations = Annotated[Operations, Depends(_operations)]
