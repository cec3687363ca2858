"""One database is restored to an older moment than the other; the services heal by themselves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

from infra.local.postgres import Postgres
from tests.support.eventually import eventually
from tests.support.stack import RunningStack, load_card, registration_of

BEFORE, AFTER, UNSEEN = range(1, 4), range(4, 9), range(9, 12)
"""Numbers of guests: of the backup, of the time after it, and of the time after the restore."""


@pytest.fixture(params=["amqp", "feed"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path / "run", request.param)
    running.start()
    yield running
    running.kill_if_running()


class Database:
    """The database of one service of a running stack, with its backup."""

    def __init__(self, stack: RunningStack, service: str) -> None:
        self._stack = stack
        self._processes = (f"{service}_api", f"{service}_worker")
        url = urlsplit(stack.description["owner_database_urls"][service])
        self._server = Postgres(stack.run_dir / "postgres", url.port or 0)
        self._name = url.path.removeprefix("/")

    def back_up(self) -> None:
        """Copy the database as it is at one moment."""
        with self._unused():
            self._server.sql(f'CREATE DATABASE backup TEMPLATE "{self._name}"')

    def restore(self) -> None:
        """Put the copy in the place of the database, and start the service again."""
        with self._unused():
            self._server.sql(f'ALTER DATABASE "{self._name}" RENAME TO lost')
            self._server.sql(f'ALTER DATABASE backup RENAME TO "{self._name}"')
            for name in self._processes:
                os.kill(self._stack.pid(name), signal.SIGKILL)

    @contextmanager
    def _unused(self) -> Iterator[None]:
        """Nobody is connected inside the block: the processes are paused."""
        with self._stack.paused(*self._processes):
            connected = f"datname = '{self._name}'"
            self._server.sql(
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {connected}"  # noqa: S608 - our own name
            )
            yield


async def registers(counter: httpx2.AsyncClient, number: int) -> str:
    body, key = registration_of(load_card(number)), {"Idempotency-Key": str(uuid4())}

    async def answered() -> httpx2.Response | None:
        try:
            answer = await counter.post("/v1/guests", json=body, headers=key)
        except httpx2.TransportError:
            return None
        return None if answer.status_code == 503 else answer

    answer = await eventually(answered, within=30)
    assert answer is not None
    assert answer.status_code == 201, answer.text
    return str(answer.json()["guest_id"])


async def is_linked(counter: httpx2.AsyncClient, guest_id: str) -> bool:
    guest = (await counter.get(f"/v1/guests/{guest_id}")).json()
    return bool(guest["login_link"]["state"] == "linked")


async def logs_in(wisecat: httpx2.AsyncClient, number: int, organisation: str = "1001") -> tuple[str, bool]:
    """What the catalogue reads: the actor, and whether it is the one of a guest."""
    body = {"account_id": f"acc-{load_card(number)}", "organisation": organisation}

    async def answered() -> httpx2.Response | None:
        try:
            answer = await wisecat.post("/v1/logins", json=body)
        except httpx2.TransportError:
            return None
        return None if answer.status_code == 503 else answer

    answer = await eventually(answered, within=30)
    assert answer is not None
    assert answer.status_code == 200, answer.text
    return answer.json()["actor_id"], answer.json()["guest"] is not None


async def test_i5_i8_identity_restored_to_before_registration_makes_the_same_persons_again(
    stack: RunningStack,
) -> None:
    database = Database(stack, "identity")
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
    ):
        guests = {number: await registers(counter, number) for number in BEFORE}
        for guest_id in guests.values():
            await eventually(partial(is_linked, counter, guest_id), within=60)
        database.back_up()
        guests |= {number: await registers(counter, number) for number in AFTER}
        for guest_id in guests.values():
            await eventually(partial(is_linked, counter, guest_id), within=60)
        persons = {number: await logs_in(wisecat, number) for number in guests}
        strangers = {number: await logs_in(wisecat, number, "2002") for number in AFTER}

        database.restore()

        assert {number: await logs_in(wisecat, number) for number in guests} == persons
        assert {number: await logs_in(wisecat, number, "2002") for number in AFTER} == strangers
        new = [await registers(counter, number) for number in UNSEEN]
        for guest_id in new:
            await eventually(partial(is_linked, counter, guest_id), within=60)
    async with stack.client("registration", "operator") as operator:
        held = await eventually(partial(_parked, operator), within=60)
        assert held == "none"


async def _parked(operator: httpx2.AsyncClient) -> str | None:
    """`none` when no guest is parked at registration; None while some wait."""
    metrics = (await operator.get("/metrics")).text
    states = [line for line in metrics.splitlines() if line.startswith("messages_parked_guests{")]
    assert not any('state="diverged"' in line and not line.endswith(" 0.0") for line in states), states
    return "none" if states and all(line.endswith(" 0.0") for line in states) else None
