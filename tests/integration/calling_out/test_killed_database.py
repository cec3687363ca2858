"""PostgreSQL's postmaster killed under load: what was answered is there, and nothing is answered with 500."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from identity.adapters.tables import SCHEMA as IDENTITY_SCHEMA
from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from tests.integration.calling_out.test_silent_database import key, person_on
from tests.support.counter_pages import open_counter_site
from tests.support.eventually import eventually
from tests.support.identity_service import IdentityApp, open_identity_app
from tests.support.memory import servers_folder
from tests.support.registration_service import RegistrationApp, registering
from tests.support.servers import Databases
from tests.support.silence import is_bearable

KILLS = 3
FOR_CLERKS = (("/v1/operations", "/health/ready"), ("/v1/guests?name=ja", "/v1/feed?after=0"))
FOR_OPERATORS = (("/v1/operations", "/health/ready"), ("/v1/login-accounts/acc-jan",))
PAGES = (("/", "/beheer"), ("/gasten?naam=ja",))
WRITERS = 8


@pytest.fixture
def own_postgres() -> Any:
    """A server that this test alone kills."""
    with servers_folder("killed") as folder:
        server = Postgres(folder)
        server.start()
        yield server
        server.stop()


class Seen:
    """What was answered, by what was asked, and what was acknowledged."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.guests: dict[str, str] = {}
        self.asking = True

    def note(self, answer: httpx2.Response) -> httpx2.Response:
        """Count an answer; one that a caller can do nothing with is wrong."""
        self.statuses[answer.status_code] += 1
        if not is_bearable(answer.status_code, answer.headers):
            self.wrong.append(f"{answer.request.method} {answer.request.url.path}: {answer.status_code}")
        return answer


async def test_a_killed_postmaster_costs_no_answer_that_a_caller_cannot_use(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    databases, seen = Databases(own_postgres), Seen()
    folders = {name: tmp_path / name for name in ("registration", "identity")}
    for folder in folders.values():
        folder.mkdir()
    async with AsyncExitStack() as opened:
        site = await opened.enter_async_context(
            open_counter_site(databases(scripts=SCHEMA), folders["registration"])
        )
        identity = await opened.enter_async_context(
            open_identity_app(databases("identity", IDENTITY_SCHEMA), folders["identity"])
        )
        claims = {"scope": "counter guests operator feed", "iss": site.issuer.url}
        clerk = await opened.enter_async_context(site.app.client(**claims))
        wisecat = await opened.enter_async_context(identity.client())
        operator = await opened.enter_async_context(identity.client(scope="operator"))
        browser = await opened.enter_async_context(site.signed_in())
        asking = [
            *(_registers(site.app, clerk, number, seen) for number in range(WRITERS)),
            *(_logs_in(identity, wisecat, seen) for _ in range(3)),
            *(_asks(clerk, paths, seen) for paths in FOR_CLERKS),
            *(_asks(operator, paths, seen) for paths in FOR_OPERATORS),
            *(_asks(browser, paths, seen) for paths in PAGES),
        ]
        tasks = [asyncio.create_task(one) for one in asking]
        for _ in range(KILLS):
            before = seen.statuses[201]
            await eventually(lambda: seen.statuses[201] > before + 10, within=30)  # noqa: B023
            await asyncio.to_thread(_kill, own_postgres)
            await asyncio.to_thread(own_postgres.start)
        before = seen.statuses[201]
        await eventually(lambda: seen.statuses[201] > before + 10, within=30)
        seen.asking = False
        await asyncio.gather(*tasks)
        await _all_are_there(site.app, clerk, seen.guests)
    assert seen.wrong == []
    assert seen.statuses[503] > KILLS, "the kills were noticed"


async def _all_are_there(app: RegistrationApp, clerk: httpx2.AsyncClient, guests: dict[str, str]) -> None:
    for guest, card in guests.items():
        shown = await clerk.get(f"/v1/guests/{guest}")
        assert (shown.status_code, shown.json()["card_number"]) == (200, card)
    assert await app.service.pool.fetchval("SELECT count(*) FROM registrations") == len(guests)


def _kill(server: Postgres) -> None:
    """Kill the postmaster alone, and wait until its children have seen that it is gone."""
    children = psutil.Process(server.program.pid).children(recursive=True)
    os.kill(server.program.pid, signal.SIGKILL)
    assert server.program.process is not None
    server.program.process.wait()
    psutil.wait_procs(children, timeout=10)


async def _registers(app: RegistrationApp, clerk: httpx2.AsyncClient, writer: int, seen: Seen) -> None:
    """Register one guest after the other, each until it is done, and read it."""
    for number in count():
        if not seen.asking:
            return
        card, again = f"0990{writer}{number:05d}", key()
        person_on(card, app)
        while True:
            answer = seen.note(await clerk.post("/v1/guests", json=registering(card), headers=again))
            if answer.status_code == 201:
                break
            await asyncio.sleep(0.01)
        guest = answer.json()["guest_id"]
        seen.guests[guest] = card
        seen.note(await clerk.get(f"/v1/guests/{guest}"))


async def _logs_in(identity: IdentityApp, wisecat: httpx2.AsyncClient, seen: Seen) -> None:
    body = {"account_id": "acc-jan", "organisation": "1001"}
    await _until(seen, lambda: wisecat.post("/v1/logins", json=body, headers=key()))


async def _asks(client: httpx2.AsyncClient, paths: tuple[str, ...], seen: Seen) -> None:
    for path in _in_turn(paths):
        if not seen.asking:
            return
        seen.note(await client.get(path))
        await asyncio.sleep(0.005)


def _in_turn(paths: tuple[str, ...]) -> Any:
    while True:
        yield from paths


async def _until(seen: Seen, ask: Callable[[], Awaitable[httpx2.Response]]) -> None:
    while seen.asking:
        seen.note(await ask())
        await asyncio.sleep(0.005)
