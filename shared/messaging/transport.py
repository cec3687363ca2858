"""What a service's worker does to send its own messages and to receive the other service's."""

from collections.abc import Awaitable, Callable
from functools import partial

import asyncpg

from shared.event_log import EventLog
from shared.messaging.feed import Feed, ToMessage
from shared.messaging.feed_poller import FeedPoller
from shared.messaging.inbox import Inbox
from shared.messaging.rabbitmq import Consumer, publishing
from shared.messaging.relay import Relay
from shared.platform.leases import Leases

Tasks = dict[str, Callable[[], Awaitable[None]]]
"""What must keep running, by name; each can be started again after a failure."""

POLL_INTERVAL_SECONDS = 30.0
LONG_POLL = 25.0


def over_feed(pool: asyncpg.Pool, feed: Feed, inbox: Inbox) -> Tasks:
    """The feed as the transport: the other's feed is followed by long-polling; nothing need be sent."""
    poller = FeedPoller(feed, inbox, Leases(pool), interval=0, wait=LONG_POLL)
    return {"sweep": poller.run, "retry": inbox.keep_retrying}


def over_rabbitmq(
    url: str,
    pool: asyncpg.Pool,
    feed: Feed,
    inbox: Inbox,
    *,
    log: EventLog,
    to_message: ToMessage,
    service: str,
    other: str,
) -> Tasks:
    """RabbitMQ as the transport, and a sweep of the other's feed behind it. All of these must run."""
    leases = Leases(pool)
    relay = Relay(log, to_message, partial(publishing, url, service), leases)
    consumer = Consumer(url, inbox, source=other, consumer=service)
    poller = FeedPoller(feed, inbox, leases, interval=POLL_INTERVAL_SECONDS, wait=0)
    return {"relay": relay.run, "consumer": consumer.run, "sweep": poller.run, "retry": inbox.keep_retrying}
