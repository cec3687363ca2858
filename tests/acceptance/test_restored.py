"""One database is restored to an older moment than the other; the services heal by themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
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


@pytest.mark.parametrize("stack", ["amqp"], indirect=True)
async def test_i5_registration_restored_to_before_identity_is_told_and_its_orphans_are_let_go(
    stack: RunningStack,
) -> None:
    database = Database(stack, "registration")
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
    ):
        kept = {number: await registers(counter, number) for number in BEFORE}
        for guest_id in kept.values():
            await eventually(partial(is_linked, counter, guest_id), within=60)
        database.back_up()
        lost = {number: await registers(counter, number) for number in AFTER}
        for guest_id in lost.values():
            await eventually(partial(is_linked, counter, guest_id), within=60)
        persons = await all_guests_of(wisecat, kept | lost)

        database.restore()
        stack.kill("identity_worker")  # a new one asks for the feed at once, else within 30 seconds

        new = {number: await registers(counter, number) for number in UNSEEN}
        for guest_id in new.values():
            await eventually(partial(is_linked, counter, guest_id), within=90)
        for guest_id in lost.values():
            assert (await counter.get(f"/v1/guests/{guest_id}")).status_code == 404
        await it_is_told(stack)

        again = {number: await registers(counter, number) for number in AFTER}
        assert {number: (await guest_of(wisecat, number))[1] for number in AFTER} == lost
        release_all(stack, set(lost.values()))
        await eventually(partial(_is_settled, stack), within=60)
        for guest_id in again.values():
            await eventually(partial(is_linked, counter, guest_id), within=60)
        assert await all_guests_of(wisecat, kept | again) == persons
    assert _command(stack, "identity", "orphans", "list", "--json") == {"orphans": []}
    assert await _behind(stack) is None
    assert _doctor(stack, "identity")["ok"]


async def all_guests_of(wisecat: httpx2.AsyncClient, guests: Mapping[int, str]) -> dict[int, str]:
    """The actor of each, who is recognised as this very guest."""
    found = {number: await guest_of(wisecat, number) for number in guests}
    assert {number: guest for number, (_, guest) in found.items()} == guests
    return {number: actor for number, (actor, _) in found.items()}


async def it_is_told(stack: RunningStack) -> None:
    """The metric, doctor and the operators' page say that registration's log ends too early."""
    assert await eventually(partial(_behind, stack), within=60)
    assert "identity orphans list" in _doctor(stack, "identity")["advice"]
    lost = (await _operations(stack))["other_log"]
    assert lost["seen"] > lost["head"]


def release_all(stack: RunningStack, lost: set[str]) -> None:
    """The command lists these guests, and releases them; again it releases nobody, and ends the warning."""
    listed = _command(stack, "identity", "orphans", "list", "--json")["orphans"]
    assert {orphan["guest_id"] for orphan in listed} == lost
    given = ("--all", "--reason", "lost in a restore", "--by", "an operator", "--json")
    assert set(_command(stack, "identity", "orphans", "release", *given)["released"]) == lost


def _is_settled(stack: RunningStack) -> bool:
    given = ("--all", "--reason", "nobody is left", "--by", "an operator", "--json")
    assert _command(stack, "identity", "orphans", "release", *given)["released"] == []
    return bool(_doctor(stack, "identity")["ok"])


async def guest_of(wisecat: httpx2.AsyncClient, number: int) -> tuple[str, str | None]:
    """The actor and the guest that a login is recognised as."""
    answer = await wisecat.post(
        "/v1/logins", json={"account_id": f"acc-{load_card(number)}", "organisation": "1001"}
    )
    assert answer.status_code == 200, answer.text
    guest = answer.json()["guest"]
    return answer.json()["actor_id"], guest and guest["guest_id"]


async def _behind(stack: RunningStack) -> float | None:
    """The metric of identity, or None if it is 0."""
    async with stack.client("identity", "operator") as operator:
        metrics = (await operator.get("/metrics")).text
    [line] = [line for line in metrics.splitlines() if line.startswith("other_log_behind_events ")]
    return float(line.split()[1]) or None


async def _operations(stack: RunningStack) -> dict[str, Any]:
    async with stack.client("identity", "operator") as operator:
        return dict((await operator.get("/v1/operations")).json())


def _command(stack: RunningStack, service: str, *arguments: str) -> dict[str, Any]:
    """What a command of the service prints as JSON."""
    done = subprocess.run(
        [Path(sys.executable).with_name(service), *arguments],
        env={**os.environ, "RUN_DIR": str(stack.run_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def _doctor(stack: RunningStack, service: str) -> dict[str, Any]:
    """What doctor finds of the other log."""
    checks = _command(stack, service, "doctor", "--json")["checks"]
    return dict(next(check for check in checks if check["step"].startswith("log of ")))
