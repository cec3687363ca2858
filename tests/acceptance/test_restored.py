"""One database goes back to an older moment than the other, as docs/backup.md says; the services heal.

The commands of that page are run as they stand there, against the PostgreSQL of a running stack.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

from infra.local.ports import LOOPBACK, free_port
from infra.local.postgres import SUPERUSER, Postgres, as_ordinary_user, binary
from tests.support.commands import without_settings_of_services
from tests.support.eventually import eventually
from tests.support.other_log import behind, command, doctor, is_settled, it_is_told, release_all
from tests.support.page import Shell, run_all
from tests.support.stack import RunningStack, load_card, registration_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "backup.md").read_text("utf-8")
STOP = """
# The processes are paused: the stack would start them again.
jq -r ".pids.$1_api, .pids.$1_worker" "$RUN_DIR/stack.json" | xargs kill -STOP
"""
START = """
jq -r ".pids.$1_api, .pids.$1_worker" "$RUN_DIR/stack.json" | xargs kill -KILL
"""


def part(heading: str) -> str:
    """One section of the page."""
    found = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path_factory.mktemp("restored") / "run", "amqp")
    running.start()
    yield running
    running.kill_if_running()


class Operator:
    """Who reads the page, with a shell at the machine of PostgreSQL."""

    def __init__(self, stack: RunningStack, folder: Path) -> None:
        self._restored = folder / "restored"
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name, content in {"stop": STOP, "start": START, "pg_ctl": self._pg_ctl()}.items():
            script = self._programs / name
            script.write_text(f"#!/bin/sh -eu\n{content}")
            script.chmod(0o755)
        url = urlsplit(stack.description["owner_database_urls"]["identity"])
        server = Postgres(stack.run_dir / "postgres", url.port or 0)
        (folder / "infra").symlink_to(ROOT / "infra")
        paths = (self._programs, ROOT / ".venv/bin", Path(binary("psql")).parent, os.environ["PATH"])
        variables = {
            "RUN_DIR": str(stack.run_dir),
            "PGHOST": LOOPBACK,
            "PGPORT": str(server.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": server.password(SUPERUSER),
            "PATH": ":".join(map(str, paths)),
            "BACKUP": str(folder / "backup"),
            "RESTORED": str(self._restored),
            "STOP": "stop",
            "START": "start",
        }
        self.shell = Shell(folder, without_settings_of_services(os.environ) | variables)
        run_all(self.shell, part("Make backups"))

    def _pg_ctl(self) -> str:
        """`pg_ctl` as the user of PostgreSQL."""
        return f'exec {" ".join(as_ordinary_user())} {binary("pg_ctl")} "$@"'

    def moment(self) -> str:
        """Now, by the clock of the server."""
        return self.shell.run("psql -XAt --dbname=postgres --command='SELECT clock_timestamp()'").strip()

    def restores(self, service: str, moment: str) -> None:
        self.shell.run(f"SERVICE={service} MOMENT='{moment}' RESTORED_PORT={free_port()}")
        run_all(self.shell, part("Restore one database"))

    def leave(self) -> None:
        """End what is left of the server beside, if a test failed, and the shell."""
        stop = [str(self._programs / "pg_ctl"), f"--pgdata={self._restored}", "--mode=immediate", "stop"]
        subprocess.run(stop, capture_output=True, check=False)
        self.shell.close()


@pytest.fixture(scope="module")
def operator(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Has made backups since the beginning."""
    one = Operator(stack, tmp_path_factory.mktemp("operator"))
    yield one
    one.leave()


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


async def register_all(counter: httpx2.AsyncClient, numbers: Iterable[int]) -> dict[int, str]:
    """The ids of these guests, who are linked when this returns."""
    guests = {number: await registers(counter, number) for number in numbers}
    for guest_id in guests.values():
        await eventually(partial(is_linked, counter, guest_id), within=90)
    return guests


async def is_linked(counter: httpx2.AsyncClient, guest_id: str) -> bool:
    guest = (await counter.get(f"/v1/guests/{guest_id}")).json()
    return bool(guest["login_link"]["state"] == "linked")


async def logs_in(
    wisecat: httpx2.AsyncClient, number: int, organisation: str = "1001"
) -> tuple[str, str | None]:
    """What the catalogue reads: the actor, and the guest that the login is recognised as."""
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
    guest = answer.json()["guest"]
    return answer.json()["actor_id"], guest and guest["guest_id"]


async def actors_of(wisecat: httpx2.AsyncClient, guests: Mapping[int, str]) -> dict[int, str]:
    """The actor of each, who is recognised as this very guest."""
    found = {number: await logs_in(wisecat, number) for number in guests}
    assert {number: guest for number, (_, guest) in found.items()} == guests
    return {number: actor for number, (actor, _) in found.items()}


async def test_i5_i8_identity_restored_to_before_registration_makes_the_same_persons_again(
    stack: RunningStack, operator: Operator
) -> None:
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
    ):
        before = await register_all(counter, range(1, 4))
        moment = operator.moment()
        after = await register_all(counter, range(4, 9))
        persons = await actors_of(wisecat, before | after)
        strangers = {number: await logs_in(wisecat, number, "2002") for number in after}

        operator.restores("identity", moment)

        assert await actors_of(wisecat, before | after) == persons
        assert {number: await logs_in(wisecat, number, "2002") for number in after} == strangers
        await register_all(counter, range(9, 12))
    async with stack.client("registration", "operator") as asking:
        assert await eventually(partial(_parked, asking), within=60) == "none"


async def _parked(operator: httpx2.AsyncClient) -> str | None:
    """`none` when no guest is parked at registration; None while some wait."""
    metrics = (await operator.get("/metrics")).text
    states = [line for line in metrics.splitlines() if line.startswith("messages_parked_guests{")]
    assert not any('state="diverged"' in line and not line.endswith(" 0.0") for line in states), states
    return "none" if states and all(line.endswith(" 0.0") for line in states) else None


async def test_i5_r19_registration_restored_to_before_identity_is_told_and_its_orphans_are_let_go(
    stack: RunningStack, operator: Operator
) -> None:
    """Who was erased after the moment stays erased."""
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("registration", "operator") as erasing,
        stack.client("identity", "wisecat") as wisecat,
    ):
        kept = await register_all(counter, range(21, 24))
        erased = (await register_all(counter, [20]))[20]
        moment = operator.moment()
        lost = await register_all(counter, range(24, 29))
        persons = await actors_of(wisecat, kept | lost)
        assert (await erasing.delete(f"/v1/guests/{erased}/personal-data")).status_code == 204

        operator.restores("registration", moment)
        stack.kill("identity_worker")  # a new one asks for the feed at once, else within 30 seconds

        await register_all(counter, range(29, 32))
        assert (await counter.get(f"/v1/guests/{erased}")).json()["status"] == "erased"
        for guest_id in lost.values():
            assert (await counter.get(f"/v1/guests/{guest_id}")).status_code == 404
        await it_is_told(stack)

        again = {number: await registers(counter, number) for number in lost}
        assert {number: (await logs_in(wisecat, number))[1] for number in lost} == lost
        release_all(stack, set(lost.values()))
        await eventually(partial(is_settled, stack), within=60)
        for guest_id in again.values():
            await eventually(partial(is_linked, counter, guest_id), within=60)
        assert await actors_of(wisecat, kept | again) == persons
    assert command(stack, "identity", "orphans", "list", "--json") == {"orphans": []}
    assert await behind(stack) is None
    assert doctor(stack, "identity")["ok"]
