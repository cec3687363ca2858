"""The disk of PostgreSQL is full: every answer comes soon, readiness says so, and all goes on with space."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path

import httpx2
import pytest

from identity.adapters.tables import SCHEMA as IDENTITY_SCHEMA
from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from shared.platform.postgres import WRITE, Readiness, open_pool
from tests.integration.calling_out.test_silent_database import key, person_on
from tests.support.eventually import eventually
from tests.support.full_disk import Disk, disk_of, mounted
from tests.support.identity_service import open_identity_app
from tests.support.memory import servers_folder
from tests.support.registration_service import RegistrationApp, open_registration_app, registering
from tests.support.servers import Databases

SIZE_MIB = 256
SOON = 2.0
"""Seconds for an answer. Much more than any of them needs; the attempts of before took eight and more."""


@pytest.fixture
def server() -> Iterator[tuple[Postgres, Disk]]:
    """A server and its disk, which can be filled."""
    with servers_folder("full") as folder, mounted(folder, SIZE_MIB) as is_mounted:
        server = Postgres(folder / "server")
        server.start()
        yield server, disk_of(server, folder, SIZE_MIB, is_mounted=is_mounted)
        server.stop()


async def test_a_full_disk_is_said_soon_by_every_answer_and_all_goes_on_with_space(
    server: tuple[Postgres, Disk], tmp_path: Path
) -> None:
    postgres, disk = server
    databases = Databases(postgres)
    folders = {name: tmp_path / name for name in ("registration", "identity")}
    for folder in folders.values():
        folder.mkdir()
    async with (
        open_registration_app(databases(scripts=SCHEMA), folders["registration"]) as registration,
        open_identity_app(databases("identity", IDENTITY_SCHEMA), folders["identity"]) as identity,
        registration.client() as clerk,
        identity.client() as wisecat,
    ):
        assert await _registers(registration, clerk, 1) == 201
        for client in (clerk, wisecat):
            assert (await client.get("/health/ready")).status_code == 200
        disk.fill()
        for client in (clerk, wisecat):
            await eventually(lambda: _is_not_ready(client), within=10)  # noqa: B023
        seen = await _register_until_refused(registration, clerk)
        assert set(seen) <= {201, 503}
        assert seen[-1] == 503
        first_login = {"account_id": "acc-jan", "organisation": "1001"}
        answer, took = await _timed(wisecat.post("/v1/logins", json=first_login, headers=key()))
        assert (answer.status_code in {200, 503}, took < SOON) == (True, True), (answer.text, took)
        disk.free()
        for client in (clerk, wisecat):
            await eventually(lambda: _is_ready(client), within=10)  # noqa: B023
        await eventually(lambda: _is_taken(registration, clerk))
        assert (await wisecat.post("/v1/logins", json=first_login, headers=key())).status_code == 200


async def test_who_asks_often_whether_a_service_is_ready_has_it_write_once(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await open_pool(databases(scripts=SCHEMA), min_size=1, max_size=4) as pool:
        [_, spilled, _] = WRITE.strip().split("\n")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL work_mem = '64kB'")
            plan = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {spilled}")
            assert "temp " in str(plan), "it does write a temporary file"
            assert "written=" in str(plan)
        asked, execute = list[str](), pool.execute

        async def counted(query: str, **more: float) -> str:
            asked.append(query)
            return await execute(query, **more)

        monkeypatch.setattr(pool, "execute", counted)
        readiness = Readiness(pool, SCHEMA, "registration")
        for _ in range(3):
            await asyncio.gather(*(readiness.require() for _ in range(10)))
        assert asked == [WRITE]
        monkeypatch.setattr("shared.platform.postgres.WRITTEN_SECONDS", 0)
        await readiness.require()
        assert asked == [WRITE, WRITE]


async def _register_until_refused(app: RegistrationApp, clerk: httpx2.AsyncClient) -> list[int]:
    """Register guest after guest: what a page of the log still has room for is taken."""
    seen: list[int] = []
    for number in range(2, 2000):
        status = await _registers(app, clerk, number)
        seen.append(status)
        if status == 503:
            break
    return seen + [await _registers(app, clerk, number) for number in range(3000, 3005)]  # and it stays so


async def _registers(app: RegistrationApp, clerk: httpx2.AsyncClient, number: int) -> int:
    card = f"09905{number:05d}"
    person_on(card, app)
    answer, took = await _timed(clerk.post("/v1/guests", json=registering(card), headers=key()))
    assert took < SOON, f"{took:.1f} s: {answer.status_code} {answer.text}"
    if answer.status_code == 503:
        assert "retry-after" in answer.headers
    return answer.status_code


async def _timed(asked: Awaitable[httpx2.Response]) -> tuple[httpx2.Response, float]:
    began = time.monotonic()
    answer = await asked
    return answer, time.monotonic() - began


async def _is_not_ready(client: httpx2.AsyncClient) -> bool:
    answer = await client.get("/health/ready")
    return answer.status_code == 503 and answer.json()["checks"]["database"] != "ok"


async def _is_ready(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/health/ready")).status_code == 200


async def _is_taken(app: RegistrationApp, clerk: httpx2.AsyncClient) -> bool:
    return await _registers(app, clerk, 9999) == 201
