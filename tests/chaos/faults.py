"""The faults: what each kind does to a running system, and how it is undone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import asyncpg
import httpx2
import psutil

from infra.local.postgres import Postgres
from shared.messaging.envelope import Message
from shared.messaging.errors import BrokerUnavailable, Unroutable
from shared.messaging.rabbitmq import publishing
from shared.messaging.signing import SigningKeys
from tests.chaos.clock import Clocks
from tests.chaos.load import Load
from tests.chaos.schedule import Fault, Kind
from tests.chaos.sides import setting
from tests.support.eventually import eventually
from tests.support.full_disk import Disk
from tests.support.silence import SilencingProxy
from tests.support.stack import RunningStack

TIMES_AGAIN = 2
MESSAGES_AGAIN = 60
NOTICED_SECONDS = 2.0
"""After that a process has noticed that its clock is right again."""
RETURN_SECONDS = 60.0
"""What was killed must be there again after so long."""


@dataclass
class System:
    """What faults are done to. `clocks` None: there is no libfaketime here."""

    stack: RunningStack
    load: Load
    sides: Mapping[str, Sequence[SilencingProxy]]
    server: Postgres
    disk: Disk
    clocks: Clocks | None
    alone: dict[tuple[Kind, str], asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """Two of the same kind on the same target follow each other: each undoes only itself."""

    def node(self) -> psutil.Process:
        """The process of RabbitMQ's node."""
        for process in self.stack.family():
            with suppress(psutil.Error):  # it ended meanwhile
                if process.name() == "beam.smp":
                    return process
        raise LookupError("no node of RabbitMQ runs")

    def postmaster(self) -> int:
        """The process of PostgreSQL that starts all others."""
        return int((self.server.data / "postmaster.pid").read_text().split()[0])


class NotHere(Exception):
    """This machine cannot have that fault; the text says why."""


async def happens(system: System, fault: Fault) -> None:
    """Let a fault begin, last and end. Raises NotHere."""
    async with system.alone[fault.kind, fault.target], FAULTS[fault.kind](system, fault):
        await asyncio.sleep(fault.lasting)


@asynccontextmanager
async def killed(system: System, fault: Fault) -> AsyncIterator[None]:
    """The process is killed; the stack starts another one, and that one is waited for."""
    before = system.stack.pid(fault.target)
    with suppress(ProcessLookupError):
        os.kill(before, signal.SIGKILL)
    yield
    await eventually(lambda: system.stack.pid(fault.target) != before, RETURN_SECONDS)


@asynccontextmanager
async def stopped(system: System, fault: Fault) -> AsyncIterator[None]:
    """The process gets no time."""
    pid = system.stack.pid(fault.target)
    _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pid, signal.SIGCONT)


@asynccontextmanager
async def broker_killed(system: System, fault: Fault) -> AsyncIterator[None]:
    """RabbitMQ's node is killed and started again by the stack."""
    before = (await asyncio.to_thread(system.node)).pid
    _signal(before, signal.SIGKILL)
    yield
    await eventually(lambda: _is_another(system, before), RETURN_SECONDS, every=0.2)


def _is_another(system: System, pid: int) -> bool:
    with suppress(LookupError, psutil.Error):
        return system.node().pid != pid
    return False


@asynccontextmanager
async def broker_full(system: System, fault: Fault) -> AsyncIterator[None]:
    """RabbitMQ takes no messages, as with a full disk."""
    alarm = "{resource_limit, disk, node()}"
    await asyncio.to_thread(_erlang, system, f"rabbit_alarm:set_alarm({{{alarm}, []}})")
    try:
        yield
    finally:
        await asyncio.to_thread(_erlang, system, f"rabbit_alarm:clear_alarm({alarm})")


def _erlang(system: System, expression: str) -> None:
    """Run an expression in the node; a node that is down has no alarm either."""
    with suppress(LookupError, psutil.Error):
        subprocess.run(
            ["erl_call", "-sname", "landelijk@localhost", "-e"],
            input=f"{expression}.\n",
            env=system.node().environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )


@asynccontextmanager
async def database_killed(system: System, fault: Fault) -> AsyncIterator[None]:
    """PostgreSQL's postmaster is killed; the stack starts it again."""
    with suppress(OSError, IndexError):
        _signal(system.postmaster(), signal.SIGKILL)
    yield


END_BACKENDS = """
SELECT count(pg_terminate_backend(pid)) FROM (
    SELECT pid, row_number() OVER (ORDER BY backend_start, pid) AS place, count(*) OVER () AS all_of_them
      FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
) AS backend WHERE place <= ceil($1::float8 * all_of_them)
"""


@asynccontextmanager
async def backends_ended(system: System, fault: Fault) -> AsyncIterator[None]:
    """A share of the connections to a service's database is ended by the server."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # it may be down just now
        connection = await asyncpg.connect(system.server.url(fault.target), timeout=5)
        try:
            await connection.execute(END_BACKENDS.replace("$1", str(fault.amount)))
        finally:
            await connection.close(timeout=5)
    yield


@asynccontextmanager
async def disk_full(system: System, fault: Fault) -> AsyncIterator[None]:
    """PostgreSQL can write nothing."""
    await asyncio.to_thread(system.disk.fill)
    try:
        yield
    finally:
        await asyncio.to_thread(system.disk.free)


@asynccontextmanager
async def connections_cut(system: System, fault: Fault) -> AsyncIterator[None]:
    """All connections to a side end."""
    for proxy in system.sides[fault.target]:
        proxy.cut()
    yield


@asynccontextmanager
async def connections_slow(system: System, fault: Fault) -> AsyncIterator[None]:
    """Everything to and from a side comes later."""
    for proxy in system.sides[fault.target]:
        proxy.slow(fault.amount)
    try:
        yield
    finally:
        for proxy in system.sides[fault.target]:
            proxy.slow(0)


@asynccontextmanager
async def connections_silent(system: System, fault: Fault) -> AsyncIterator[None]:
    """Connections to a side stay open and nothing comes through."""
    for proxy in system.sides[fault.target]:
        proxy.silence()
    try:
        yield
    finally:
        for proxy in system.sides[fault.target]:
            proxy.speak()


@asynccontextmanager
async def messages_again(system: System, fault: Fault) -> AsyncIterator[None]:
    """Messages that a service published come again, twice and out of order."""
    with suppress(httpx2.HTTPError, BrokerUnavailable, Unroutable):  # one of them may be down just now
        messages = await _published(system, fault) * TIMES_AGAIN
        Random(fault.number).shuffle(messages)
        await _publish(system, fault.target, messages)
    yield


async def _published(system: System, fault: Fault) -> list[Message]:
    """Some messages of the log, from the place that the fault names: each guest has several events."""
    after = round(fault.amount * len(system.load.registered_at))
    async with system.stack.client(fault.target, "feed", timeout=5.0) as client:
        page = await client.get("/v1/feed", params={"after": after, "limit": MESSAGES_AGAIN})
    return [Message.from_cloudevent(item) for item in page.raise_for_status().json()["items"]]


async def _publish(system: System, service: str, messages: Sequence[Message]) -> None:
    keys = SigningKeys.from_file(Path(setting(system.stack, service, "SIGNING_KEY_FILE")))
    async with publishing(system.stack.description["amqp_url"], service, keys) as publisher:
        for message in messages:
            await publisher.publish(message)


@asynccontextmanager
async def clock_wrong(system: System, fault: Fault) -> AsyncIterator[None]:
    """The clock of a process jumps, and back."""
    if system.clocks is None:
        raise NotHere("no libfaketime: `apt-get install libfaketime` (as root, on Debian or Ubuntu)")
    system.load.wrong_clocks += 1
    try:
        with system.clocks.wrong(fault.target, fault.amount):
            yield
        await asyncio.sleep(NOTICED_SECONDS)
    finally:
        system.load.wrong_clocks -= 1


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # another fault was there before
        os.kill(pid, number)


FAULTS: Mapping[Kind, Callable[[System, Fault], AbstractAsyncContextManager[None]]] = {
    Kind.KILLED: killed,
    Kind.STOPPED: stopped,
    Kind.BROKER_KILLED: broker_killed,
    Kind.BROKER_FULL: broker_full,
    Kind.DATABASE_KILLED: database_killed,
    Kind.BACKENDS_ENDED: backends_ended,
    Kind.DISK_FULL: disk_full,
    Kind.CUT: connections_cut,
    Kind.SLOW: connections_slow,
    Kind.SILENT: connections_silent,
    Kind.AGAIN: messages_again,
    Kind.CLOCK: clock_wrong,
}
