"""One run: a stack of real processes under load, the faults of a schedule, and then the audit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import asyncpg
import httpx2

from infra.local.postgres import Postgres
from tests.chaos import clock
from tests.chaos.auditor import LINKED, Finding, audit, gather, settles
from tests.chaos.faults import NotHere, System, happens
from tests.chaos.load import REQUEST_SECONDS, Load, under
from tests.chaos.schedule import Fault, schedule
from tests.chaos.sides import OURS, proxied
from tests.support.eventually import eventually
from tests.support.full_disk import disk_of, mounted
from tests.support.stack import RunningStack

Transport = Literal["amqp", "feed"]
DISK_MIB = 8192
"""Of PostgreSQL's own disk, which is full at times; it takes no memory that is not used."""
WATCH_SECONDS = 0.1
PROGRESS_EVERY = 10
SETTLE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does. `pause`: seconds between two guests of a client. `shortened`: see `schedule`."""

    seed: int
    faults: int
    registrations: int
    transport: Transport = "amqp"
    clients: int = 12
    pause: float = 0.0
    logins_of: int = 4
    shortened: float = 1.0

    def schedule(self) -> list[Fault]:
        """Make the faults; the same for the same plan."""
        return schedule(
            self.seed,
            self.faults,
            self.registrations,
            broker=self.transport == "amqp",
            shortened=self.shortened,
        )


@dataclass(frozen=True, slots=True)
class Felt:
    """A fault that happened. `registering`, `linking`: the longest time without a new one, in seconds."""

    fault: Fault
    registering: float
    linking: float


@dataclass
class Outcome:
    """What came of a run."""

    plan: Plan
    felt: list[Felt] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)
    """Faults that this machine cannot have, and why."""
    findings: list[Finding] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    registrations: int = 0
    seconds: float = 0.0

    def count(self, *whats: str) -> int:
        """How many findings there are of these kinds."""
        return sum(finding.what in whats for finding in self.findings)


OnProgress = Callable[[int, int, str], None]
"""Called with the numbers of guests and of faults so far, and the fault that began last."""


async def run(plan: Plan, run_dir: Path, on_progress: OnProgress = lambda *_: None) -> Outcome:
    """Start a stack, do everything and stop it."""
    outcome = Outcome(plan)
    async with started(plan, run_dir) as system:
        began = time.monotonic()
        links = Links(system)
        watching = asyncio.create_task(links.watch())
        times: list[tuple[Fault, float, float]] = []
        try:
            async with under(system.load, plan.clients):
                await _do(plan, system, outcome, times, on_progress)
        except* AssertionError as stood_still:
            outcome.findings.append(Finding("stands still", str(first_of(stood_still))))
        try:
            outcome.seconds = time.monotonic() - began
            if not await settles(system.stack, SETTLE_SECONDS):
                outcome.findings.append(Finding("unlinked", f"not at rest after {SETTLE_SECONDS:.0f} s"))
            else:
                await links.require(len(system.load.guests))
        finally:
            watching.cancel()
        outcome.registrations, outcome.answers = len(system.load.guests), dict(system.load.answers)
        outcome.findings += [Finding("answer", wrong) for wrong in system.load.wrong]
        outcome.findings += audit(await gather(system.stack, system.load.guests))
    outcome.felt = [
        Felt(fault, longest(system.load.registered_at, *when), longest(links.seen_at, *when))
        for fault, *when in times
    ]
    return outcome


def first_of(group: BaseExceptionGroup[AssertionError]) -> BaseException:
    """The first error in a group, however deep."""
    [first, *_] = group.exceptions
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _do(
    plan: Plan,
    system: System,
    outcome: Outcome,
    times: list[tuple[Fault, float, float]],
    on_progress: OnProgress,
) -> None:
    """Let all faults happen, and go on until all guests are registered."""
    begun = 0

    async def do(fault: Fault) -> None:
        await asyncio.sleep(fault.after)
        nonlocal begun
        begun += 1
        on_progress(len(system.load.registered_at), begun, str(fault))
        began = time.monotonic()
        try:
            await happens(system, fault)
        except NotHere as reason:
            outcome.impossible.append(f"{fault.kind}: {reason}")
        else:
            times.append((fault, began, time.monotonic()))

    async with asyncio.TaskGroup() as happening:
        for fault in plan.schedule():
            await _reaches(system.load, fault.at, lambda now: on_progress(now, begun, ""))
            happening.create_task(do(fault))
        await _reaches(system.load, plan.registrations, lambda now: on_progress(now, begun, ""))


async def _reaches(load: Load, guests: int, on_progress: Callable[[int], None]) -> None:
    """Wait for so many registrations, as long as there are new ones."""
    while (now := len(load.registered_at)) < guests:
        on_progress(now)
        await load.reaches(min(now + PROGRESS_EVERY, guests))


class Links:
    """When each link was made, as identity's log shows it."""

    def __init__(self, system: System) -> None:
        self.seen_at: list[float] = []
        self._url = system.stack.description["database_urls"]["identity"]
        self._position = 0

    async def watch(self) -> None:
        """Look again and again, with a connection that no proxy is before; it may be ended like any other."""
        while True:
            with suppress(Exception):  # a driver raises much more than its own errors on a broken connection
                connection = await asyncpg.connect(self._url, timeout=5)
                try:
                    await self._look(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(WATCH_SECONDS)

    async def require(self, number: int) -> None:
        """Wait for so many links to be seen. Raises AssertionError: then the times say nothing."""
        await eventually(lambda: len(self.seen_at) >= number)

    async def _look(self, connection: asyncpg.Connection) -> None:
        while True:
            rows = await connection.fetch(NEW_LINKS, self._position, timeout=5)
            if rows:
                self._position = rows[-1]["notification_id"]
                self.seen_at += [time.monotonic()] * sum(row["topic"] == LINKED for row in rows)
            await asyncio.sleep(WATCH_SECONDS)


NEW_LINKS = """
SELECT notification_id, topic FROM stored_events WHERE notification_id > $1 ORDER BY notification_id
"""


def longest(times: Sequence[float], began: float, ended: float) -> float:
    """The longest time between two of these times that a fault was part of, in seconds."""
    spans = [(before, after) for before, after in pairwise(times) if after >= began and before <= ended]
    return max((after - before for before, after in spans), default=0.0)


@contextmanager
def disk(run_dir: Path) -> Iterator[bool]:
    """Give PostgreSQL a disk of its own in the stack's folder; yield whether that is possible here."""
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with mounted(run_dir / "postgres", DISK_MIB) as is_mounted:
        yield is_mounted


@asynccontextmanager
async def started(plan: Plan, run_dir: Path) -> AsyncIterator[System]:
    """A stack whose connections, clocks and disk can be spoiled, ready for work."""
    found = clock.library()
    clocks = None if found is None else clock.Clocks(run_dir / "clocks", found)
    if clocks is not None:
        clocks.set_right(*OURS)
    with disk(run_dir) as is_mounted:
        stack = RunningStack(run_dir, plan.transport, None if clocks is None else clocks.environment())
        try:
            await asyncio.to_thread(stack.start)
            async with (
                proxied(stack) as sides,
                client(stack, "registration", "counter", plan) as counter,
                client(stack, "identity", "wisecat", plan) as wisecat,
            ):
                port = urlsplit(stack.description["database_urls"]["identity"]).port or 0
                server = Postgres(run_dir / "postgres", port)
                load = Load(counter, wisecat, pause=plan.pause, logins_of=plan.logins_of)
                spoiled = disk_of(server, run_dir / "postgres", DISK_MIB, is_mounted=is_mounted)
                await eventually(lambda: _is_ready(counter, wisecat), within=60, every=0.05)
                yield System(stack, load, sides, server, spoiled, clocks)
        finally:
            await asyncio.to_thread(stack.kill_if_running)


def client(stack: RunningStack, service: str, token: str, plan: Plan) -> httpx2.AsyncClient:
    """A client with a connection for each of the load's."""
    most = httpx2.Limits(max_connections=4 * plan.clients, max_keepalive_connections=4 * plan.clients)
    return stack.client(service, token, timeout=REQUEST_SECONDS, limits=most)


async def _is_ready(*clients: httpx2.AsyncClient) -> bool:
    try:
        answers = [await each.get("/health/ready") for each in clients]
    except httpx2.TransportError:
        return False
    return all(answer.status_code == 200 for answer in answers)
