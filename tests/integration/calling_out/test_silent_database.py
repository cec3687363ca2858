"""PostgreSQL says nothing any more, or ends connections: every answer comes in time, and all goes on.

The limits are a tenth of the real ones here; `make silent` does the same with real processes and real limits.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from pydantic import SecretStr

from registration.adapters.tables import SCHEMA
from registration.bootstrap import open_service, worker_tasks
from registration.domain.verdict import Valid
from shared.platform import limits
from shared.platform.leases import HELD_BY
from shared.platform.lifecycle import Supervisor
from shared.platform.postgres import is_transient, open_pool
from tests.support.eventually import eventually
from tests.support.registration_service import HOME, JAN, RegistrationApp, open_registration_app, registering
from tests.support.servers import Databases, owner_url
from tests.support.silence import is_bearable, shorten, silencing

IN_TIME = 1.5
"""A tenth of ten seconds, and something for a busy machine."""
ENDED, TAKEN = 150, 20
END_ONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
ORDER BY random() LIMIT 1
"""


@pytest.mark.parametrize("new_too", [False, True])
async def test_while_the_database_is_silent_every_answer_comes_in_time(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_too: bool
) -> None:
    """503 with the time of another attempt; when only the old connections are silent, most calls succeed."""
    shorten(monkeypatch)
    async with (
        silencing(databases(scripts=SCHEMA)) as (proxy, through),
        open_registration_app(through, tmp_path) as registration_app,
        registration_app.client(scope="counter guests") as clerk,
    ):
        guest = (await clerk.post("/v1/guests", json=registering())).json()["guest_id"]

        async def ask() -> set[int]:
            """What is answered to reads, writes and the question whether it is ready."""
            began = time.monotonic()
            answers = await asyncio.gather(
                *(clerk.get(f"/v1/guests/{guest}") for _ in range(20)),
                *(clerk.post("/v1/guests", json=registering(), headers=key()) for _ in range(5)),
                clerk.get("/health/ready"),
            )
            took = time.monotonic() - began
            assert took < IN_TIME, f"{took:.1f} s"
            return {known(answer) for answer in answers}

        with proxy.silent(new_too=new_too):
            during = await ask()
            assert during == {503} if new_too else 200 in during
        await eventually(partial_is_well(ask), within=IN_TIME)


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4())}


def known(answer: httpx2.Response) -> int:
    assert is_bearable(answer.status_code, answer.headers), f"{answer.status_code} {answer.text}"
    return answer.status_code


def partial_is_well(ask: Callable[[], Awaitable[set[int]]]) -> Callable[[], Awaitable[bool]]:
    async def is_well() -> bool:
        return 503 not in await ask()

    return is_well


async def test_a_worker_gives_up_its_leases_and_goes_on_when_the_database_is_back(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends in time as well, while the database is silent again."""
    shorten(monkeypatch)
    database = databases(scripts=SCHEMA)
    async with (
        silencing(database) as (proxy, through),
        open_registration_app(database, tmp_path) as counter,
        counter.client() as clerk,
    ):
        settings = counter.service.settings.model_copy(update={"database_url": SecretStr(through)})
        stopping = asyncio.Event()
        outsider = await asyncpg.connect(database)

        async def views_have(guests: int) -> bool:
            return bool(await outsider.fetchval("SELECT count(*) FROM guest_directory") == guests)

        async def work() -> None:
            async with open_service(settings) as worker:
                views = {name: task for name, task in worker_tasks(worker).items() if "view" in name}
                await Supervisor(views).run(stopping)

        working = asyncio.create_task(work())
        await registers(counter, clerk, 1)
        await eventually(lambda: views_have(1))
        with proxy.silent():
            await registers(counter, clerk, 2)
            led = f"SELECT count({HELD_BY.format('name')}) FROM leases"  # noqa: S608 - a constant
            await eventually(lambda: none(outsider, led), within=2 * limits.LEASE)
        await eventually(lambda: views_have(2), within=IN_TIME + limits.LEASE)
        proxy.silence()
        stopping.set()
        await asyncio.wait_for(working, IN_TIME)
        await outsider.close()


async def none(outsider: asyncpg.Connection, count: str) -> bool:
    return not await outsider.fetchval(count)


def person_on(card: str, counter: RegistrationApp) -> None:
    """From now on this card is that of somebody who lives alone (R28)."""
    alone = replace(JAN, address=f"Brink {card}, 9301 JK Roden")
    counter.home.answers(HOME, card, Valid(alone, date(2026, 12, 31), card))


async def registers(counter: RegistrationApp, clerk: httpx2.AsyncClient, number: int) -> None:
    card = f"09901{number:05d}"
    person_on(card, counter)
    answer = await clerk.post("/v1/guests", json=registering(card))
    assert answer.status_code == 201, answer.text


ENDS_ITSELF_ONCE = "SELECT CASE WHEN nextval('asked') = 1 THEN pg_terminate_backend(pg_backend_pid()) END"


async def test_a_read_is_asked_a_second_time_and_a_write_is_not(databases: Databases) -> None:
    async with await open_pool(owner_url(databases()), min_size=1, max_size=2) as pool:
        await pool.execute("CREATE SEQUENCE asked; CREATE TABLE written (value integer)")

        assert await pool.fetchval(ENDS_ITSELF_ONCE) is None
        assert await pool.fetchval("SELECT nextval('asked')") == 3

        await pool.execute("SELECT setval('asked', 1, false)")
        with pytest.raises(Exception) as raised:  # noqa: PT011 - which one depends on the moment
            await pool.execute(f"INSERT INTO written SELECT 1 FROM ({ENDS_ITSELF_ONCE}) AS one")  # noqa: S608
        assert is_transient(raised.value)
        assert await pool.fetchval("SELECT nextval('asked')") == 2


async def test_a_connection_that_ends_costs_no_read_and_no_write(
    databases: Databases, tmp_path: Path
) -> None:
    """The same for a read in the middle, for an append, and for what a page reads in a transaction."""
    database = databases(scripts=SCHEMA)
    async with open_registration_app(database, tmp_path) as counter, counter.client() as clerk:
        stopping, seen = asyncio.Event(), Counter[int]()
        guests: dict[str, str] = {}

        async def write(writer: int) -> None:
            for number in range(1_000_000):
                if stopping.is_set():
                    return
                card = f"0990{writer}{number:05d}"
                person_on(card, counter)
                answer = await until_taken(clerk, card, seen)
                guests[str(answer["guest_id"])] = card
                count(seen, await clerk.get(f"/v1/guests/{answer['guest_id']}"))

        writers = [asyncio.create_task(write(writer)) for writer in range(8)]
        outsider = await asyncpg.connect(database)
        ended = 0
        while ended < ENDED or len(guests) <= TAKEN:  # a slow machine takes fewer of them in the same time
            ended += bool(await outsider.fetchval(END_ONE))
            await asyncio.sleep(0.01)
        stopping.set()
        await asyncio.gather(*writers)
        for guest, card in guests.items():
            shown = await clerk.get(f"/v1/guests/{guest}")
            assert (shown.status_code, shown.json()["card_number"]) == (200, card)
        gaps = "SELECT max(notification_id) - count(*) FROM stored_events"
        assert await outsider.fetchval(gaps) == 0
        assert await outsider.fetchval("SELECT count(*) FROM registrations") == len(guests)
        await outsider.close()
    assert set(seen) <= {200, 201, 503}, seen
    assert seen[201] == len(guests) > TAKEN


async def until_taken(clerk: httpx2.AsyncClient, card: str, seen: Counter[int]) -> dict[str, Any]:
    """Register, and ask again as long as the answer is 503."""
    again = key()
    while True:
        answer = await clerk.post("/v1/guests", json=registering(card), headers=again)
        count(seen, answer)
        if answer.status_code != 503:
            return dict(answer.json())


def count(seen: Counter[int], answer: httpx2.Response) -> None:
    seen[known(answer)] += 1
