"""The whole stack by real processes and real limits, and one side after the other says nothing any more.

It takes ten minutes: `make silent`. The short forms are in tests/integration/calling_out and
tests/integration/messaging/test_standing_still.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from tests.chaos.auditor import audit, gather, settles
from tests.chaos.load import Load, linked, recognised_once, under
from tests.chaos.sides import OURS, ends, proxied
from tests.support.eventually import eventually
from tests.support.silence import is_bearable
from tests.support.stack import RunningStack, load_card, registration_of

pytestmark = [pytest.mark.silent, pytest.mark.timeout(1800)]

SILENT_SECONDS = 20.0
ANSWER_SECONDS, RETURN_SECONDS, STOP_SECONDS = 10.0, 15.0, 10.0
ENDED, WRITERS = 1000, 8

log = logging.getLogger("silence")
cards = (load_card(number) for number in count(1))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[RunningStack]:
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    running = RunningStack(tmp_path / "run", "amqp")
    running.start()
    yield running
    running.kill_if_running()


@dataclass
class Asked:
    """What was answered while a side was silent."""

    slowest: dict[str, float] = field(default_factory=dict)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    async def ask(self, client: httpx2.AsyncClient, method: str, path: str, **more: Any) -> None:
        began = time.monotonic()
        answer = await client.request(method, path, **more)
        took = time.monotonic() - began
        name = f"{method} {answer.request.url.path[:14]}"
        self.slowest[name] = max(took, self.slowest.get(name, 0.0))
        self.statuses[name, answer.status_code] += 1
        assert took <= ANSWER_SECONDS, f"{path}: {took:.1f} s"
        assert is_bearable(answer.status_code, answer.headers), f"{path}: {answer.status_code} {answer.text}"


@dataclass
class Callers:
    """A clerk and a catalogue."""

    counter: httpx2.AsyncClient
    wisecat: httpx2.AsyncClient

    async def register(self) -> dict[str, Any]:
        """A new guest, asked for until it is taken."""
        body, key = registration_of(next(cards)), {"Idempotency-Key": str(uuid4())}
        while True:
            with suppress(httpx2.TransportError):
                answer = await self.counter.post("/v1/guests", json=body, headers=key)
                if answer.status_code == 201:
                    return dict(answer.json())
            await asyncio.sleep(0.2)

    async def is_linked(self, guest: Mapping[str, Any]) -> bool:
        answer = await self.counter.get(f"/v1/guests/{guest['guest_id']}")
        return answer.status_code == 200 and answer.json()["login_link"]["state"] == "linked"

    async def goes_on(self) -> float:
        """A guest registers and is linked by the workers; after how many seconds."""
        began = time.monotonic()
        guest = await asyncio.wait_for(self.register(), RETURN_SECONDS)
        await eventually(
            partial(self.is_linked, guest), RETURN_SECONDS - (time.monotonic() - began), every=0.1
        )
        return time.monotonic() - began

    async def ask_all(self, guest: Mapping[str, Any]) -> Asked:
        """Ask for everything, again and again, for SILENT_SECONDS."""
        asked, until = Asked(), time.monotonic() + SILENT_SECONDS

        async def keep_asking(ask: Callable[[], Awaitable[None]]) -> None:
            while time.monotonic() < until:
                await ask()
                await asyncio.sleep(0.1)

        shown, unknown = f"/v1/guests/{guest['guest_id']}", {"Authorization": "Bearer " + UNKNOWN_KEY}
        calls: list[Callable[[], Awaitable[None]]] = [
            partial(asked.ask, self.counter, "GET", shown),
            partial(self._register_once, asked),
            partial(self._log_in_once, asked),
        ]
        await asyncio.gather(
            *(keep_asking(call) for call in calls * 3),
            keep_asking(partial(asked.ask, self.counter, "GET", "/health/ready")),
            keep_asking(partial(asked.ask, self.wisecat, "GET", "/health/ready")),
            keep_asking(partial(asked.ask, self.counter, "GET", shown, headers=unknown)),
        )
        return asked

    async def _register_once(self, asked: Asked) -> None:
        key = {"Idempotency-Key": str(uuid4())}
        await asked.ask(self.counter, "POST", "/v1/guests", json=registration_of(next(cards)), headers=key)

    async def _log_in_once(self, asked: Asked) -> None:
        body = {"account_id": f"acc-{next(cards)}", "organisation": "1001"}
        key = {"Idempotency-Key": str(uuid4())}
        await asked.ask(self.wisecat, "POST", "/v1/logins", json=body, headers=key)


UNKNOWN_KEY = "eyJhbGciOiJFUzI1NiIsImtpZCI6Im5vYm9keSIsInR5cCI6ImF0K2p3dCJ9.e30.AAAA"
"""A token of a key that is not in the set: the set is then read again."""


async def test_whatever_side_is_silent_answers_come_workers_go_on_and_processes_end(
    stack: RunningStack,
) -> None:
    async with proxied(stack) as sides, callers(stack) as both:
        guest = await both.register()
        await eventually(partial(both.is_linked, guest), 30)
        for name, proxies in sides.items():
            for proxy in proxies:
                proxy.silence()
            asked = await both.ask_all(guest)
            for proxy in proxies:
                proxy.speak()
            back = await both.goes_on()
            for proxy in proxies:
                proxy.silence()
            ended = await asyncio.gather(*(ends(stack, process) for process in OURS))
            for proxy in proxies:
                proxy.speak()
            log.info(
                "%s: slowest answer %.1f s, goes on after %.1f s, processes end in %s s; %s",
                name,
                max(asked.slowest.values()),
                back,
                ", ".join(f"{seconds:.1f}" for seconds in ended),
                {f"{what} {status}": times for (what, status), times in sorted(asked.statuses.items())},
            )
            assert max(ended) <= STOP_SECONDS
            await eventually(partial(is_ready, both), 60)


async def is_ready(both: Callers) -> bool:
    try:
        answers = [await each.get("/health/ready") for each in (both.counter, both.wisecat)]
    except httpx2.TransportError:
        return False
    return all(answer.status_code == 200 for answer in answers)


@asynccontextmanager
async def callers(stack: RunningStack) -> AsyncIterator[Callers]:
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
    ):
        both = Callers(counter, wisecat)
        await eventually(partial(is_ready, both), 60)
        yield both


async def test_a_thousand_backends_ended_under_eight_writers(stack: RunningStack) -> None:
    """No answer but 2xx, 4xx and 503; nothing is lost; the relay is never still for fifteen seconds."""
    urls = stack.description["database_urls"]
    async with (
        stack.client("registration", "counter", timeout=15.0) as counter,
        stack.client("identity", "wisecat", timeout=15.0) as wisecat,
        spared(urls["registration"]) as registration,
        spared(urls["identity"]) as identity,
        spared(urls["registration"]) as watcher,
    ):
        load, stillest = Load(counter, wisecat), Stillest()
        watching = asyncio.create_task(stillest.watch(watcher))
        async with under(load, WRITERS):
            for number in range(ENDED):
                await (registration, identity)[number % 2].fetchval(END_ONE)
                await asyncio.sleep(0.05)
            await load.goes_on()
        for guest in load.guests:
            await eventually(partial(linked, counter, guest), within=30)
            recognised_once(guest, (*guest.logins, await load.log_in(guest.card)))
        await eventually(lambda: stillest.lag == 0, within=30)
        watching.cancel()
        assert load.wrong == []
    assert await settles(stack, RETURN_SECONDS)
    assert audit(await gather(stack, load.guests)) == []
    log.info(
        "%d backends ended, %d guests, answers %s, the relay still for %.1f s at most",
        ENDED,
        len(load.guests),
        dict(load.answers),
        stillest.seconds,
    )
    assert stillest.seconds <= RETURN_SECONDS


END_ONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name <> 'spared'
ORDER BY random() LIMIT 1
"""
PROGRESS = """
SELECT (SELECT max(notification_id) FROM stored_events), position FROM checkpoints WHERE name = 'relay'
"""


@asynccontextmanager
async def spared(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is not ended."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "spared"})
    try:
        yield connection
    finally:
        await connection.close()


@dataclass
class Stillest:
    """The longest time in which the relay had something to publish and did not go on."""

    seconds: float = 0.0
    lag: int = 0

    async def watch(self, watcher: asyncpg.Connection) -> None:
        at, since = 0, time.monotonic()
        while True:
            head, position = await watcher.fetchrow(PROGRESS) or (0, 0)
            self.lag = head - position
            if position > at or self.lag == 0:
                at, since = position, time.monotonic()
            self.seconds = max(self.seconds, time.monotonic() - since)
            await asyncio.sleep(0.25)
