"""Every API and worker killed under load: what was acknowledged is there, linked once, nothing is double."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx2
import pytest

from tests.chaos.load import Acknowledged, Load, Login
from tests.support.eventually import eventually
from tests.support.stack import RunningStack

VICTIMS = ("registration_api", "identity_worker", "identity_api", "registration_worker")
CLIENTS = 3
PAUSE = 0.4  # seconds: without it the load takes all the time there is, and the killed start late


@pytest.fixture(params=["feed", "amqp"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path / "run", request.param)
    running.start()
    yield running
    running.kill_if_running()


async def test_i5_i8_r10_what_was_acknowledged_survives_every_kill_and_is_linked_once(
    stack: RunningStack,
) -> None:
    async with (
        stack.client("registration", "counter", timeout=10.0) as counter,
        stack.client("identity", "wisecat", timeout=10.0) as wisecat,
        stack.client("identity", "operator") as operator,
    ):
        load = Load(counter, wisecat, PAUSE)
        async with under(load):
            for victim in VICTIMS:
                await killed(stack, load, victim)
                await load.goes_on()
            await eventually(
                partial(linked, counter, load.guests[-1]), within=30, every=0.1
            )  # workers are at work again
            await killed(stack, load, *VICTIMS)
            await load.goes_on()
        assert load.lost > 0, "no answer was lost on the way: the kills hit nothing"

        for guest in load.guests:
            assert await load.register(guest.card, guest.key) == guest.guest_id
            await eventually(partial(linked, counter, guest), within=30, every=0.1)
            logins = (*guest.logins, await load.log_in(guest.card))
            recognised_once(guest, logins)
            await has_that_one_link_and_one_actor(operator, guest, logins)
    guest_ids = {UUID(guest.guest_id) for guest in load.guests}
    assert len(guest_ids) == len(load.guests)
    await the_logs_have_each_once(stack, guest_ids)


@asynccontextmanager
async def under(load: Load) -> AsyncIterator[None]:
    """Inside the block clients are at work; afterwards each has finished the guest in hand."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(load.client(stopping))
        await load.goes_on()
        try:
            yield
        finally:
            stopping.set()


async def killed(stack: RunningStack, load: Load, *names: str) -> None:
    """These processes are killed while a request is on its way; others are started in their place."""
    before = {name: stack.pid(name) for name in names}
    await eventually(lambda: load.asking, every=0.001)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: all(stack.pid(name) != pid for name, pid in before.items()))


def recognised_once(guest: Acknowledged, logins: Sequence[Login]) -> None:
    """I5: all of them began after the registration was acknowledged; one of them was the first."""
    assert {login["outcome"] for login in logins} == {"recognised"}
    assert {login["guest"]["guest_id"] for login in logins} == {guest.guest_id}
    assert [login["first_login"] for login in logins].count(True) == 1


async def linked(counter: httpx2.AsyncClient, guest: Acknowledged) -> bool:
    response = await counter.get(f"/v1/guests/{guest.guest_id}")
    assert response.status_code == 200, response.text
    shown = response.json()
    assert shown["card_number"] == guest.card
    assert shown["login_link"]["state"] == "linked", shown
    return True


async def has_that_one_link_and_one_actor(
    operator: httpx2.AsyncClient, guest: Acknowledged, logins: Sequence[Login]
) -> None:
    account = (await operator.get(f"/v1/login-accounts/{guest.account_id}")).raise_for_status().json()
    assert [(link["guest_id"], link["state"]) for link in account["links"]] == [(guest.guest_id, "linked")]
    answers = (*logins, *account["links"], *account["logins"])
    assert {each["actor_id"] for each in answers} == {account["actor_id"]}


async def the_logs_have_each_once(stack: RunningStack, guest_ids: set[UUID]) -> None:
    """No gap in the positions; one registration and one link of each guest, of no other; none is parked."""
    urls = stack.description["database_urls"]
    async with connected(urls["registration"]) as registration, connected(urls["identity"]) as identity:
        for log in (registration, identity):
            assert await log.fetchval("SELECT max(notification_id) - count(*) FROM stored_events") == 0
            assert await log.fetchval("SELECT count(*) FROM held_messages") == 0
        once = dict.fromkeys(guest_ids, 1)
        assert await happened(registration, "registration.guest-registered") == once
        assert await happened(registration, "registration.login-account-link-confirmed") == once
        assert await happened(identity, "identity.login-account-linked") == once
        accounts = await happened(identity, "identity.login-account-guest-linked")
        assert sorted(accounts.values()) == sorted(once.values())


async def happened(log: asyncpg.Connection, topic: str) -> Counter[UUID]:
    """How often this happened, by stream."""
    rows = await log.fetch("SELECT originator_id FROM stored_events WHERE topic = $1", topic)
    return Counter(row["originator_id"] for row in rows)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
