"""Our own RabbitMQ node: private, restartable, and gone with all of Erlang's helpers when stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import aio_pika
import aiormq.exceptions
import psutil
import pytest
from aiormq.abc import FieldTable

from infra.local.processes import alive
from infra.local.rabbitmq import RabbitMQ
from shared.messaging.exchanges import LARGEST_MESSAGE
from tests.support.eventually import eventually


async def test_offers_quorum_queues_behind_a_consistent_hash_exchange(amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("guests", "x-consistent-hash")
        queue = await channel.declare_queue("guests.0", durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind(exchange, routing_key="1")
        await exchange.publish(aio_pika.Message(b"one"), routing_key="any guest")
        message = await queue.get(timeout=10)
        assert message.body == b"one"
        await message.ack()


async def test_a_message_that_could_fill_a_workers_memory_is_refused(amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("large", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b" " * LARGEST_MESSAGE), queue.name)
        with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed):
            await channel.default_exchange.publish(aio_pika.Message(b" " * (LARGEST_MESSAGE + 1)), queue.name)


async def test_a_vhost_is_fresh(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
            await channel.get_queue("guests.0", ensure=True)


async def test_needs_its_own_password(rabbitmq: RabbitMQ) -> None:
    with pytest.raises(aiormq.exceptions.ProbableAuthenticationError):
        await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}/")


async def test_listens_on_loopback_only_and_away_from_the_standard_ports(rabbitmq: RabbitMQ) -> None:
    programs = [psutil.Process(program.pid) for program in (rabbitmq.node, rabbitmq.epmd)]
    listening = [c.laddr for p in programs for c in p.net_connections() if c.status == "LISTEN"]
    assert len(listening) >= 3
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}
    assert not {address.port for address in listening} & {4369, 5672, 25672}


async def test_keeps_its_queues_over_a_restart_and_leaves_no_process_behind(tmp_path: Path) -> None:
    node = RabbitMQ(tmp_path)
    node.start()
    arguments: FieldTable = {"x-queue-type": "quorum"}
    async with await aio_pika.connect(node.url()) as connection:
        channel = await connection.channel()
        await channel.declare_queue("kept", durable=True, arguments=arguments)
        await channel.default_exchange.publish(aio_pika.Message(b"kept", delivery_mode=2), "kept")
    family = _family(node)
    node.stop()
    assert not alive(family)
    node.start()
    async with await aio_pika.connect(node.url()) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("kept", durable=True, arguments=arguments)
        message = await queue.get(timeout=10)
        assert message.body == b"kept"
    family = _family(node)
    os.kill(node.node.pid, signal.SIGSTOP)
    node.stop()
    assert not alive(family)


async def test_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from infra.local.rabbitmq import RabbitMQ;"
        " node = RabbitMQ(pathlib.Path(sys.argv[1])); node.start(); print(flush=True); time.sleep(600)"
    )
    starter = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE
    )
    with starter:
        assert starter.stdout is not None
        starter.stdout.readline()
        family = psutil.Process(starter.pid).children(recursive=True)
        assert {"epmd", "beam.smp", "erl_child_setup"} <= {process.name() for process in family}
        starter.kill()
    await eventually(lambda: not alive(family))


def _family(node: RabbitMQ) -> list[psutil.Process]:
    roots = [psutil.Process(program.pid) for program in (node.node, node.epmd)]
    return roots + [child for root in roots for child in root.children(recursive=True)]
