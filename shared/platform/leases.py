"""One leader for each task and how far it has come: leases with an epoch (A3)."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import structlog
from prometheus_client import Gauge

LEADING = Gauge("task_leading", "1 while this process leads the task", ["task"])
LEASE_SECONDS = 5.0
RENEW_EVERY = 1.0

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Another process leads this task now."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do one task until it expires. The epoch rises with every new leader."""

    name: str
    epoch: int


class Leases:
    """Takes, renews and gives back leases for one process. `holder` shows who it is, and is its own."""

    def __init__(self, pool: asyncpg.Pool, holder: str | None = None) -> None:
        self._pool = pool
        self.holder = holder or f"{socket.gethostname()}-{uuid4().hex[:12]}"

    async def take(self, name: str) -> Lease | None:
        """The lease, when nobody has it (any more)."""
        epoch = await self._pool.fetchval(
            """
            INSERT INTO leases AS lease (name, holder, epoch, expires_at)
            VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
            ON CONFLICT (name) DO UPDATE
               SET holder = excluded.holder, epoch = lease.epoch + 1, expires_at = excluded.expires_at
             WHERE lease.expires_at <= clock_timestamp()
            RETURNING epoch
            """,
            name,
            self.holder,
            LEASE_SECONDS,
        )
        return None if epoch is None else Lease(name, epoch)

    async def renew(self, lease: Lease) -> bool:
        """Whether it is still ours, and then for another LEASE_SECONDS."""
        return await self._touch(lease, LEASE_SECONDS)

    async def release(self, lease: Lease) -> None:
        """Gives it back, so that another leader need not wait until it expires."""
        await self._touch(lease, 0)

    async def _touch(self, lease: Lease, seconds: float) -> bool:
        touched = await self._pool.fetchval(
            """
            UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => $4)
             WHERE name = $1 AND holder = $2 AND epoch = $3 RETURNING true
            """,
            lease.name,
            self.holder,
            lease.epoch,
            seconds,
        )
        return touched is not None

    async def checkpoint(self, name: str) -> int:
        """The last position dealt with; 0 at first."""
        return await self._pool.fetchval("SELECT position FROM checkpoints WHERE name = $1", name) or 0

    async def move_checkpoint(self, lease: Lease, position: int) -> bool:
        """Moves the checkpoint of the lease's task up to a position; False when another leads the task now.

        It only rises, and only under the epoch that leads: a leader that was stopped cannot write back.
        """
        moved = await self._pool.fetchval(
            """
            INSERT INTO checkpoints AS checkpoint (name, position, epoch)
            SELECT name, $3, epoch FROM leases WHERE name = $1 AND epoch = $2
            ON CONFLICT (name) DO UPDATE
               SET position = greatest(checkpoint.position, excluded.position), epoch = excluded.epoch
             WHERE checkpoint.epoch <= excluded.epoch
            RETURNING true
            """,
            lease.name,
            lease.epoch,
            position,
        )
        return moved is not None


async def lead(leases: Leases, name: str, work: Callable[[Lease], Awaitable[None]]) -> None:
    """Does `work` whenever this process leads the task; for ever, until cancelled.

    Work that fails gives the lease back and begins again, by whoever takes it next.
    """
    while True:
        try:
            lease = await leases.take(name)
            if lease is not None:
                await _work_while_leading(leases, lease, work)
        except Exception as error:
            log.warning("task.interrupted", task=name, error=type(error).__name__, reason=str(error))
        await asyncio.sleep(RENEW_EVERY)


async def run_once(leases: Leases, name: str, work: Callable[[Lease], Awaitable[None]]) -> bool:
    """Does `work` one time, as leader of the task; whether it was free, and the work came to its end."""
    lease = await leases.take(name)
    return lease is not None and await _work_while_leading(leases, lease, work)


async def _work_while_leading(leases: Leases, lease: Lease, work: Callable[[Lease], Awaitable[None]]) -> bool:
    """Whether the work came to its end."""
    log.info("task.leading", task=lease.name, epoch=lease.epoch)
    LEADING.labels(lease.name).set(1)
    working = asyncio.ensure_future(work(lease))
    renewing = asyncio.ensure_future(_renew(leases, lease))
    try:
        await asyncio.wait([working, renewing], return_when=asyncio.FIRST_COMPLETED)
        for ended in (working, renewing):
            if ended.done():
                ended.result()
        return working.done()
    finally:
        LEADING.labels(lease.name).set(0)
        working.cancel()
        renewing.cancel()
        await asyncio.gather(working, renewing, return_exceptions=True)
        # A courtesy only: without it the lease expires by itself.
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await leases.release(lease)


async def _renew(leases: Leases, lease: Lease) -> None:
    """Ends when the lease was lost."""
    while True:
        if not await leases.renew(lease):
            log.warning("task.lost", task=lease.name, epoch=lease.epoch)
            return
        await asyncio.sleep(RENEW_EVERY)
