"""Several addresses of one cluster, and not all of them lead to a node that can be used."""

import logging
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from pydantic import SecretStr

from infra.local.ports import free_port
from infra.local.rabbitmq import RabbitMQ
from shared.cli.doctor import Finding, broker, examine
from shared.messaging.broker_connection import open_connection
from shared.messaging.errors import BrokerUnavailable
from shared.platform import limits
from shared.platform.settings import ServiceSettings
from tests.integration.messaging.test_broker_faults import at_work, nothing_is_found
from tests.support.eventually import eventually
from tests.support.messaging import Receiver
from tests.support.silence import silencing


@pytest.fixture(autouse=True)
def the_first_one_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in another order each time: the dead node is always asked first."""
    monkeypatch.setattr("random.sample", lambda addresses, _: list(addresses))


@pytest.fixture
def dead(amqp_url: str) -> str:
    """An address at which nothing listens."""
    return amqp_url.replace(f":{urlsplit(amqp_url).port}/", f":{free_port()}/")


async def test_messages_travel_while_the_first_node_is_dead_and_no_log_line_has_the_password(
    receiver: Receiver, amqp_url: str, dead: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    guests = [uuid4() for _ in range(8)]
    async with at_work(receiver, f"{dead},{amqp_url}") as faults:
        for guest in guests:
            await receiver.sender.happens(guest, "registered", "expired")
        await eventually(lambda: receiver.all_processed(guests, 2))
        await eventually(partial(nothing_is_found, receiver))
        await faults.require_none()
    assert str(urlsplit(amqp_url).password) not in caplog.text


async def test_a_silent_first_node_costs_the_time_to_connect_and_no_more(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BROKER_CONNECT", 0.3)
    async with silencing(amqp_url) as (proxy, through):
        proxy.silence()
        async with open_connection(f"{through},{amqp_url}") as connection:
            assert not connection.is_closed


async def test_when_all_are_dead_each_is_named(dead: str) -> None:
    both = f"{dead},{dead.replace('127.0.0.1', 'localhost')}"
    port = urlsplit(dead).port
    with pytest.raises(BrokerUnavailable, match=rf"127\.0\.0\.1:{port}: .+; localhost:{port}: ") as raised:
        async with open_connection(both):
            pass
    assert str(urlsplit(dead).password) not in str(raised.value)


async def test_doctor_shows_each_node_and_names_the_dead_one(
    receiver: Receiver, database: str, amqp_url: str, dead: str
) -> None:
    found = await doctors_findings(database, f"{dead},{amqp_url}")
    live, gone = (f"broker node 127.0.0.1:{urlsplit(url).port}" for url in (amqp_url, dead))
    assert (found["broker"].ok, found["broker"].found) == (True, "connected to 1 of 2 nodes")
    assert found["queues"].ok
    assert found[live].ok
    assert found[live].found.startswith("connected, RabbitMQ 3.")
    assert (found[gone].ok, found[gone].vital) == (False, False)
    assert "AMQP_URL" in found[gone].advice
    none = await doctors_findings(database, f"{dead},{dead.replace('127.0.0.1', 'localhost')}")
    assert (none["broker"].ok, none["broker"].vital) == (False, True)
    assert str(urlsplit(amqp_url).password) not in str((found, none))


async def test_doctor_finds_that_two_addresses_are_of_two_clusters(
    receiver: Receiver, database: str, rabbitmq: RabbitMQ, amqp_url: str
) -> None:
    """With the service's own user, and another virtual host in the place of another cluster."""
    own = rabbitmq.create_service_user("identity", amqp_url.rpartition("/")[2])
    same = await doctors_findings(database, f"{own},{own.replace('127.0.0.1', 'localhost')}")
    assert (same["broker"].found, same["queues"].ok) == ("connected to 2 of 2 nodes", True)
    other = f"other_{uuid4()}"
    rabbitmq.create_vhost(other)
    try:
        elsewhere = rabbitmq.create_service_user("identity", other).replace("127.0.0.1", "localhost")
        found = (await doctors_findings(database, f"{own},{elsewhere}"))["broker"]
    finally:
        rabbitmq.delete_vhost(other)
    assert (found.ok, found.vital) == (False, True)
    port = rabbitmq.port
    assert f"localhost:{port} is of another cluster than 127.0.0.1:{port}" in found.found


async def doctors_findings(database: str, urls: str) -> dict[str, Finding]:
    settings = ServiceSettings.model_construct(database_url=SecretStr(database), amqp_url=SecretStr(urls))
    return {finding.step: finding for finding in await examine(broker(settings, "identity"))}
