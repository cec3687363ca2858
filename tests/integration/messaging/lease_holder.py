"""A process that leads a task, to be stopped and killed: DATABASE_URL NAME SECONDS.

The task counts: it moves its checkpoint by one, time and again, and prints each position that it has
written, with its epoch. SECONDS: until the server ends the connection of a process that is stopped.
"""

import asyncio
import sys

from shared.platform import limits
from shared.platform.leases import Lease, LeaseLost, Leases, lead
from shared.platform.postgres import open_pool

TASK = "counting"


async def count(database_url: str, name: str, seconds: str) -> None:
    """Count whenever this process leads, until killed."""
    limits.LEASE_SESSION = float(seconds)
    limits.LEASE_PROVEN, limits.LEASE_PROOF = float(seconds) * 5 / 6, float(seconds) / 3
    async with await open_pool(database_url, min_size=1, max_size=2) as pool:
        leases = Leases(pool, name)

        async def work(lease: Lease) -> None:
            position = await leases.checkpoint(TASK)
            while True:
                position += 1
                if not await leases.move_checkpoint(lease, position):
                    raise LeaseLost
                sys.stdout.write(f"wrote {position} {lease.epoch}\n")
                sys.stdout.flush()
                await leases.rest(lease, 0.02)

        await lead(leases, TASK, work)


if __name__ == "__main__":
    asyncio.run(count(*sys.argv[1:]))
