"""Forged, changed, repeated and foreign messages over a real RabbitMQ have no effect (ADR 0020)."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import aio_pika
import orjson
import pytest
from aio_pika.abc import AbstractIncomingMessage

from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.envelope import Message
from shared.messaging.exchanges import declare_events, declare_rejected
from shared.messaging.rabbitmq import Consumer, publishing
from shared.messaging.signing import SigningKeys
from tests.support.eventually import eventually
from tests.support.messaging import KEYS, Receiver, Sender, declare_queues, open_channel, running

FORGERS_KEYS = SigningKeys([b"\xee" * 32])
TYPES = [
    "guest-registered.v1",
    "guest-standing-changed.v1",
    "link-requested.v1",
    "login-account-unlinked.v1",
    "guest-merged.v1",
    "personal-data-erased.v1",
    "login-account-linked.v1",
    "login-account-linked-too-late.v1",
    "login-account-link-refused.v1",
    "login-account-released.v1",
    "a-type-that-nobody-knows.v9",
]


def consumer_of(receiver: Receiver, amqp_url: str, unsigned_until: datetime | None = None) -> Consumer:
    """Identity's consumer of registration's events."""
    return Consumer(
        amqp_url,
        receiver.inbox,
        source="registration",
        consumer="identity",
        keys=KEYS,
        faults=BrokerFaults(receiver.pool),
        unsigned_until=unsigned_until,
    )


class Forger:
    """Somebody who may publish on registration's exchange, and has seen its messages."""

    def __init__(self, amqp_url: str) -> None:
        self.amqp_url = amqp_url

    async def publish(self, body: bytes, headers: dict[str, str], subject: UUID) -> None:
        """Publish these bytes as if they were registration's."""
        message = aio_pika.Message(body, headers={"guest-id": str(subject), **headers})
        async with open_channel(self.amqp_url) as channel:
            exchange = await declare_events(channel, "registration")
            await exchange.publish(message, routing_key="nl.landelijklenen.forged")


@pytest.fixture
def forger(amqp_url: str) -> Forger:
    """Somebody with the credentials of the broker's administrator."""
    return Forger(amqp_url)


async def genuine(sender: Sender, amqp_url: str, guest: UUID, *types: str) -> list[Message]:
    """These things happen to the guest, and their messages are published by the sender."""
    messages = await sender.happens(guest, *types)
    async with publishing(amqp_url, "registration", KEYS) as publisher:
        for message in messages:
            await publisher.publish(message)
    return messages


async def rejected(amqp_url: str) -> list[AbstractIncomingMessage]:
    """Take all messages from the queue of rejected ones."""
    found = []
    async with open_channel(amqp_url) as channel:
        await declare_rejected(channel, "identity")
        queue = await channel.get_queue("identity.rejected")
        while delivery := await queue.get(fail=False):
            found.append(delivery)
            await delivery.ack()
    return found


@pytest.mark.parametrize("what", TYPES)
@pytest.mark.parametrize("signed_by", [None, FORGERS_KEYS], ids=["unsigned", "another key"])
async def test_r26_a_forged_message_of_any_type_has_no_effect(
    what: str, signed_by: SigningKeys | None, sender: Sender, receiver: Receiver, forger: Forger
) -> None:
    amqp_url = forger.amqp_url
    guest, bystander = uuid4(), uuid4()
    async with running(consumer_of(receiver, amqp_url).run()):
        await eventually(lambda: receiver_consumes(amqp_url))
        (first,) = await genuine(sender, amqp_url, guest, "guest-registered.v1")
        body = forged(first, type=what, stream_version=2, id=uuid4())
        await forger.publish(body, dict(signed_by.sign(body)) if signed_by else {}, guest)
        await genuine(sender, amqp_url, bystander, "guest-registered.v1")
        await eventually(lambda: receiver.all_processed([guest, bystander], 1))
        (delivery,) = await eventually(lambda: rejected(amqp_url))
    assert delivery.body == body
    assert await receiver.effects(guest) == [1]
    assert await receiver.inbox.parked.overview() == []


async def test_of_a_message_that_is_too_large_only_the_beginning_is_kept(
    sender: Sender, receiver: Receiver, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is even signed. Another broker than those of this repository may take it."""
    monkeypatch.setattr("shared.messaging.rabbitmq.LARGEST_MESSAGE", 5000)
    guest = uuid4()
    async with running(consumer_of(receiver, forger.amqp_url).run()):
        await eventually(lambda: receiver_consumes(forger.amqp_url))
        body = b" " * 5001
        await forger.publish(body, dict(KEYS.sign(body)), guest)
        await genuine(sender, forger.amqp_url, guest, "guest-registered.v1")
        await eventually(lambda: receiver.all_processed([guest], 1))
        (delivery,) = await eventually(lambda: rejected(forger.amqp_url))
    assert delivery.body == body[:5000]


async def test_a_changed_message_has_no_effect_under_its_old_signature(
    sender: Sender, receiver: Receiver, amqp_url: str, forger: Forger
) -> None:
    guest, victim = uuid4(), uuid4()
    async with running(consumer_of(receiver, amqp_url).run()):
        await eventually(lambda: receiver_consumes(amqp_url))
        (first,) = await genuine(sender, amqp_url, guest, "personal-data-erased.v1")
        signature = dict(KEYS.sign(first.to_json()))
        await forger.publish(forged(first, subject=victim), signature, victim)
        (delivery,) = await eventually(lambda: rejected(amqp_url))
    assert "does not match" in str(delivery.headers["reason"])
    assert await receiver.effects(victim) == []


async def test_a_repeated_message_has_no_second_effect(
    sender: Sender, receiver: Receiver, amqp_url: str, forger: Forger
) -> None:
    guest = uuid4()
    async with running(consumer_of(receiver, amqp_url).run()):
        await eventually(lambda: receiver_consumes(amqp_url))
        first, *_ = await genuine(sender, amqp_url, guest, "linked", "unlinked", "linked")
        await eventually(lambda: receiver.all_processed([guest], 3))
        for _ in range(3):  # its own bytes and signature, in whatever queue
            await forger.publish(first.to_json(), dict(KEYS.sign(first.to_json())), uuid4())
        await genuine(sender, amqp_url, guest, "unlinked")
        await eventually(lambda: receiver.all_processed([guest], 4))
    assert await rejected(amqp_url) == []


async def test_r26_a_signed_message_of_another_log_is_refused(
    sender: Sender, receiver: Receiver, amqp_url: str, forger: Forger
) -> None:
    guest = uuid4()
    async with running(consumer_of(receiver, amqp_url).run()):
        await eventually(lambda: receiver_consumes(amqp_url))
        (first,) = await genuine(sender, amqp_url, guest, "registered")
        await eventually(lambda: receiver.all_processed([guest], 1))
        for source in ("/registration/another-log", "/identity/log", "/registration", "x" * 4000):
            body = forged(first, source=source, stream_version=2, id=uuid4())
            await forger.publish(body, dict(KEYS.sign(body)), guest)
        refused: list[AbstractIncomingMessage] = []

        async def all_refused() -> bool:
            refused.extend(await rejected(amqp_url))
            return len(refused) == 4

        await eventually(all_refused)
    assert await receiver.effects(guest) == [1]


async def test_after_an_upgrade_unsigned_messages_are_taken_until_the_moment_that_is_set(
    sender: Sender, receiver: Receiver, amqp_url: str, forger: Forger
) -> None:
    guest = uuid4()
    first, second = await sender.happens(guest, "registered", "expired")
    now = datetime.now(UTC)
    async with running(consumer_of(receiver, amqp_url, now + timedelta(hours=1)).run()):
        await eventually(lambda: receiver_consumes(amqp_url))
        await forger.publish(first.to_json(), {}, guest)
        await eventually(lambda: receiver.all_processed([guest], 1))
        body = forged(second, type="personal-data-erased.v1")
        await forger.publish(body, dict(FORGERS_KEYS.sign(body)), guest)  # with a wrong signature: never
        await eventually(lambda: rejected(amqp_url))
    async with running(consumer_of(receiver, amqp_url, now).run()):
        await eventually(lambda: receiver_consumes(amqp_url))
        await forger.publish(second.to_json(), {}, guest)
        await eventually(lambda: rejected(amqp_url))
    assert await receiver.effects(guest) == [1]


async def receiver_consumes(amqp_url: str) -> bool:
    """Whether identity's queues have a consumer."""
    async with open_channel(amqp_url) as channel:
        await declare_events(channel, "registration")
        queues = await declare_queues(channel, source="registration", consumer="identity")
        return all(queue.declaration_result.consumer_count for queue in queues)


def forged(message: Message, **changes: object) -> bytes:
    """The bytes of the message with these attributes changed."""
    names = {"stream_version": "streamversion"}
    content = orjson.loads(message.to_json())
    for name, value in changes.items():
        shown = f"nl.landelijklenen.{value}" if name == "type" else value
        content[names.get(name, name)] = str(shown) if isinstance(shown, UUID) else shown
    return orjson.dumps(content)
