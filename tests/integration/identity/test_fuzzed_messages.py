"""Malformed messages into the inboxes of both services, over the real broker and with their real consumers.

Whatever is sent: a guest who is registered afterwards is linked, and both services know it. Each message
has one outcome, nothing is half written, and none is tried again without end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
from aio_pika.abc import AbstractChannel
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from identity import bootstrap as identity_bootstrap
from identity import read_models as identity_views
from registration import bootstrap as registration_bootstrap
from registration import read_models as registration_views
from registration.application.receive_message import receive_message
from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.envelope import TYPE_PREFIX, Message
from shared.messaging.errors import MalformedMessage
from shared.messaging.exchanges import QUEUES, declare_events, declare_rejected
from shared.messaging.inbox import Inbox
from shared.messaging.parked import State
from shared.messaging.signing import MessageKeys, SigningKeys
from shared.messaging.transport import over_rabbitmq
from shared.projections.live import require_live
from shared.projections.verify import verify
from tests.support.both_services import BothServices
from tests.support.eventually import eventually
from tests.support.malformed_messages import ENVELOPE, GENUINE, OTHER, VALUES, changed
from tests.support.messaging import declare_queues, open_channel, running

KEYS = {service: SigningKeys([service.encode().ljust(32)]) for service in OTHER}
"""By the sender."""
EXAMPLES, MESSAGES = 8, 25
"""Runs, and the messages of a run."""


@dataclass
class Fuzzed:
    """A message that is to be sent. Its sender's log and its guest are filled in when it is."""

    sender: str
    kind: str
    data: dict[str, Any]
    version: int
    of_victim: bool
    changes: list[tuple[str, Any]] = field(default_factory=list)
    cut: int | None = None
    signed: bool = True

    def body(self, source: str, victim: UUID) -> bytes:
        """Return it as JSON, with its changes."""
        subject = victim if self.of_victim else uuid4()
        # No two guests have one account: the second would rightly wait for the erasure of the first.
        data = json.loads(json.dumps(self.data).replace("acc-", f"acc-{uuid4().hex[:8]}-"))
        cloudevent: dict[str, Any] = {
            "specversion": "1.0",
            "id": str(uuid4()),
            "source": source,
            "type": TYPE_PREFIX + self.kind,
            "subject": str(subject),
            "time": "2025-09-11T12:00:00Z",
            "streamversion": self.version,
            "position": 1,
            "correlationid": str(uuid4()),
            "data": data,
        }
        body = json.dumps(changed(cloudevent, self.changes)).encode()
        return body if self.cut is None else body[: self.cut]


@st.composite
def fuzzed(draw: st.DrawFn) -> Fuzzed:
    """Some service's message with something wrong in its data, its envelope, its bytes or its signature."""
    sender = draw(st.sampled_from(sorted(OTHER)))
    kind, data = draw(st.sampled_from(GENUINE[sender]))
    of_victim, version = draw(st.booleans()), draw(st.integers(1, 5))
    if sender == "registration" and not of_victim:
        kind, data, version = "guest-registered.v1", dict(GENUINE[sender])["guest-registered.v1"], 1
    message = Fuzzed(sender, kind, data, version, of_victim)
    wrong = draw(st.sampled_from(["data", "data", "data", "data", "envelope", "bytes", "signature"]))
    if wrong in {"data", "envelope"}:
        members = [f"data.{name}" for name in (*data, "extra")] if wrong == "data" else ENVELOPE
        message.changes = draw(st.lists(st.tuples(st.sampled_from(members), VALUES), min_size=1, max_size=2))
    message.cut = draw(st.integers(0, 300)) if wrong == "bytes" else None
    message.signed = wrong != "signature"
    return message


@dataclass
class AtWork:
    """Both services with their workers' tasks, and what a test sends them.

    `victim`: the guest who was registered last; the next messages are about that guest, or about nobody.
    """

    both: BothServices
    channel: AbstractChannel
    sources: Mapping[str, str]
    victim: UUID = field(default_factory=uuid4)
    sent: list[tuple[Fuzzed, bytes]] = field(default_factory=list)
    registered: int = 0

    def pool(self, service: str) -> asyncpg.Pool:
        """The database of a service."""
        found: asyncpg.Pool = getattr(self.both, service).service.pool
        return found

    async def send(self, message: Fuzzed) -> None:
        """Publish it on the exchange of its sender."""
        body = message.body(self.sources[message.sender], self.victim)
        headers: dict[str, Any] = {"guest-id": str(uuid4())}
        if message.signed:
            headers |= KEYS[message.sender].sign(body)
        exchange = await declare_events(self.channel, message.sender)
        await exchange.publish(aio_pika.Message(body, headers=headers), "any.type")
        self.sent.append((message, body))

    async def a_good_guest_is_linked(self) -> None:
        """Register a guest; the link is there and back, over the broker."""
        self.registered += 1
        card = f"09902{self.registered:05}"
        self.both.registration.member(card)
        guest = await self.both.registers(new_account(self.registered), card)

        async def is_linked() -> bool:
            shown = await self.both.clerk.get(f"/v1/guests/{guest['guest_id']}")
            return bool(shown.json()["login_link"]["state"] == "linked")

        await eventually(is_linked, within=15)
        self.victim = UUID(guest["guest_id"])

    async def outcome_of(self, message: Fuzzed, body: bytes) -> str:
        """What became of a message at its receiver; empty as long as there is no outcome."""
        if not message.signed:
            return "rejected"
        pool = self.pool(OTHER[message.sender])
        try:
            read = Message.from_json(body)
        except MalformedMessage:
            kept = "SELECT count(*) FROM unreadable_messages WHERE body = $1"
            return "unreadable" if await pool.fetchval(kept, body) else ""
        if read.source != self.sources[message.sender]:
            return "rejected"
        for table, outcome in (("inbox", "applied"), ("held_messages", "parked")):
            found = f"SELECT count(*) FROM {table} WHERE event_id = $1 AND guest_id = $2"  # noqa: S608
            if await pool.fetchval(found, read.id, read.subject):
                return outcome
        return ""

    async def all_have_an_outcome(self) -> bool:
        """Whether each message that was sent was applied, parked, kept as unreadable or rejected."""
        outcomes = [await self.outcome_of(message, body) for message, body in self.sent]
        missing = [body[:400] for outcome, (_, body) in zip(outcomes, self.sent, strict=True) if not outcome]
        assert missing == []
        assert await self.rejected() == outcomes.count("rejected")
        return True

    async def rejected(self) -> int:
        """How many messages both services rejected."""
        queues = [await self.channel.declare_queue(f"{name}.rejected", passive=True) for name in OTHER]
        return sum(queue.declaration_result.message_count or 0 for queue in queues)


def new_account(number: int) -> dict[str, Any]:
    """A choice of a new account."""
    return {"choice": "new", "username": f"goed.{number}", "email": f"goed{number}@example.org"}


@asynccontextmanager
async def at_work(both: BothServices, amqp_url: str) -> AsyncIterator[AtWork]:
    """All tasks that carry messages, as in the workers."""
    registration, identity = both.registration.service, both.identity.service
    registrations = Inbox(
        registration.pool,
        identity.own_feed,
        partial(receive_message, deps=registration.deps),
        other="identity",
    )
    tasks = [
        *_tasks(amqp_url, registration, identity.own_feed, registrations, "registration"),
        *_tasks(amqp_url, identity, identity.registration_feed, identity.inbox, "identity"),
    ]
    async with open_channel(amqp_url) as channel:
        for service, other in OTHER.items():
            await declare_events(channel, other)
            await declare_rejected(channel, service)
            await declare_queues(channel, source=other, consumer=service)
        sources = {
            "registration": f"/registration/{registration.log.log_id}",
            "identity": f"/identity/{identity.log.log_id}",
        }
        async with running(*tasks):
            yield AtWork(both, channel, sources)


def _tasks(amqp_url: str, service: Any, feed: Any, inbox: Inbox, name: str) -> list[Any]:
    tasks = over_rabbitmq(
        amqp_url,
        service.leases,
        feed,
        inbox,
        log=service.log,
        to_message=service.to_message,
        service=name,
        other=OTHER[name],
        keys=MessageKeys(KEYS[name], KEYS[OTHER[name]]),
        faults=BrokerFaults(service.pool),
        unsigned_until=None,
    )
    return [task() for task in tasks.values()]


@pytest.mark.timeout(90)
async def test_i8_whatever_is_published_both_services_go_on(
    both_services: BothServices, amqp_url: str
) -> None:
    loop = asyncio.get_running_loop()
    async with at_work(both_services, amqp_url) as working:
        await working.a_good_guest_is_linked()  # so both know the other's log

        async def send(messages: list[Fuzzed]) -> None:
            for message in messages:
                await working.send(message)
            await working.a_good_guest_is_linked()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(messages=st.lists(fuzzed(), min_size=MESSAGES, max_size=MESSAGES))
        def run(messages: list[Fuzzed]) -> None:
            asyncio.run_coroutine_threadsafe(send(messages), loop).result()

        await asyncio.to_thread(run)
        await eventually(working.all_have_an_outcome, within=15)
        for service in OTHER:
            await nothing_waits(working.both, service)
    await nothing_is_left(amqp_url)
    await nothing_is_half_written(both_services)


async def nothing_waits(both: BothServices, service: str) -> None:
    """Parked guests wait for an operator; none is tried again by itself."""
    parked = await getattr(both, service).service.inbox.parked.overview()
    assert parked
    assert {found.reason for found in parked if found.state is State.WAITING} == set()


async def nothing_is_left(amqp_url: str) -> None:
    """The workers have ended, so what they did not acknowledge is back in its queue."""
    async with open_channel(amqp_url) as channel:
        for service, other in OTHER.items():
            queues = await declare_queues(channel, source=other, consumer=service)
            assert [queue.declaration_result.message_count for queue in queues] == [0] * QUEUES


async def nothing_is_half_written(both: BothServices) -> None:
    """What a message caused is there with its inbox row, and all views can be folded from the log."""
    await both.catch_up_views()
    sources: tuple[tuple[Any, Any, Any], ...] = (
        (both.registration.service, registration_views.VIEWS, registration_bootstrap.view_source),
        (both.identity.service, identity_views.VIEWS, identity_bootstrap.view_source),
    )
    for service, views, source in sources:
        orphans = await service.pool.fetch(
            "SELECT topic FROM stored_events WHERE causation_id IS NOT NULL"
            " AND NOT EXISTS (SELECT FROM inbox WHERE inbox.event_id = causation_id)"
        )
        assert orphans == []
        await require_live(service.pool, views)
        for view in views:
            assert (await verify(source(service.settings), view, lambda _: None)).differences == ()
