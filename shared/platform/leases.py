"""One leader for each task, and how far the task is: leases with an epoch (ADR 0002, ADR 0032)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self, cast
from uuid import uuid4

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy
from prometheus_client import Gauge

from shared.platform import limits
from shared.platform.lifecycle import end
from shared.platform.postgres import connect_apart
from shared.platform.retry import raise_if_cancelled

LEADING = Gauge("task_leading", "1 while this process leads the task", ["task"])
STUCK = Gauge(
    "task_stuck", "1 after the task made no progress and lost its lease, until it makes some", ["task"]
)

log = structlog.get_logger(__name__)

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return seconds of a clock that nobody sets; on Linux it also counts while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class LeaseLost(Exception):
    """Another process leads this task now, or may."""


@dataclass(slots=True)
class Lease:
    """The right to run one task, at most for so many seconds after its last progress (`Leases.keep`).

    Every new leader gets a higher epoch. `until`: when it ends without progress, by `now`. `lost`: set when
    it is not ours any more.
    """

    name: str
    epoch: int
    seconds: float = field(default=limits.LEASE, compare=False)
    until: float = field(default=0.0, compare=False)
    lost: asyncio.Event = field(default_factory=asyncio.Event, compare=False, repr=False)


@dataclass(eq=False, slots=True)
class _Claim:
    """A task here that wants a lease: at once or not at all, or as soon as it is free (`patient`)."""

    name: str
    seconds: float
    patient: bool
    answer: asyncio.Future[Lease | None]


_KEY = "hashtextextended('lease ' || {}, 0)"
# Of the leases that we have: whose epoch is still ours. And the locks of those that we want. No clock of the
# server is asked, here and below: who holds a lock decides, and the server releases it with its connection.
_LOOK = f"""
SELECT name, epoch, false AS is_free FROM leases WHERE name = ANY ($1::text[])
UNION ALL
SELECT name, NULL, pg_try_advisory_lock({_KEY.format("name")}) FROM unnest($2::text[]) AS wanted (name)
"""  # noqa: S608 - constants only
# `expires_at` is for the release before: to that one, a lease of ours is over. It may take the task from us,
# which we see at the epoch, and cannot be kept from it by a process of ours that is gone.
_LEAD = """
INSERT INTO leases AS lease (name, holder, epoch, expires_at)
SELECT name, $2, 1, '-infinity' FROM unnest($1::text[]) AS free (name)
ON CONFLICT (name) DO UPDATE
   SET holder = excluded.holder, epoch = lease.epoch + 1, expires_at = excluded.expires_at
RETURNING name, epoch
"""
_UNLOCK = f"SELECT pg_advisory_unlock({_KEY.format('name')}) FROM unnest($1::text[]) AS given_back (name)"  # noqa: S608

HELD_BY = f"""
(SELECT lease.holder FROM leases AS lease JOIN pg_locks AS lock
     ON lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1
    AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (lock.classid::bigint << 32 | lock.objid::bigint) = {_KEY.format("lease.name")}
  WHERE lease.name = {{}})
"""  # noqa: S608 - constants only
"""SQL for the process that holds the lease of this name (an SQL expression) now, or null."""


def _session_settings(holder: str) -> Mapping[str, str]:
    """Return what makes the server end the connection of a process that is stopped, or out of reach."""
    milliseconds = str(round(limits.LEASE_SESSION * 1000))
    return MappingProxyType(
        {
            "application_name": f"leases of {holder}",
            "idle_session_timeout": milliseconds,
            "tcp_user_timeout": milliseconds,
            "tcp_keepalives_idle": "2",
            "tcp_keepalives_interval": "1",
            "tcp_keepalives_count": "3",
        }
    )


class Leases:
    """Hold the leases of one process. `holder` identifies this process.

    They are locks of one connection of its own, which is open while a lease is held or wanted. The server
    ends it, and so releases them: at once when the process dies, and after `limits.LEASE_SESSION` when it is
    stopped or out of reach. One statement every `limits.LEASE_PROOF` proves that it lives. Without a proof
    for `limits.LEASE_PROVEN`, which is shorter, the process gives up its tasks by itself.
    """

    def __init__(self, pool: asyncpg.Pool, holder: str | None = None) -> None:
        self._pool = pool
        self.holder = holder or f"{socket.gethostname()}-{uuid4().hex[:12]}"
        self._held: dict[str, Lease] = {}
        self._claims: list[_Claim] = []
        self._given_back: dict[str, asyncio.Event] = {}
        self._connection: asyncpg.Connection | None = None
        self._proven_at = 0.0
        self._woken = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def take(self, name: str, seconds: float | None = None) -> Lease | None:
        """Take the lease if it is free; return None if another process, or another task here, holds it."""
        return await self._claim(name, seconds, patient=False)

    async def wait_for(self, name: str, seconds: float | None = None) -> Lease:
        """Wait until the lease is free, and take it. Without the database this takes longer."""
        return cast("Lease", await self._claim(name, seconds, patient=True))

    async def keep(self, lease: Lease) -> None:
        """Extend the lease: its work got further, or saw that nothing is left to do. Raises LeaseLost.

        For the work itself to call, and never for a timer beside it: work that hangs must lose the lease.
        """
        self.require(lease)
        lease.until = now() + lease.seconds
        STUCK.labels(lease.name).set(0)

    def require(self, lease: Lease) -> None:
        """Raise LeaseLost unless the lease is ours, as far as this process can know. Costs no statement."""
        if self._left(lease) <= 0:
            log.warning("task.lease_lost", task=lease.name, epoch=lease.epoch)
            raise LeaseLost

    async def rest(self, lease: Lease, seconds: float) -> None:
        """Pause in work that has nothing left to do, and keep the lease meanwhile. Raises LeaseLost."""
        ends_at = now() + seconds
        while (left := ends_at - now()) > 0:
            await asyncio.sleep(min(left, limits.RENEW))
            await self.keep(lease)

    async def until_over(self, lease: Lease) -> None:
        """Return when the lease is over: nobody has kept it, or it is lost."""
        while (left := self._left(lease)) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await lease.lost.wait()

    async def release(self, lease: Lease) -> None:
        """End the lease now, so that the next leader need not wait."""
        if self._held.get(lease.name) is lease:
            self._give_back(lease)
            unlocked = self._given_back[lease.name]
            with suppress(TimeoutError):  # optional: the lock ends with its connection
                async with asyncio.timeout(limits.LEASE_PROOF):
                    await unlocked.wait()
        await self._settle()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all leases with their connection."""
        if self._keeper is not None:
            await end([self._keeper], limits.CLOSE)

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

    def _left(self, lease: Lease) -> float:
        """Return for how many seconds the lease is still ours, if nothing happens meanwhile."""
        if lease.lost.is_set():
            return 0.0
        return min(lease.until, self._proven_at + limits.LEASE_PROVEN) - now()

    async def _claim(self, name: str, seconds: float | None, *, patient: bool) -> Lease | None:
        seconds = limits.LEASE if seconds is None else seconds
        claim = _Claim(name, seconds, patient, asyncio.get_running_loop().create_future())
        self._claims.append(claim)
        self._wake()
        try:
            return await claim.answer
        except asyncio.CancelledError:
            given = claim.answer.done() and not claim.answer.cancelled() and claim.answer.exception() is None
            if given and (lease := claim.answer.result()):
                await self.release(lease)  # it came at the same moment
            raise
        finally:
            if claim in self._claims:
                self._claims.remove(claim)
                await self._settle()

    async def _settle(self) -> None:
        """When no lease is held or wanted any more, wait until the connection is closed."""
        if self._keeper is not None and self._is_idle:
            self._wake()
            await asyncio.wait([self._keeper], timeout=limits.CLOSE)

    @property
    def _is_idle(self) -> bool:
        return not self._held and not self._claims

    def _wake(self) -> None:
        """Wake the keeper, or start it. One task alone uses the connection: a caller may be cancelled."""
        self._woken.set()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep_all(), name="leases")

    async def _keep_all(self) -> None:
        try:
            while self._given_back or not self._is_idle:
                self._woken.clear()
                try:
                    await self._look()
                except Exception as error:  # on any error: a new connection
                    self._drop(error)
                if not self._is_idle:
                    await self._pause()
        finally:
            self._keeper = None
            connection, self._connection = self._connection, None
            self._lose_all()
            if connection is not None:
                await connection.close()  # and so all locks are released

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limits.LEASE_TRY if self._claims else limits.LEASE_PROOF):
                await self._woken.wait()

    async def _look(self) -> None:
        """Prove that we live, see which leases are still ours, and try to take those that are wanted."""
        await self._unlock()
        claims = self._claims[:]
        wanted = {claim.name for claim in claims} - self._held.keys()
        if self._held or wanted:
            rows = await self._ask(_LOOK, self._held.keys(), wanted)
            self._check_epochs({row["name"]: row["epoch"] for row in rows if row["epoch"] is not None})
            await self._lead({row["name"] for row in rows if row["is_free"]})
        for claim in claims:
            if not claim.patient:
                self._answer(claim, None)

    async def _unlock(self) -> None:
        given_back, self._given_back = self._given_back, {}
        try:
            if given_back and self._connection is not None and not self._connection.is_closed():
                await self._ask(_UNLOCK, given_back)
        finally:
            for unlocked in given_back.values():
                unlocked.set()

    def _check_epochs(self, epochs: Mapping[str, int]) -> None:
        """Lose the leases that a worker of the release before has taken, which looks at the table alone."""
        for lease in list(self._held.values()):
            if epochs.get(lease.name, lease.epoch) != lease.epoch:
                self._give_back(lease)

    async def _lead(self, free: set[str]) -> None:
        """Write down that we lead these tasks, whose locks we have, and hand their leases out."""
        if not free:
            return
        proven_at = self._proven_at
        try:
            rows = await self._ask(_LEAD, free, self.holder)
        except asyncpg.PostgresError as error:  # for lack of space perhaps; what we have we keep
            await self._ask(_UNLOCK, free)
            self._fail(error)
            return
        for name, epoch in rows:
            claim = next(
                (claim for claim in self._claims if claim.name == name and not claim.answer.done()), None
            )
            seconds = limits.LEASE if claim is None else claim.seconds
            self._held[name] = lease = Lease(name, epoch, seconds, proven_at + seconds)
            if claim is None:
                self._give_back(lease)  # the task that wanted it has gone
            else:
                self._answer(claim, lease)

    def _answer(self, claim: _Claim, lease: Lease | None) -> None:
        if claim in self._claims:
            self._claims.remove(claim)
            if not claim.answer.done():
                claim.answer.set_result(lease)

    def _fail(self, error: Exception) -> None:
        """Raise the error where a lease is wanted at once; where it is waited for, the waiting goes on."""
        log.warning("leases.not_taken", error=type(error).__name__)
        for claim in [claim for claim in self._claims if not claim.patient]:
            self._claims.remove(claim)
            if not claim.answer.done():
                claim.answer.set_exception(error)

    async def _ask(self, statement: str, names: Iterable[str], *more: object) -> list[asyncpg.Record]:
        connection = await self._connected()
        asked_at = now()
        arguments = [list(value) if isinstance(value, set) else value for value in more]
        rows = await connection.fetch(statement, list(names), *arguments, timeout=limits.LEASE_PROOF)
        self._proven_at = asked_at
        return list(rows)

    async def _connected(self) -> asyncpg.Connection:
        """Return the connection. A new one has none of the locks of the last one."""
        if self._connection is None or self._connection.is_closed():
            self._lose_all()
            settings = _session_settings(self.holder)
            self._connection = connection = await connect_apart(self._pool, settings)
            connection.add_termination_listener(self._connection_ended)
        return self._connection

    def _connection_ended(self, connection: asyncpg.Connection | PoolConnectionProxy) -> None:
        if connection is self._connection:
            self._lose_all()
            self._woken.set()

    def _drop(self, error: Exception) -> None:
        """Close the connection: after an error its state is not known."""
        connection, self._connection = self._connection, None
        self._lose_all()
        self._fail(error)
        if connection is not None:
            connection.terminate()

    def _lose_all(self) -> None:
        """Lose all leases: their connection has ended."""
        if self._held:
            log.warning("leases.lost", tasks=sorted(self._held))
        for lease in list(self._held.values()):
            self._lose(lease)
        for unlocked in self._given_back.values():
            unlocked.set()
        self._given_back.clear()

    def _give_back(self, lease: Lease) -> None:
        self._lose(lease)
        self._given_back[lease.name] = asyncio.Event()
        self._wake()

    def _lose(self, lease: Lease) -> None:
        del self._held[lease.name]
        lease.lost.set()


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
            await _work_while_leading(leases, await leases.wait_for(name), work)
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
    """Return whether the work ended before the lease was over."""
    log.info("task.leading", task=lease.name, epoch=lease.epoch)
    LEADING.labels(lease.name).set(1)
    working = asyncio.ensure_future(work(lease))
    watching = asyncio.ensure_future(leases.until_over(lease))
    try:
        await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            return True
        _report_end(lease)
        return False
    finally:
        LEADING.labels(lease.name).set(0)
        await end([working, watching], limits.LAST_WORK)
        await leases.release(lease)


def _report_end(lease: Lease) -> None:
    if lease.until > now():
        log.warning("task.lease_lost", task=lease.name, epoch=lease.epoch)
    else:
        STUCK.labels(lease.name).set(1)
        log.error("task.stuck", task=lease.name, epoch=lease.epoch, seconds=lease.seconds)
