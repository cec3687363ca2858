"""The whole path, over real processes: from the counter's request to the link, and a known login.

The baseline is `plain_pair`, on the same PostgreSQL server and broker. Both take turns; whoever waits is
suspended. CPU seconds and statements are counted, so they hold on a noisy machine.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Literal
from uuid import uuid4

import aio_pika
import asyncpg
import httpcore2
import orjson
import psutil

from infra.local.configuration import HOME_LIBRARY_ENVIRONMENT
from infra.local.ports import answers, free_port
from infra.local.postgres import Postgres
from infra.local.processes import Program, stop_all
from infra.local.stack import Stack
from tests.benchmarks.plain_pair import VIEWS
from tests.benchmarks.results import Result
from tests.support.eventually import eventually
from tests.support.stack import load_card, registration_of

ROUNDS = 5
CLIENTS = 32
GUESTS, LOGINS = 320, 1600  # of one round
COUNTED_GUESTS, COUNTED_LOGINS = 160, 320
IDLE_SECONDS = 10.0
LINKED_WITHIN = 120.0  # seconds
PLAIN_ROLES = ("registration-api", "registration-worker", "identity-api", "identity-worker")
OUR_ROLES = tuple(role.replace("-", "_") for role in PLAIN_ROLES)

OUR_DELAYS = """/* asked by the benchmark */
SELECT extract(epoch FROM linked.recorded_at - registered.recorded_at)::float8
  FROM stored_events AS registered JOIN stored_events AS linked USING (originator_id)
 WHERE registered.topic = 'registration.guest-registered'
   AND linked.topic = 'registration.login-account-link-confirmed'
 ORDER BY linked.notification_id
"""
PLAIN_DELAYS = """/* asked by the benchmark */
WITH event AS (
    SELECT originator_id, originator_version, notification_id,
           (convert_from(state, 'UTF8')::json -> 'timestamp' ->> '_data_')::timestamptz AS at
      FROM plain_events
)
SELECT extract(epoch FROM linked.at - registered.at)::float8
  FROM event AS registered JOIN event AS linked USING (originator_id)
 WHERE registered.originator_version = 1 AND linked.originator_version = 2
 ORDER BY linked.notification_id
"""


@dataclass
class Contestant:
    """A pair of services that runs, its database of guests, and what was measured of it, round by round."""

    name: str
    urls: dict[str, str]
    tokens: dict[str, str]
    programs: dict[str, psutil.Process]
    database: str
    delays: str
    """The statement that returns the seconds from registered to linked, the latest link last."""
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, what: str, figure: float) -> None:
        self.figures.setdefault(what, []).append(figure)

    def median(self, what: str) -> float:
        return median(self.figures[what])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let its processes run inside the block; they are suspended before and after it."""
        for process in self.programs.values():
            process.resume()
        try:
            yield
        finally:
            for process in self.programs.values():
                process.suspend()


class Client:
    """Sends requests over kept connections, this number at a time."""

    def __init__(self, http: httpcore2.AsyncConnectionPool, contestant: Contestant) -> None:
        self._http = http
        self._contestant = contestant

    async def register(self, card: str) -> float:
        """Register a guest and return the seconds until the answer."""
        return await self._post("registration", "/v1/guests", registration_of(card), 201)

    async def log_in(self, card: str) -> float:
        """Log in at the catalogue and return the seconds until the answer."""
        body = {"account_id": f"acc-{card}", "organisation": "1001"}
        return await self._post("identity", "/v1/logins", body, 200)

    async def _post(self, service: str, path: str, body: dict[str, Any], status: int) -> float:
        began = time.perf_counter()
        response = await self._http.request(
            "POST",
            self._contestant.urls[service] + path,
            headers={
                "Authorization": f"Bearer {self._contestant.tokens[service]}",
                "Content-Type": "application/json",
                "Idempotency-Key": str(uuid4()),
            },
            content=orjson.dumps(body),
        )
        if response.status != status:
            raise RuntimeError(f"{self._contestant.name}: {path}: {response.status} {response.content!r}")
        return time.perf_counter() - began


async def measure(server: Postgres) -> Sequence[Result]:
    """Measure both pairs in turns, then count statements."""
    with tempfile.TemporaryDirectory(prefix="path-") as folder:
        numbers = count(1)
        async with both(server, Path(folder)) as (ours, plain, broker):
            for _ in range(ROUNDS):
                for contestant in (ours, plain):
                    with contestant.running():
                        await _round(contestant, server, broker, numbers)
            for contestant in (ours, plain):
                with contestant.running(), _logged_statements(server) as statements:
                    await _count(contestant, statements, numbers)
            with ours.running(), _logged_statements(server) as statements:
                await _idle(ours, statements)
    return _results(ours, plain)


async def _round(
    contestant: Contestant, server: Postgres, broker: psutil.Process, numbers: count[int]
) -> None:
    services = list(contestant.programs.values())
    servers = [psutil.Process(server.program.pid), broker]
    async with client_of(contestant) as client:
        await registered(client, contestant, [next(numbers)], 1)  # whoever was suspended is awake again
        cards = [next(numbers) for _ in range(GUESTS)]
        before = _cpu(services), _cpu(servers)
        seconds, answers_after = await registered(client, contestant, cards, CLIENTS)
        for what, processes, cpu in zip(("services", "servers"), (services, servers), before, strict=True):
            contestant.add(f"{what} per registration", (_cpu(processes) - cpu) / GUESTS * 1000)
        contestant.add("registrations/s", GUESTS / seconds)
        _add_percentiles(contestant, "answer", answers_after)
        _add_percentiles(contestant, "linked", (await delays(contestant))[-GUESTS:])
        await each(client.log_in, cards, CLIENTS)  # the first logins
        before_logins, began = _cpu(services), time.perf_counter()
        await each(client.log_in, (cards * (LOGINS // GUESTS + 1))[:LOGINS], CLIENTS)
        contestant.add("logins/s", LOGINS / (time.perf_counter() - began))
        contestant.add("services per login", (_cpu(services) - before_logins) / LOGINS * 1000)


async def registered(
    client: Client, contestant: Contestant, numbers: Sequence[int], clients: int
) -> tuple[float, list[float]]:
    """Register guests and wait until all are linked.

    Return the seconds until the last answer, and those of each answer.
    """
    linked = len(await delays(contestant))
    began = time.perf_counter()
    answered = await each(client.register, numbers, clients)
    seconds = time.perf_counter() - began

    async def all_linked() -> bool:
        return len(await delays(contestant)) >= linked + len(numbers)

    await eventually(all_linked, within=LINKED_WITHIN, every=0.2)
    return seconds, answered


async def each(
    do: Callable[[str], Coroutine[Any, Any, float]], numbers: Sequence[int], clients: int
) -> list[float]:
    """Do it for all cards, with so many clients at a time. Return what each took."""
    waiting, results = iter(numbers), list[float]()

    async def one_after_the_other() -> None:
        for number in waiting:
            results.append(await do(load_card(number)))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(one_after_the_other())
    return results


async def _count(contestant: Contestant, statements: Callable[[], int], numbers: count[int]) -> None:
    async with client_of(contestant) as client:
        for clients, guests in ((CLIENTS, COUNTED_GUESTS), (1, COUNTED_GUESTS // 8)):
            cards = [next(numbers) for _ in range(guests)]
            before = statements()
            began = time.perf_counter()
            await registered(client, contestant, cards, clients)
            idle = contestant.figures.get("statements/s, idle", [0.0])[0] * (time.perf_counter() - began)
            contestant.add(f"statements per registration, {clients}", (statements() - before - idle) / guests)
        await each(client.log_in, cards, 1)
        before = statements()
        await each(client.log_in, (cards * COUNTED_LOGINS)[:COUNTED_LOGINS], CLIENTS)
        contestant.add("statements per login", (statements() - before) / COUNTED_LOGINS)


async def _idle(contestant: Contestant, statements: Callable[[], int]) -> None:
    """Count what a pair does while nobody is there."""
    await asyncio.sleep(IDLE_SECONDS / 2)  # whoever was suspended is awake again
    cpu = {name: _cpu([process]) for name, process in contestant.programs.items()}
    before = statements()
    await asyncio.sleep(IDLE_SECONDS)
    contestant.add("statements/s, idle", (statements() - before) / IDLE_SECONDS)
    busiest = max(_cpu([process]) - cpu[name] for name, process in contestant.programs.items())
    contestant.add("busiest process, idle", busiest / IDLE_SECONDS * 100)


def _cpu(processes: Sequence[psutil.Process]) -> float:
    """Return the CPU seconds of these processes, of their children, and of those that have ended."""
    total = 0.0
    for process in processes:
        for one in (process, *process.children(recursive=True)):
            try:
                total += sum(one.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
    return total


async def delays(contestant: Contestant) -> list[float]:
    """Return the seconds from registered to linked of each guest, the latest link last."""
    connection = await asyncpg.connect(contestant.database)
    try:
        return [row[0] for row in await connection.fetch(contestant.delays)]
    finally:
        await connection.close()


def _add_percentiles(contestant: Contestant, what: str, seconds: Sequence[float]) -> None:
    parts = quantiles(seconds, n=100)
    contestant.add(f"{what} p50", parts[49] * 1000)
    contestant.add(f"{what} p99", parts[98] * 1000)


@contextmanager
def _logged_statements(server: Postgres) -> Iterator[Callable[[], int]]:
    """Have the server log its statements inside the block; the function returns how many it has logged."""
    begun = re.compile(
        rb"LOG:  (?:statement|execute [^:]*): (?!.*stored_events AS linked|.*FROM plain_events)"
    )

    def statements() -> int:
        return len(begun.findall(server.program.log.read_bytes()))

    server.sql("ALTER SYSTEM SET log_statement = 'all'")
    server.sql("SELECT pg_reload_conf()")
    try:
        yield statements
    finally:
        server.sql("ALTER SYSTEM RESET log_statement")
        server.sql("SELECT pg_reload_conf()")


@asynccontextmanager
async def client_of(contestant: Contestant, connections: int = CLIENTS) -> AsyncIterator[Client]:
    """Open kept connections to a pair of services."""
    async with httpcore2.AsyncConnectionPool(
        max_connections=connections, max_keepalive_connections=connections
    ) as pool:
        yield Client(pool, contestant)


@asynccontextmanager
async def both(
    server: Postgres, folder: Path
) -> AsyncIterator[tuple[Contestant, Contestant, psutil.Process]]:
    """Start the product and the plain pair; yield both, suspended, and the broker's process."""
    programs: list[Program] = []
    async with product(server, folder) as (stack, ours):
        try:
            programs += _plain_programs(server, stack, folder)
            plain = await _plain(server, stack, programs)
            [broker] = [
                child
                for child in psutil.Process().children(recursive=True)
                if child.name().startswith("beam")
            ]
            for contestant in (ours, plain):
                with contestant.running():
                    pass
            yield ours, plain, broker
        finally:
            stop_all([program for program in programs if program.running])


@asynccontextmanager
async def product(server: Postgres, folder: Path) -> AsyncIterator[tuple[Stack, Contestant]]:
    """Start the product on a PostgreSQL server and its own broker."""
    environment = {
        "RUN_DIR": str(folder / "run"),
        "TRANSPORT": "amqp",
        "DATABASE_URL": server.url("path"),
        "REGISTRATION_PORT": "0",
        "IDENTITY_PORT": "0",
    }
    server.sql('CREATE DATABASE "path"')
    stack = Stack(environment, lambda line: print(line, file=sys.stderr))
    try:
        stack.start()
        yield stack, _ours(stack)
    finally:
        stack.stop()


def _ours(stack: Stack) -> Contestant:
    told = stack.description
    return Contestant(
        "Landelijk Lenen",
        {service: told[f"{service}_url"] for service in ("registration", "identity")},
        {"registration": told["tokens"]["counter"], "identity": told["tokens"]["wisecat"]},
        {role: psutil.Process(told["pids"][role]) for role in OUR_ROLES},
        told["owner_database_urls"]["registration"],
        OUR_DELAYS,
    )


def _plain_programs(server: Postgres, stack: Stack, folder: Path) -> list[Program]:
    settings = dict(
        line.partition("=")[::2] for line in (stack.run_dir / "identity.env").read_text().splitlines()
    )
    programs = []
    for role in PLAIN_ROLES:
        service = role.partition("-")[0]
        if role.endswith("-api"):
            server.sql(f"CREATE DATABASE plain_{service}")
            server.sql(VIEWS[service], f"plain_{service}")
        environment = (
            os.environ
            | HOME_LIBRARY_ENVIRONMENT
            | {
                "PORT": str(free_port()),
                "DATABASE": server.url(f"plain_{service}"),
                "BROKER": stack.description["amqp_url"],
                "KEYS": str(stack.run_dir / "keys" / "jwks.json"),
                "HOME_LIBRARIES": str(stack.run_dir / "home_libraries.toml"),
                "DIRECTORY": settings["IDENTITY_ACCOUNT_DIRECTORY_URL"].strip("'\""),
            }
        )
        command = [sys.executable, "-m", "tests.benchmarks.plain_pair", role]
        programs.append(Program(role, command, folder / f"plain-{role}.log", environment))
    return programs


async def _plain(server: Postgres, stack: Stack, programs: Sequence[Program]) -> Contestant:
    ports = {program.name: int((program.environment or {})["PORT"]) for program in programs}
    # The APIs first: the library makes its tables, and two processes must not do that at once.
    for program in sorted(programs, key=lambda program: not program.name.endswith("-api")):
        program.spawn()
        if program.name.endswith("-api"):
            await eventually(partial(answers, ports[program.name]), within=60)
    await eventually(lambda: _consume(stack.description["amqp_url"]), within=60)
    tokens = stack.description["tokens"]
    return Contestant(
        "plain pair",
        {service: f"http://127.0.0.1:{ports[f'{service}-api']}" for service in ("registration", "identity")},
        {"registration": tokens["counter"], "identity": tokens["wisecat"]},
        {program.name: psutil.Process(program.pid) for program in programs},
        server.url("plain_registration"),
        PLAIN_DELAYS,
    )


async def _consume(broker_url: str) -> bool:
    """Return whether both workers of the plain pair consume."""
    async with await aio_pika.connect(broker_url) as connection:
        try:
            queues = [
                await (await connection.channel()).declare_queue(f"plain.{service}", passive=True)
                for service in ("registration", "identity")
            ]
        except aio_pika.exceptions.ChannelNotFoundEntity:
            return False
        return all(queue.declaration_result.consumer_count for queue in queues)


BESIDE: Sequence[tuple[str, str, str, Literal["higher", "lower"], float | None]] = (
    ("CPU per registration: services", "ms", "services per registration", "lower", 1.5),
    ("the same: PostgreSQL and broker", "ms", "servers per registration", "lower", 1.2),
    (f"registrations, {CLIENTS} clients", "/s", "registrations/s", "higher", 0.85),
    ("answer to a registration, p50", "ms", "answer p50", "lower", None),
    ("answer to a registration, p99", "ms", "answer p99", "lower", None),
    ("registered to linked under that load, p50", "ms", "linked p50", "lower", None),
    ("registered to linked under that load, p99", "ms", "linked p99", "lower", None),
    ("CPU per known login: services", "ms", "services per login", "lower", 1.5),
    (f"known logins, {CLIENTS} clients", "/s", "logins/s", "higher", 0.8),
    ("SQL statements per registration", "", f"statements per registration, {CLIENTS}", "lower", None),
)
AT_MOST = (
    (f"the same, {CLIENTS} clients", "", f"statements per registration, {CLIENTS}", 16),
    ("the same, one client", "", "statements per registration, 1", 40),
    ("SQL statements per known login, with a key", "", "statements per login", 2),
    ("SQL statements per second with nobody there", "", "statements/s, idle", 6),
    ("CPU of the busiest process with nobody there", "% of a core", "busiest process, idle", 0.5),
)


def _results(ours: Contestant, plain: Contestant) -> list[Result]:
    """Return what was measured beside the plain pair, then the counts beside the most that is wanted."""
    return [
        Result(name, unit, ours.median(what), plain.median(what), plain.name, better, target)
        for name, unit, what, better, target in BESIDE
    ] + [
        Result(name, unit, ours.median(what), most, "the most wanted", "lower", 1.0)
        for name, unit, what, most in AT_MOST
    ]
