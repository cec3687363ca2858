"""The feed poller finds what got lost on the way, and is a transport of its own (ADR 0003, I8)."""

import asyncio
from uuid import uuid4

import httpx2
import orjson
import pytest

from shared.messaging.envelope import Message
from shared.messaging.errors import FeedUnavailable
from shared.messaging.feed import HttpFeed
from shared.messaging.feed_poller import TASK, FeedPoller
from shared.messaging.inbox import MOST_ATTEMPTS, unreadable_messages
from shared.messaging.parked import State
from shared.platform.http_client import HttpClient
from shared.platform.leases import Leases
from tests.support.eventually import eventually
from tests.support.messaging import SECRET_TOPIC, Receiver, Sender, running
from tests.support.tokens import held_token


@pytest.fixture
def poller(sender: Sender, receiver: Receiver) -> FeedPoller:
    """The feed transport: no rest, long-polling."""
    return FeedPoller(sender, receiver.inbox, Leases(receiver.pool), interval=0, wait=25)


async def test_i8_a_lost_last_message_is_found(sender: Sender, receiver: Receiver) -> None:
    guest = uuid4()
    messages = await sender.happens(guest, "registered", "expired")
    await receiver.inbox.receive(messages[0])
    poller = FeedPoller(sender, receiver.inbox, Leases(receiver.pool), interval=0.1, wait=0)
    async with running(poller.run()):
        await eventually(lambda: receiver.all_processed([guest], 2))
        await sender.happens(guest, "reregistered")
        await eventually(lambda: receiver.all_processed([guest], 3))
    assert receiver.calls == 3


async def test_the_feed_is_a_transport_that_wakes_at_once(
    sender: Sender, receiver: Receiver, poller: FeedPoller
) -> None:
    guests = [uuid4() for _ in range(30)]
    async with running(poller.run()):
        for guest in guests:
            await sender.happens(guest, "registered")
        await sender.happens(guests[0], SECRET_TOPIC)
        await eventually(lambda: receiver.all_processed(guests, 1))
        await eventually(lambda: _checkpoint_is(receiver, 31))
        loop = asyncio.get_running_loop()
        began = loop.time()
        await sender.happens(guests[1], "expired")
        await eventually(lambda: receiver.all_processed(guests[1:2], 2))
        assert loop.time() - began < 2


async def test_the_feed_poller_goes_on_after_the_feed_was_away(
    sender: Sender, receiver: Receiver, poller: FeedPoller
) -> None:
    guest = uuid4()
    await sender.happens(guest, "registered")
    sender.unplugged = True
    async with running(poller.run()):
        await eventually(lambda: sender.asked >= 2)
        sender.unplugged = False
        await eventually(lambda: receiver.all_processed([guest], 1))


async def test_the_checkpoint_moves_only_over_what_was_durably_dealt_with(
    sender: Sender, receiver: Receiver, poller: FeedPoller
) -> None:
    parked, waiting, well = uuid4(), uuid4(), uuid4()
    receiver.refuses = {"bad": ValueError("cannot be"), "early": FeedUnavailable("directory")}
    for guest, what in ((parked, "bad"), (waiting, "early"), (well, "registered")):
        await sender.happens(guest, what)
    async with running(poller.run()):
        await eventually(lambda: _checkpoint_is(receiver, 3))
    backlogs = {parked.subject: parked.messages for parked in await receiver.inbox.parked.overview()}
    assert backlogs == {parked: 1, waiting: 1}
    assert await receiver.effects(well) == [1]


async def test_i8_what_fails_unforeseen_is_parked_after_some_attempts_and_holds_no_other_guest_up(
    sender: Sender, receiver: Receiver, poller: FeedPoller, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, well = uuid4(), uuid4()
    receive, attempts = receiver.inbox.receive, 0

    async def fails_for_one(message: Message) -> None:
        nonlocal attempts
        if message.subject == poisoned:
            attempts += 1
            raise OverflowError("value out of int64 range")
        await receive(message)

    monkeypatch.setattr(receiver.inbox, "receive", fails_for_one)
    await sender.happens(poisoned, "registered")
    await sender.happens(well, "registered")
    async with running(poller.run()):
        await eventually(lambda: _checkpoint_is(receiver, 2))
    (kept,) = await receiver.inbox.parked.overview()
    assert (kept.subject, kept.state, kept.messages) == (poisoned, State.PARKED, 1)
    assert (kept.reason, attempts) == ("OverflowError: value out of int64 range", MOST_ATTEMPTS)
    assert await receiver.effects(well) == [1]
    monkeypatch.undo()  # once the cause is gone, an operator goes on from there
    assert await receiver.inbox.retry_parked(poisoned)
    assert await receiver.effects(poisoned) == [1]


async def test_two_polling_processes_have_one_leader(sender: Sender, receiver: Receiver) -> None:
    guests = [uuid4() for _ in range(10)]
    pollers = [
        FeedPoller(sender, inbox, Leases(receiver.pool), interval=0, wait=1)
        for inbox in (receiver.inbox, receiver.another_process().inbox)
    ]
    async with running(*(poller.run() for poller in pollers)):
        for guest in guests:
            await sender.happens(guest, "registered", "expired")
        await eventually(lambda: receiver.all_processed(guests, 2))
    assert receiver.calls in {0, 20}


async def test_items_that_are_nested_without_end_stop_no_other(sender: Sender, receiver: Receiver) -> None:
    guest, levels = uuid4(), 500
    (message,) = await sender.happens(guest, "registered")
    deep = b"[" * levels + b"]" * levels
    readable = orjson.dumps(message.to_cloudevent())
    too_deep = readable.replace(b'"data":{', b'"data":{"deep":' + deep + b",").replace(b",}", b"}")
    page = b'{"items":[' + b",".join((deep, too_deep, readable)) + b'],"position":1}'
    last = b'{"items":[],"position":1}'

    def served(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=page if request.url.params["after"] == "0" else last)

    async with HttpClient(transport=httpx2.MockTransport(served)) as http:
        feed = HttpFeed("http://feed", http, held_token("token"))
        poller = FeedPoller(feed, receiver.inbox, Leases(receiver.pool), interval=0.1, wait=0)
        async with running(poller.run()):
            await eventually(lambda: receiver.all_processed([guest], 1))
    assert len(await unreadable_messages(receiver.pool)) == 2


async def _checkpoint_is(receiver: Receiver, position: int) -> bool:
    return await Leases(receiver.pool).checkpoint(TASK) == position
