"""Identity's worker consumes registered guests and links them, beside a bare consumer that acknowledges."""

from __future__ import annotations

import asyncio
import base64
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

from aio_pika.abc import AbstractIncomingMessage
from pydantic import SecretStr

from identity import bootstrap
from identity.adapters.in_memory import InMemoryAccountDirectory, InMemoryRegistration
from identity.adapters.tables import SCHEMA as IDENTITY_SCHEMA
from identity.application.dependencies import AccountDetails
from identity.domain.guest_link import GuestLink
from infra.local.postgres import Postgres
from registration.adapters.messages import published_messages
from registration.adapters.tables import SCHEMA
from shared.event_log import AggregateStore
from shared.messaging.broker_connection import open_connection
from shared.messaging.exchanges import shares_of
from shared.messaging.feed import LogFeed
from shared.messaging.rabbitmq import PREFETCH
from tests.benchmarks.guests import EVENTS_PER_GUEST, PERSON_REF_KEY, save_registered
from tests.benchmarks.relay import broker, declare_queues, messages_of, publish, registration_log
from tests.benchmarks.results import Result
from tests.support.eventually import eventually
from tests.support.identity_service import settings_in
from tests.support.servers import Databases
from tests.support.tokens import Signer

ROUNDS = 5
GUESTS = int(os.environ.get("BENCH_GUESTS", "2000"))  # of one round
TARGET = 0.5
LOOK_EVERY_SECONDS = 0.02
TASKS = ("consumer", "retry", "broker faults")
LINKED = "SELECT count(*) FROM stored_events WHERE topic = $1"


class _Directory(InMemoryAccountDirectory):
    """Finds an account by its id without looking at the others, as a directory does."""

    def __init__(self, accounts: Sequence[AccountDetails]) -> None:
        super().__init__([*accounts])
        self._by_id = {account.account_id: account for account in accounts}

    async def by_id(self, account_id: str) -> AccountDetails | None:
        return self._by_id.get(account_id)


async def measure(server: Postgres) -> Sequence[Result]:
    """Measure both in turns, with the same messages in the same queues."""
    databases = Databases(server)
    ours, bare = list[float](), list[float]()
    with broker() as node, tempfile.TemporaryDirectory(prefix="bench-identity-") as folder:
        amqp_url = node.create_vhost("bench")
        await declare_queues(amqp_url)
        registration = databases("registration", SCHEMA)
        async with registration_log(registration) as (_, store):
            await save_registered(store, 0, GUESTS)
            messages = await messages_of(store, 0)
            if len(messages) != GUESTS * EVENTS_PER_GUEST:
                raise AssertionError(f"{len(messages)} messages")
            for _ in range(ROUNDS):
                await publish(amqp_url, messages)
                ours.append(
                    await _link(databases("identity", IDENTITY_SCHEMA), amqp_url, store, Path(folder))
                )
                await publish(amqp_url, messages)
                bare.append(await _acknowledge(amqp_url, len(messages)))
    rates = len(messages) / median(ours), len(messages) / median(bare)
    return [
        Result(
            "consume and link, one worker", "events/s", *rates, "consume and acknowledge", "higher", TARGET
        )
    ]


async def _link(database: str, amqp_url: str, registration: AggregateStore, folder: Path) -> float:
    """Let the tasks of identity's worker that receive link all guests. Return the seconds."""
    accounts = [
        AccountDetails(
            f"acc-0991{number:06}", f"u{number}", f"u{number}@example.org", "NL-070288", f"0991{number:06}"
        )
        for number in range(GUESTS)
    ]
    replaced = bootstrap.Replacements(
        registration=InMemoryRegistration(),
        registration_feed=LogFeed(registration.log, published_messages(registration)),
        directory=_Directory(accounts),
    )
    keys = folder / "messages.key"
    keys.write_text(base64.b64encode(b"s" * 32).decode() + "\n", "ascii")
    keys.chmod(0o600)
    settings = settings_in(folder, database, Signer(folder / "jwks.json"), PERSON_REF_KEY).model_copy(
        update={"amqp_url": SecretStr(amqp_url), "signing_key_file": keys, "verification_key_file": keys}
    )
    async with bootstrap.open_service(settings, replaced) as service:
        tasks = bootstrap.worker_tasks(service)
        began = perf_counter()
        running = [asyncio.ensure_future(tasks[name]()) for name in TASKS]
        try:
            while await service.pool.fetchval(LINKED, GuestLink.LoginAccountLinked.TOPIC) < GUESTS:
                for ended in (task for task in running if task.done()):
                    raise RuntimeError("a task of the worker ended") from ended.exception()
                await asyncio.sleep(LOOK_EVERY_SECONDS)
            seconds = perf_counter() - began
            await _until_empty(amqp_url)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    return seconds


async def _until_empty(amqp_url: str) -> None:
    async with open_connection(amqp_url) as connection, connection.channel() as channel:

        async def are_empty() -> bool:
            queues = [await channel.declare_queue(name, passive=True) for name in shares_of("identity")]
            return not any(queue.declaration_result.message_count for queue in queues)

        await eventually(are_empty, within=30)


async def _acknowledge(amqp_url: str, messages: int) -> float:
    """Consume and acknowledge so many messages from the same queues. Return the seconds."""
    left, done = messages, asyncio.Event()

    async def acknowledge(message: AbstractIncomingMessage) -> None:
        nonlocal left
        await message.ack()
        left -= 1
        if not left:
            done.set()

    async with open_connection(amqp_url) as connection:
        began = perf_counter()
        for name in shares_of("identity"):
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            await (await channel.get_queue(name, ensure=False)).consume(acknowledge)
        await done.wait()
        return perf_counter() - began
