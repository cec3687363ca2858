"""The tasks of a worker that send the service's own messages and receive the other service's."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

from shared.event_log import EventLog
from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.feed import Feed, ToMessage
from shared.messaging.feed_poller import FeedPoller
from shared.messaging.inbox import Inbox
from shared.messaging.rabbitmq import Consumer, publishing
from shared.messaging.relay import Relay
from shared.messaging.signing import MessageKeys
from shared.platform.leases import Leases

Tasks = dict[str, Callable[[], Awaitable[None]]]
"""Tasks that must keep running, by name; each can be started again after a failure."""

POLL_INTERVAL_SECONDS = 30.0
LONG_POLL_SECONDS = 4.0
"""Shorter than a lease (`limits.LEASE`): each page, also an empty one, keeps it."""


def over_feed(leases: Leases, feed: Feed, inbox: Inbox) -> Tasks:
    """Return the tasks of the feed transport: long-poll the other service's feed; nothing is sent."""
    poller = FeedPoller(feed, inbox, leases, interval=0, wait=LONG_POLL_SECONDS)
    return {
        "feed poller": poller.run,
        "retry": inbox.keep_retrying,
        "positions": inbox.other_log.keep_storing,
    }


def over_rabbitmq(
    urls: str,
    leases: Leases,
    feed: Feed,
    inbox: Inbox,
    *,
    log: EventLog,
    to_message: ToMessage,
    service: str,
    other: str,
    keys: MessageKeys,
    faults: BrokerFaults,
    unsigned_until: datetime | None,
) -> Tasks:
    """Return the tasks of the RabbitMQ transport, with the feed poller behind it. All of these must run."""
    relay = Relay(log, to_message, partial(publishing, urls, service, keys.own), leases, faults)
    consumer = Consumer(
        urls,
        inbox,
        source=other,
        consumer=service,
        keys=keys.others,
        faults=faults,
        unsigned_until=unsigned_until,
    )
    poller = FeedPoller(feed, inbox, leases, interval=POLL_INTERVAL_SECONDS, wait=0)
    return {
        "relay": relay.run,
        "consumer": consumer.run,
        "broker faults": faults.keep_storing,
        "feed poller": poller.run,
        "retry": inbox.keep_retrying,
        "positions": inbox.other_log.keep_storing,
    }


async def feed_check(feed: Feed) -> None:
    """Raise FeedUnavailable when the other service's feed cannot be read."""
    await feed.after(0, limit=1, wait=0)
