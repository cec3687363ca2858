"""One leader for each task, and how far the task is: leases with an epoch (ADR 0002)."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import asyncpg
import structlog
from prometheus_client import Gauge

from shared.platform import limits
from shared.platform.lifecycle import end
from shared.platform.retry import raise_if_cancelled

LEADING = Gauge("task_leading", "1 while this process leads the task", ["task"])
STUCK = Gauge(
    "task_stuck", "1 after the task made no progress and lost its lease, until it makes some", ["task"]
)

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Another process leads this task now."""


@dataclass(slots=True)
class Lease:
    """The right to run one task for so many seconds after its last progress (`Leases.keep`).

    Every new leader gets a higher epoch. `until`: when it ends, by the clock of the event loop.
    """

    name: str
    epoch: int
    seconds: float = field(default=limits.LEASE, compare=False)
    until: float = field(default=0.0, compare=False)


class Leases:
    """Take, renew and release leases for one process. `holder` identifies this process."""

    def __init__(self, pool: asyncpg.Pool, holder: str | None = None) -> None:
        self._pool = pool
        self.holder = holder or f"{socket.gethostname()}-{uuid4().hex[:12]}"

    async def take(self, name: str, seconds: float | None = None) -> Lease | None:
        """Take the lease if it is free or expired; return None if another process holds it."""
        seconds = limits.LEASE if seconds is None else seconds
        asked_at = asyncio.get_running_loop().time()
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
            seconds,
        )
        return None if epoch is None else Lease(name, epoch, seconds, asked_at + seconds)

    async def keep(self, lease: Lease) -> None:
        """Extend the lease: its work got further, or saw that nothing is left to do. Raises LeaseLost.

        For the work itself to call, and never for a timer beside it: work that hangs must lose the lease.
        """
        if lease.until - asyncio.get_running_loop().time() > lease.seconds - limits.RENEW:
            return  # it was extended just now
        if not await self.renew(lease):
            log.warning("task.lease_lost", task=lease.name, epoch=lease.epoch)
            raise LeaseLost
        STUCK.labels(lease.name).set(0)

    async def rest(self, lease: Lease, seconds: float) -> None:
        """Pause in work that has nothing left to do, and keep the lease meanwhile. Raises LeaseLost."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        while (left := ends_at - loop.time()) > 0:
            await asyncio.sleep(min(left, limits.RENEW))
            await self.keep(lease)

    async def renew(self, lease: Lease) -> bool:
        """Extend the lease now; return whether it was still ours."""
        asked_at = asyncio.get_running_loop().time()
        if not await self._touch(lease, lease.seconds):
            return False
        lease.until = asked_at + lease.seconds
        return True

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
        return await self.find_checkpoint(name) or 0

    async def find_checkpoint(self, name: str) -> int | None:
        """Return the last processed position of a task; None if it never began."""
        found: int | None = await self._pool.fetchval(
            "SELECT position FROM checkpoints WHERE name = $1", name
        )
        return found

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
            raise_if_cancelled()
            log.warning("task.interrupted", task=name, error=type(error).__name__, reason=str(error))
        await asyncio.sleep(limits.RENEW)


async def run_once(
    leases: Leases, name: str, work: Callable[[Lease], Awaitable[None]], seconds: float | None = None
) -> bool:
    """Run `work` one time as leader of the task; return whether the lease was free and the work ended."""
    lease = await leases.take(name, seconds)
    ended = False
    try:
        ended = lease is not None and await _work_while_leading(leases, lease, work)
    except* LeaseLost:
        pass  # `keep` has logged it
    return ended


async def _work_while_leading(leases: Leases, lease: Lease, work: Callable[[Lease], Awaitable[None]]) -> bool:
    """Return whether the work ended before the lease was lost."""
    log.info("task.leading", task=lease.name, epoch=lease.epoch)
    LEADING.labels(lease.name).set(1)
    working = asyncio.ensure_future(work(lease))
    watching = asyncio.ensure_future(_until_stuck(lease))
    try:
        await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        STUCK.labels(lease.name).set(1)
        log.error("task.stuck", task=lease.name, epoch=lease.epoch, seconds=lease.seconds)
        return False
    finally:
        LEADING.labels(lease.name).set(0)
        await end([working, watching], limits.LAST_WORK)
        # Optional: a lease that is not released expires.
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await leases.release(lease)


async def _until_stuck(lease: Lease) -> None:
    """Return when the lease is over: nobody has kept it."""
    now = asyncio.get_running_loop().time
    while (left := lease.until - now()) > 0:  # noqa: ASYNC110 - it waits for a moment that moves
        await asyncio.sleep(left)
