"""The primary PostgreSQL is killed and its standby promoted: the services find it by themselves."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode, urlsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.cli.database_servers import ServersFaulty, require_one_primary, require_standbys
from shared.event_log import SCHEMA, Metadata, NewEvent, PostgresEventLog
from shared.event_log.errors import LogUnavailable
from shared.messaging import SCHEMA as MESSAGING
from shared.platform import limits
from shared.platform.database_hosts import Hosts, NoPrimary
from shared.platform.leases import Leases
from shared.platform.postgres import Pool, connect, migrate, open_pool
from tests.support.eventually import eventually
from tests.support.servers import Databases, migrated, owner_url
from tests.support.silence import SilencingProxy
from tests.support.standby import Pair, pair

METADATA = Metadata(caused_by="tests", correlation_id=UUID(int=7))
WITHIN = 15.0
"""Seconds after the promotion in which everything goes on."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    with pair() as made:
        made.confirm_on_both()
        yield made


@pytest.fixture(scope="module")
def url(servers: Pair) -> str:
    """The address for the service's role, with both hosts."""
    made = Databases(servers.primary)(service="registration")
    asyncio.run(migrated(made, (*SCHEMA, *MESSAGING)))
    return made


async def test_a_standby_is_not_taken_wherever_it_stands_in_the_address(servers: Pair, url: str) -> None:
    for both in (servers.url(url), _turned(servers, url)):
        connection = await connect(both)
        assert not await connection.fetchval("SELECT pg_is_in_recovery()")
        await connection.close()


def _turned(servers: Pair, url: str) -> str:
    return Pair(servers.standby, servers.primary).url(url)


async def test_a_silent_host_does_not_keep_the_next_one_from_being_asked(
    servers: Pair, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine is gone: nobody answers, nobody refuses. The driver alone would wait for it each time."""
    monkeypatch.setattr(limits, "CONNECT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        named = f"127.0.0.1:{silent.getsockname()[1]}"
        both = servers.url(url).replace(f"127.0.0.1:{servers.standby.port}", named)
        both = both.replace(
            f"127.0.0.1:{servers.primary.port},{named}", f"{named},127.0.0.1:{servers.primary.port}"
        )
        hosts = Hosts(both)
        connection = await hosts.connect(timeout=limits.CONNECT)
        await connection.close()
        await asyncio.wait_for((await hosts.connect(timeout=limits.CONNECT)).close(), limits.CONNECT / 2)


async def test_connections_that_a_proxy_led_to_a_standby_are_given_up(servers: Pair, url: str) -> None:
    """A proxy or a name of one address is turned to the new primary later than somebody connected."""
    proxy = SilencingProxy("127.0.0.1", servers.standby.port)
    await proxy.start()
    through = url.replace(f":{servers.primary.port}/", f":{proxy.port}/")
    try:
        async with await open_pool(through, min_size=2, max_size=2) as pool:
            proxy.turn_to("127.0.0.1", servers.primary.port)
            write = "INSERT INTO checkpoints (name, position, epoch) VALUES ($1, 0, 0)"
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await pool.execute(write, "first")
            await pool.execute(write, "second")
    finally:
        proxy.stop()


async def test_where_no_host_is_a_primary_it_is_said_of_each_why(servers: Pair, url: str) -> None:
    nobody = servers.url(url).replace(f":{servers.primary.port},", ":1,")
    with pytest.raises(NoPrimary) as raised:
        await connect(nobody)
    assert "127.0.0.1:1: ConnectionRefusedError" in str(raised.value)
    assert f"127.0.0.1:{servers.standby.port}: a standby" in str(raised.value)


async def test_doctor_says_what_each_server_is(servers: Pair, url: str) -> None:
    both = servers.url(url)
    said = await require_one_primary(both)
    assert f"127.0.0.1:{servers.primary.port} (PostgreSQL 16" in said
    assert "timeline 1) is the primary with 1 synchronous standbys" in said
    assert f"127.0.0.1:{servers.standby.port} (PostgreSQL 16" in said
    assert "bytes behind" in said
    assert await require_standbys(both) == "1 can take over"
    assert await require_standbys(url) == "none is named in the address"


async def test_doctor_knows_a_server_that_the_address_names_in_another_way(servers: Pair, url: str) -> None:
    parts = urlsplit(url)
    role, _, host = parts.netloc.rpartition("@")
    name, port = host.split(":")
    user, password = role.split(":")
    query = urlencode({"user": user, "password": password, "host": name, "port": port})
    said = await require_one_primary(parts._replace(netloc="", query=query).geturl().replace(":/", ":///", 1))
    assert said.startswith("the server (PostgreSQL 16")


async def test_while_the_synchronous_standby_is_away_nothing_is_confirmed_and_doctor_says_so(
    servers: Pair, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DATABASE", 0.5)
    both = servers.url(url)
    async with _log(both) as (_, log):
        servers.standby.stop()
        with pytest.raises(LogUnavailable):
            await log.append([_event()])
        with pytest.raises(ServersFaulty, match="until a synchronous standby is back"):
            await require_one_primary(both)
        with pytest.raises(ServersFaulty, match=f"{servers.standby.port} cannot be asked"):
            await require_standbys(both)
        servers.standby.start()
        monkeypatch.undo()
        await eventually(lambda: log.append([_event()]), within=WITHIN)


def _event() -> NewEvent:
    return NewEvent(uuid4(), 1, "tests.happened", b"{}", uuid4(), METADATA)


@asynccontextmanager
async def _log(url: str) -> AsyncIterator[tuple[Pool, PostgresEventLog]]:
    async with await open_pool(url, min_size=3, max_size=8) as pool, PostgresEventLog(pool) as log:
        yield pool, log


class Writers:
    """Append without end; what was acknowledged is kept: the event's id and its position."""

    def __init__(self, log: PostgresEventLog) -> None:
        self._log = log
        self.acknowledged: dict[UUID, int] = {}
        self.last_at = 0.0

    async def write(self) -> None:
        while True:
            event = _event()
            try:
                position = await self._log.append([event])
            except LogUnavailable:
                continue
            self.acknowledged[event.event_id] = position
            self.last_at = time.monotonic()


async def test_a_killed_primary_loses_nothing_that_was_acknowledged_and_all_goes_on(
    servers: Pair, url: str
) -> None:
    both = servers.url(url)
    async with _log(both) as (pool, log), Leases(pool, "the survivor") as leases:
        writers = Writers(log)
        seen: list[UUID] = []
        first = await leases.wait_for("a task")
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(writers.write()) for _ in range(8)]
            running.append(tasks.create_task(_follow(log, seen)))
            await eventually(lambda: len(writers.acknowledged) > 200, within=30)
            servers.kill_primary()
            await eventually(first.lost.is_set, within=WITHIN)
            before = len(writers.acknowledged)
            await asyncio.to_thread(servers.standby.promote)
            promoted = time.monotonic()
            await eventually(lambda: len(writers.acknowledged) > before + 200, within=WITHIN)
            second = await asyncio.wait_for(leases.wait_for("a task"), WITHIN)
            for task in running[:8]:
                task.cancel()
            await eventually(lambda: set(seen) >= set(writers.acknowledged), within=WITHIN)
            running[8].cancel()
        assert writers.last_at > promoted
        assert second.epoch == first.epoch + 1
        stored = {
            row["event_id"]: row["notification_id"]
            for row in await pool.fetch("SELECT event_id, notification_id FROM stored_events")
        }
        assert {event: stored.get(event) for event in writers.acknowledged} == writers.acknowledged
        assert sorted(stored.values()) == list(range(1, len(stored) + 1))
        assert len(seen) == len(set(seen))
    assert await migrate(servers.url(owner_url(url)), (*SCHEMA, *MESSAGING), both) == []
    assert "timeline 2" in await require_one_primary(both)


async def _follow(log: PostgresEventLog, seen: list[UUID]) -> None:
    async for events in log.tail(0):
        seen += [event.event_id for event in events]


async def test_two_primaries_are_told(servers: Pair, url: str) -> None:
    """The one that was killed is started again as it was, and takes writes of its own."""
    servers.primary.start()
    with pytest.raises(ServersFaulty, match="2 servers take writes"):
        await require_one_primary(servers.url(url))
