"""The whole stack, its primary PostgreSQL killed under load and the standby promoted (`make standby`)."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from tests.chaos.each_guest import has_that_one_link_and_one_actor, the_logs_have_each_once
from tests.chaos.load import Load, linked, recognised_once, under
from tests.support.eventually import eventually
from tests.support.other_log import behind, command, doctor, is_settled, it_is_told, release_all
from tests.support.stack import RunningStack
from tests.support.standby import Pair, pair

pytestmark = [pytest.mark.standby, pytest.mark.timeout(300)]
WITHIN = 15.0
"""Seconds from the promotion until a registration and a login are answered again."""
CLIENTS, PAUSE = 3, 0.4  # seconds: without it the load takes all the time there is
log = logging.getLogger(__name__)
logging.getLogger("httpx2").setLevel(logging.WARNING)


class Timed(Load):
    """The load, with the moments at which registrations were answered."""

    def __init__(self, counter: httpx2.AsyncClient, wisecat: httpx2.AsyncClient) -> None:
        super().__init__(counter, wisecat, pause=PAUSE)
        self.answered_at: list[float] = []

    async def register(self, card: str, key: str) -> str:
        guest_id = await super().register(card, key)
        self.answered_at.append(time.monotonic())
        return guest_id

    def first_after(self, moment: float) -> float | None:
        """When the first registration was answered after this moment."""
        return next((at for at in self.answered_at if at > moment), None)


@pytest.fixture
def servers() -> Iterator[Pair]:
    with pair() as made:
        yield made


@pytest.fixture(params=["amqp", "feed"])
def stack(request: pytest.FixtureRequest, servers: Pair, tmp_path: Path) -> Iterator[RunningStack]:
    url = servers.url(servers.primary.url("postgres"))
    running = RunningStack(tmp_path / "run", request.param, {"DATABASE_URL": url})
    running.start()
    yield running
    running.kill_if_running()


async def test_i5_i8_r10_nothing_acknowledged_is_lost_when_the_synchronous_standby_takes_over(
    servers: Pair, stack: RunningStack
) -> None:
    """Twice, there and back: the second time the new primary is the second host of the address."""
    servers.confirm_on_both()
    async with (
        stack.client("registration", "counter", timeout=10.0) as counter,
        stack.client("identity", "wisecat", timeout=10.0) as wisecat,
        stack.client("identity", "operator") as operator,
    ):
        load = Timed(counter, wisecat)
        async with under(load, CLIENTS):
            for _ in range(2):
                await taken_over(servers, load)
                for service in ("registration", "identity"):
                    found = await asyncio.to_thread(doctor, stack, service, "database primary")
                    assert f":{servers.standby.port} " in found["found"]
                    assert found["ok"]
                    found = await asyncio.to_thread(doctor, stack, service, "database standbys")
                    assert not found["ok"]
                await asyncio.to_thread(servers.follow_the_other_way)
                servers.confirm_on_both()
        for guest in load.guests:
            assert await load.register(guest.card, guest.key) == guest.guest_id
            await eventually(partial(linked, counter, guest), within=30, every=0.1)
            logins = (*guest.logins, await load.log_in(guest.card))
            recognised_once(guest, logins)
            await has_that_one_link_and_one_actor(operator, guest, logins)
    guest_ids = {UUID(guest.guest_id) for guest in load.guests}
    assert len(guest_ids) == len(load.guests)
    await the_logs_have_each_once(stack, guest_ids)
    log.info("%d guests were acknowledged, none is lost", len(guest_ids))
    assert "event_log.end_lost" not in logs_of(stack)
    for service in ("registration", "identity"):
        assert command(stack, service, "doctor", "--json")["ok"]


async def taken_over(servers: Pair, load: Timed) -> None:
    """The primary is killed while requests are on their way, and the standby promoted."""
    await eventually(lambda: load.asking, every=0.001)
    killed = time.monotonic()
    await asyncio.to_thread(servers.kill_primary)
    await asyncio.to_thread(servers.standby.promote)
    promoted = time.monotonic()
    answered = await eventually(lambda: load.first_after(promoted), within=WITHIN)
    assert answered is not None
    log.info("promoted %.1f s after the kill", promoted - killed)
    log.info("first registration acknowledged %.1f s after the kill", answered - killed)
    await load.goes_on()


def logs_of(stack: RunningStack) -> str:
    return "\n".join(file.read_text("utf-8") for file in (stack.run_dir / "logs").glob("*.log"))


@pytest.mark.parametrize("stack", ["amqp"], indirect=True)
async def test_i5_what_an_asynchronous_standby_does_not_have_is_told_and_its_orphans_are_let_go(
    servers: Pair, stack: RunningStack
) -> None:
    """Identity hears of guests over the broker whom the new primary of registration does not have."""
    async with (
        stack.client("registration", "counter", timeout=10.0) as counter,
        stack.client("identity", "wisecat", timeout=10.0) as wisecat,
    ):
        load = Timed(counter, wisecat)
        kept = {f"099100000{n}": "" for n in range(3)}
        lost = {f"099100001{n}": "" for n in range(5)}
        new = {f"099100002{n}": "" for n in range(9)}
        await registered(load, kept)
        for guest_id in kept.values():
            await eventually(partial(is_linked, counter, guest_id), within=60)
        await eventually(servers.follows, within=20)
        servers.fall_behind()
        with stack.paused("identity_worker"):
            await registered(load, lost)
            published = partial(all_are_published, stack)
            await eventually(published, within=60)
            await asyncio.to_thread(servers.kill_primary)
            await asyncio.to_thread(servers.standby.promote)
        await registered(load, new)
        for guest_id in new.values():
            await eventually(partial(is_linked, counter, guest_id), within=90)
        for guest_id in lost.values():
            assert (await counter.get(f"/v1/guests/{guest_id}")).status_code == 404
        assert "event_log.end_lost" in logs_of(stack)
        await it_is_told(stack)
        orphans = command(stack, "identity", "orphans", "list", "--json")["orphans"]
        log.info("%d acknowledged guests are lost, %d of them orphans", len(lost), len(orphans))
        release_all(stack, set(lost.values()))
        await eventually(partial(is_settled, stack), within=60)
        again = dict(lost)
        await registered(load, again)
        for guest_id in again.values():
            await eventually(partial(is_linked, counter, guest_id), within=60)
    assert await behind(stack) is None
    assert doctor(stack, "identity")["ok"]


async def registered(load: Load, guests: dict[str, str]) -> None:
    """All of these cards; their guests' ids are put beside them."""
    for card in guests:
        guests[card] = await load.register(card, os.urandom(8).hex())


async def is_linked(counter: httpx2.AsyncClient, guest_id: str) -> bool:
    guest = (await counter.get(f"/v1/guests/{guest_id}")).json()
    return bool(guest["login_link"]["state"] == "linked")


async def all_are_published(stack: RunningStack) -> bool:
    async with stack.client("registration", "operator") as operator:
        queues = (await operator.get("/v1/operations")).json()["queues"]
    return all(queue["lag"] == 0 for queue in queues if queue["name"] == "relay")
