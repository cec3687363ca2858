"""An upgrade and the way back, one process after the other, while guests register and log in.

It takes some minutes, and the release before must be in the clone: `make upgrade`. What holds is in
docs/reliability.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from infra.local.postgres import Postgres
from infra.local.rabbitmq import RabbitMQ
from tests.chaos.each_guest import connected, happened, has_that_one_link_and_one_actor
from tests.chaos.load import Load, linked, recognised_once, under
from tests.support.additive import catalogue, not_additive
from tests.support.eventually import eventually
from tests.support.recorded_scripts import scripts_before
from tests.support.release_before import SERVICES
from tests.support.servers import Databases, as_owner
from tests.support.side_by_side import BEFORE, NOW, NoReleaseBefore, SideBySide, release_before
from tests.support.stack import load_card

pytestmark = [pytest.mark.upgrade, pytest.mark.timeout(1200)]

CLIENTS, PAUSE = 4, 0.6  # a thousand cards have to do for all of it
SIDE_BY_SIDE_SECONDS = 4.0
FORWARD = ("identity", "registration")
"""The order of CHANGELOG.md; back again it is the other way round."""

log = logging.getLogger("upgrade")


@pytest.fixture
def both(postgres: Postgres, rabbitmq: RabbitMQ, amqp_url: str, tmp_path: Path) -> Iterator[SideBySide]:
    """The release before, at work; the databases are as its own `migrate` made them."""
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        old = release_before()
    except NoReleaseBefore as error:
        pytest.fail(str(error), pytrace=False)
    databases, vhost = Databases(postgres), amqp_url.rpartition("/")[2]
    urls = {service: databases(service) for service in SERVICES}
    brokers = {service: rabbitmq.create_service_user(service, vhost) for service in SERVICES}
    installation = SideBySide(tmp_path, urls, brokers, old)
    with installation.outside_world():
        for service in SERVICES:
            installation.command(BEFORE, service, "migrate")
            installation.start(BEFORE, service, "serve")
            installation.start(BEFORE, service, "work")
        yield installation
    databases.drop_all()


class Upgrade:
    """Replaces one process after the other, while a load goes on."""

    def __init__(self, both: SideBySide, load: Load, counter: httpx2.AsyncClient) -> None:
        self._both = both
        self._load = load
        self._counter = counter

    async def replace(self, service: str, old: str, new: str) -> None:
        """Put a release in the place of another one: workers of both for a while, then the API."""
        self._both.start(new, service, "work")
        await eventually(partial(self._both.worker_is_ready, new, service), within=60)
        await self._goes_on(f"workers of {service} of both releases")
        await asyncio.to_thread(self._both.stop, old, service, "work")
        await self._goes_on(f"only the worker of {service} of {new}")
        began = time.monotonic()
        await asyncio.to_thread(self._both.stop, old, service, "serve")
        self._both.start(new, service, "serve")
        await eventually(partial(self._both.is_ready, service), within=60)
        log.info("%s: another API after %.1f s", service, time.monotonic() - began)
        await self._goes_on(f"{service} of {new}")

    async def _goes_on(self, what: str) -> None:
        """For some seconds; at the end a guest who registers now is linked soon."""
        began, before = time.monotonic(), len(self._load.guests)
        await asyncio.sleep(SIDE_BY_SIDE_SECONDS)
        await self._load.goes_on()
        last = self._load.guests[-1]
        asked = time.monotonic()
        await eventually(partial(linked, self._counter, last), within=30, every=0.1)
        self._both.all_run()
        log.info(
            "%s: %d guests in %.0f s, the last one linked %.1f s later",
            what,
            len(self._load.guests) - before,
            time.monotonic() - began,
            time.monotonic() - asked,
        )


async def test_forward_back_and_forward_under_load_every_guest_is_there_once_and_linked_once(
    both: SideBySide,
) -> None:
    for service in SERVICES:
        await eventually(partial(both.is_ready, service), within=60)
    async with (
        both.async_client("registration", "counter", "1001") as counter,
        both.async_client("identity", "login", "1001", sub="wisecat") as wisecat,
        both.async_client("identity", "accounts operator", None, sub="beheer") as operator,
    ):
        load = Load(counter, wisecat, pause=PAUSE)
        upgrade = Upgrade(both, load, counter)
        async with under(load, CLIENTS):
            for service in FORWARD:
                await migrate(both, service)
            await load.goes_on()  # the release before, with the new schema
            for service in FORWARD:
                await upgrade.replace(service, BEFORE, NOW)
            for service in reversed(FORWARD):
                await upgrade.replace(service, NOW, BEFORE)
            for service in SERVICES:  # it does not know that its views have rows of a later fold
                await asyncio.to_thread(both.command, BEFORE, service, "projections", "rebuild", "all")
            await views_are_as_the_log_says(both, BEFORE)
            for service in FORWARD:
                await upgrade.replace(service, BEFORE, NOW)
            await load.goes_on()
        for guest in load.guests:
            await eventually(partial(linked, counter, guest), within=30)
            logins = (*guest.logins, await load.log_in(guest.card))
            recognised_once(guest, logins)
            await has_that_one_link_and_one_actor(operator, guest, logins)
        await each_is_there_once(both, {UUID(guest.guest_id) for guest in load.guests})
        await views_are_as_the_log_says(both, NOW)
    log.info("%d guests, %d requests lost on the way", len(load.guests), load.without_reply())


async def test_what_the_release_before_cannot_read_waits_until_this_one_is_back(both: SideBySide) -> None:
    """An event that it does not know: of that guest it says so, all others go on, and nothing is lost."""
    for service in FORWARD:
        await eventually(partial(both.is_ready, service), within=60)
        await migrate(both, service)
    async with both.async_client("registration", "counter", "1001") as counter:
        load = Load(counter, counter)
        known, others = [await load.register(load_card(number), str(number)) for number in (1, 2)]
        await another_api(both, BEFORE, NOW)
        changed = await counter.put(f"/v1/guests/{known}/preferences", json={"language": "en"})
        assert changed.status_code == 200, changed.text
        await another_api(both, NOW, BEFORE)
        refused = await counter.get(f"/v1/guests/{known}")
        log.info("of a guest with an event of this release the one before says %d", refused.status_code)
        assert refused.status_code >= 500
        assert (await counter.get(f"/v1/guests/{others}")).status_code == 200
        assert await load.register(load_card(3), "3")
        said = await asyncio.to_thread(
            both.command, BEFORE, "registration", "projections", "status", "--json"
        )
        log.info("its views: %s", {view["name"]: view["failure"] for view in json.loads(said)["views"]})
        await another_api(both, BEFORE, NOW)
        shown = await counter.get(f"/v1/guests/{known}")
        assert shown.json()["preferences"]["language"] == "en"
        both.stop(BEFORE, "registration", "work")
        both.start(NOW, "registration", "work")
        await eventually(partial(both.worker_is_ready, NOW, "registration"), within=60)
        await views_are_as_the_log_says(both, NOW)


async def another_api(both: SideBySide, old: str, new: str) -> None:
    await asyncio.to_thread(both.stop, old, "registration", "serve")
    both.start(new, "registration", "serve")
    await eventually(partial(both.is_ready, "registration"), within=60)


async def migrate(both: SideBySide, service: str) -> None:
    """Over the database of the release before: its scripts are those that are recorded, and ours only add."""
    known = "SELECT name FROM schema_migrations"
    async with as_owner(both.databases[service]) as owner:
        before, scripts = await catalogue(owner), {row["name"] for row in await owner.fetch(known)}
        assert scripts == {script.name for script in scripts_before()[service]}
        await asyncio.to_thread(both.command, NOW, service, "migrate")
        assert not_additive(before, await catalogue(owner)) == []


async def each_is_there_once(both: SideBySide, guests: set[UUID]) -> None:
    """One registration and one link of each guest; none is parked, and none is there twice."""
    async with (
        connected(both.databases["registration"]) as registration,
        connected(both.databases["identity"]) as identity,
    ):
        once = dict.fromkeys(guests, 1)
        assert await happened(registration, "registration.guest-registered") == once
        assert await happened(registration, "registration.login-account-link-confirmed") == once
        assert await happened(identity, "identity.login-account-linked") == once
        for database in (registration, identity):
            assert await database.fetchval("SELECT count(*) FROM held_messages") == 0


async def views_are_as_the_log_says(both: SideBySide, release: str) -> None:
    """Each release compares its views with the log."""
    for service in SERVICES:
        found = json.loads(
            await asyncio.to_thread(both.command, release, service, "projections", "verify", "all", "--json")
        )
        assert found
        wrong = {view["view"]: view["differences"] for view in found if view["differences"]}
        assert wrong == {}, f"{release} {service}"
