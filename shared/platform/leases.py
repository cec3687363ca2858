"""One leader for each task, and how far the task is: leases with an epoch (ADR 0002)."""

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
RENEW_INTERVAL_SECONDS = 1.0

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Another process leads this task now."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run one task until it expires. Every new leader gets a higher epoch."""

    name: str
    epoch: int


class Leases:
    """Take, renew and release leases for one process. `holder` identifies this process."""

    def __init__(self, pool: asyncpg.Pool, holder: str | None = None) -> None:
        self._pool = pool
        self.holder = holder or f"{socket.gethostname()}-{uuid4().hex[:12]}"

    async def take(self, name: str) -> Lease | None:
        """Take the lease if it is free or expired; return None if another process holds it."""
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
        """Extend the lease by LEASE_SECONDS; return whether it was still ours."""
        return await self._touch(lease, LEASE_SECONDS)

    async def release(self, lease: Lease) -> None:
        """End the lease now, so that the next leader need not wait until it expires."""
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
        """Return the last processed position of a task; 0 at first."""
        return await self._pool.fetchval("SELECT position FROM checkpoints WHERE name = $1", name) or 0

    async def move_checkpoint(self, lease: Lease, position: int) -> bool:
        """Move the checkpoint of the lease's task up to a position; return False when another leads now.

        The checkpoint only rises, and only under the epoch of the leader: a former leader that was stopped
        in the middle cannot write an old position.
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


async def lead(
    leases: Leases,
    name: str,
    work: Callable[[Lease], Awaitable[None]],
    *,
    ended_by: tuple[type[Exception], ...] = (),
) -> None:
    """Run `work` whenever this process leads the task, until cancelled.

    Work that fails releases the lease; it starts again in the process that takes the lease next. Errors of
    the kinds `ended_by` are raised instead: the caller decides when to compete for the lease again.
    """
    while True:
        try:
            lease = await leases.take(name)
            if lease is not None:
                await _work_while_leading(leases, lease, work)
        except ended_by:
            raise
        except Exception as error:
            log.warning("task.interrupted", task=name, error=type(error).__name__, reason=str(error))
        await asyncio.sleep(RENEW_INTERVAL_SECONDS)


async def run_once(leases: Leases, name: str, work: Callable[[Lease], Awaitable[None]]) -> bool:
    """Run `work` one time as leader of the task; return whether the lease was free and the work ended."""
    lease = await leases.take(name)
    return lease is not None and await _work_while_leading(leases, lease, work)


async def _work_while_leading(leases: Leases, lease: Lease, work: Callable[[Lease], Awaitable[None]]) -> bool:
    """Return whether the work ended before the lease was lost."""
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
        # Optional: a lease that is not released expires.
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await leases.release(lease)


async def _renew(leases: Leases, lease: Lease) -> None:
    """Return when the lease was lost."""
    while True:
        if not await leases.renew(lease):
            log.warning("task.lease_lost", task=lease.name, epoch=lease.epoch)
            return
        await asyncio.sleep(RENEW_INTERVAL_SECONDS)
