"""A relay in a process of its own, to be stopped and killed: DATABASE_URL AMQP_URL."""

import asyncio
import sys
from functools import partial

from shared.event_log import PostgresEventLog
from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.rabbitmq import publishing
from shared.messaging.relay import Relay
from shared.platform.leases import Leases
from shared.platform.postgres import open_pool
from tests.support.messaging import KEYS, to_message


async def relay(database_url: str, amqp_url: str) -> None:
    """Relays until killed."""
    async with await open_pool(database_url, min_size=3, max_size=4) as pool, PostgresEventLog(pool) as log:
        connect = partial(publishing, amqp_url, "registration", KEYS)
        await Relay(log, to_message, connect, Leases(pool), BrokerFaults(pool)).run()


if __name__ == "__main__":
    asyncio.run(relay(*sys.argv[1:]))
