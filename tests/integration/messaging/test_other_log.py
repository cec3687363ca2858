"""The other service's log ends before what was seen of it: its database was restored (ADR 0033)."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from shared.event_log import InMemoryEventLog, NewEvent
from shared.messaging.feed import FeedPage
from shared.messaging.feed_poller import PAGE, TASK, FeedPoller
from shared.messaging.inbox import Inbox
from shared.messaging.other_log import BY_ITSELF, LostEnd, lost_end
from shared.messaging.queues import update_queue_metrics
from shared.platform.leases import Leases
from tests.support.eventually import eventually
from tests.support.messaging import METADATA, SECRET_TOPIC, SOURCE, Receiver, Sender, running, to_message


def poller_of(sender: Sender, receiver: Receiver) -> FeedPoller:
    return FeedPoller(sender, receiver.inbox, Leases(receiver.pool), interval=0.05, wait=0)


async def checkpoint(receiver: Receiver) -> int:
    return await Leases(receiver.pool).checkpoint(TASK)


async def restore(sender: Sender, position: int) -> None:
    """The sender's log is as it was at this position: the same events, with the same ids."""
    kept = await sender.log.read(0, position)
    sender.log = InMemoryEventLog()
    for event in kept:
        new = NewEvent(
            event.stream_id, event.stream_version, event.event_type, event.state, event.event_id, METADATA
        )
        await sender.log.append([new])


async def seen(sender: Sender, receiver: Receiver, count: int) -> list[UUID]:
    """So many guests were registered, and the feed was read to its end."""
    guests = [uuid4() for _ in range(count)]
    for guest in guests:
        await sender.happens(guest, "registered")
    async with running(poller_of(sender, receiver).run()):
        await eventually(lambda: _is_at(receiver, count))
    return guests


async def _is_at(receiver: Receiver, position: int) -> bool:
    return await checkpoint(receiver) == position


async def _read_again(receiver: Receiver) -> LostEnd | None:
    lost = await lost_end(receiver.pool)
    return lost if lost is not None and lost.read_again_at is not None else None


async def test_the_feed_says_that_the_log_ends_earlier_and_what_is_new_there_is_read(
    sender: Sender, receiver: Receiver
) -> None:
    await seen(sender, receiver, 12)
    await restore(sender, 5)
    new = uuid4()
    await sender.happens(new, "registered")
    async with running(poller_of(sender, receiver).run()):
        await eventually(lambda: receiver.all_processed([new], 1))
        lost = await eventually(lambda: _read_again(receiver))
    assert lost is not None
    assert (lost.seen, lost.head) == (12, 6)
    assert await checkpoint(receiver) == 6
    await update_queue_metrics(receiver.pool)
    assert REGISTRY.get_sample_value("other_log_behind_events") == 6
    assert await receiver.inbox.other_log.settle("an operator", "it is known")
    assert await lost_end(receiver.pool) is None
    await update_queue_metrics(receiver.pool)
    assert REGISTRY.get_sample_value("other_log_behind_events") == 0


@pytest.mark.parametrize("kept", [0, 3, PAGE - 1, PAGE + 1, 3 * PAGE])
async def test_nothing_new_is_passed_however_much_was_written_since(
    sender: Sender, receiver: Receiver, kept: int
) -> None:
    """More was written after the restore than fits in a page, and less than was lost."""
    await _seen_at_once(sender, receiver, 4 * PAGE + 7)
    await restore(sender, kept)
    new = [uuid4() for _ in range(PAGE + 2)]
    for guest in new:
        await sender.happens(guest, "registered")
    async with running(poller_of(sender, receiver).run()):
        await eventually(lambda: receiver.all_processed(new, 1), within=30)


async def _seen_at_once(sender: Sender, receiver: Receiver, count: int) -> None:
    """As `seen`, of many guests: their rows are written without the poller."""
    for _ in range(count):
        await sender.happens(uuid4(), "registered")
    messages = [message for message in map(to_message, await sender.log.read(0, count)) if message]
    await receiver.pool.executemany(
        "INSERT INTO inbox (guest_id, stream_version, event_id, content) VALUES ($1, $2, $3, $4)",
        [(each.subject, each.stream_version, each.id, each.content) for each in messages],
    )
    await receiver.pool.execute("INSERT INTO checkpoints VALUES ($1, $2, 0)", TASK, count)


async def test_a_new_message_with_a_position_that_was_read_before_says_it_too(
    sender: Sender, receiver: Receiver
) -> None:
    """The log has grown beyond what was seen before the feed poller asks again."""
    await seen(sender, receiver, 6)
    await restore(sender, 2)
    new = [uuid4() for _ in range(9)]
    messages = [message for guest in new for message in await sender.happens(guest, "registered")]
    assert await lost_end(receiver.pool) is None
    await receiver.inbox.receive(messages[1])
    lost = await lost_end(receiver.pool)
    assert lost is not None
    assert (lost.source, lost.seen, lost.head) == (SOURCE, 6, 3)
    async with running(poller_of(sender, receiver).run()):
        await eventually(lambda: receiver.all_processed(new, 1))


async def test_what_only_the_broker_brought_counts_as_seen(sender: Sender, receiver: Receiver) -> None:
    """The feed poller had not read it yet, and the worker was restarted."""
    await seen(sender, receiver, 4)
    for message in await sender.happens(uuid4(), "registered", "expired"):
        await receiver.inbox.receive(message)

    async def all_are_stored() -> bool:
        return await receiver.another_process().inbox.other_log.highest() == 6

    async with running(receiver.inbox.other_log.keep_storing()):
        await eventually(all_are_stored, within=30)
    await restore(sender, 4)
    restarted = receiver.another_process()
    async with running(poller_of(sender, restarted).run()):
        lost = await eventually(lambda: _read_again(restarted), within=30)
        assert lost is not None
        assert (lost.seen, lost.head) == (6, 4)
        await restarted.inbox.other_log.settle("an operator", "it is known")
        asked = sender.asked
        await eventually(lambda: sender.asked > asked + 2, within=30)
    assert await lost_end(receiver.pool) is None


async def test_the_feed_poller_that_read_nothing_yet_has_nowhere_to_go_back_to(
    sender: Sender, receiver: Receiver
) -> None:
    for message in await sender.happens(uuid4(), "registered", "expired"):
        await receiver.inbox.receive(message)
    await restore(sender, 1)
    async with running(poller_of(sender, receiver).run()):
        lost = await eventually(lambda: _read_again(receiver), within=30)
    assert lost is not None
    assert (lost.seen, lost.head, await checkpoint(receiver)) == (2, 1, 1)


async def test_nothing_is_lost_when_messages_come_twice_late_or_are_parked(
    sender: Sender, receiver: Receiver
) -> None:
    receiver.refuses = {"bad": ValueError("cannot be")}
    guest, parked = uuid4(), uuid4()
    messages = [*await sender.happens(guest, "registered", "expired"), *await sender.happens(parked, "bad")]
    async with running(poller_of(sender, receiver).run()):
        await eventually(lambda: _is_at(receiver, 3))
    receiver.refuses = {}
    for message in (*messages, *messages):
        await receiver.inbox.receive(message)
    assert await receiver.inbox.retry_parked(parked)
    assert await receiver.effects(parked) == [1]
    for message in messages:
        await receiver.inbox.receive(message)
    assert await lost_end(receiver.pool) is None


async def test_what_heals_by_itself_is_settled_once_the_feed_was_read_again(
    sender: Sender, receiver: Receiver
) -> None:
    receiver.inbox = Inbox(receiver.pool, sender, receiver.handle, other="registration", other_heals=True)
    await seen(sender, receiver, 5)
    await restore(sender, 3)
    async with running(poller_of(sender, receiver).run()):
        await eventually(lambda: _settled_by(receiver))
    assert await _settled_by(receiver) == BY_ITSELF
    assert await lost_end(receiver.pool) is None
    assert await checkpoint(receiver) == 3


async def _settled_by(receiver: Receiver) -> str | None:
    found: str | None = await receiver.pool.fetchval("SELECT settled_by FROM other_log_losses")
    return found


async def test_an_operator_cannot_settle_what_was_not_read_again(sender: Sender, receiver: Receiver) -> None:
    await receiver.inbox.other_log.note(SOURCE, seen=9, head=4)
    assert not await receiver.inbox.other_log.settle("an operator", "too early")
    lost = await lost_end(receiver.pool)
    assert lost is not None
    assert "ended at position 4, up to 9" in lost.text


async def test_a_feed_of_before_says_nothing_and_nothing_happens(sender: Sender, receiver: Receiver) -> None:
    await seen(sender, receiver, 4)
    await restore(sender, 2)
    after = sender.after

    async def of_before(position: int, *, limit: int, wait: float) -> FeedPage:
        return replace(await after(position, limit=limit, wait=wait), head=None, source=None)

    sender.after = of_before  # type: ignore[method-assign]
    asked = sender.asked
    async with running(poller_of(sender, receiver).run()):
        await eventually(lambda: sender.asked > asked + 2)
    assert await lost_end(receiver.pool) is None
    assert await checkpoint(receiver) == 4


async def test_a_message_that_the_feed_poller_will_read_says_nothing(
    sender: Sender, receiver: Receiver
) -> None:
    """The feed poller went back after the inbox was asked about the message, and before it is noted."""
    await seen(sender, receiver, 4)
    await receiver.inbox.other_log.note_passed(SOURCE, 5)
    assert await lost_end(receiver.pool) is None
    await receiver.inbox.other_log.note_passed(SOURCE, 4)
    lost = await lost_end(receiver.pool)
    assert lost is not None
    assert (lost.seen, lost.head) == (4, 3)


async def test_a_message_in_the_place_of_another_says_that_the_log_lost_its_end(
    sender: Sender, receiver: Receiver
) -> None:
    """Only the broker brought them, and the log has grown beyond its old end before the feed is read."""
    for _ in range(6):
        for message in await sender.happens(uuid4(), "registered"):
            await receiver.inbox.receive(message)
    await restore(sender, 3)
    new = [uuid4() for _ in range(9)]
    messages = [message for guest in new for message in await sender.happens(guest, "registered")]
    for message in messages:
        await receiver.inbox.receive(message)
    lost = await lost_end(receiver.pool)
    assert lost is not None
    assert (lost.source, lost.seen, lost.head) == (SOURCE, 6, 3)
    async with running(poller_of(sender, receiver).run()):
        await eventually(lambda: _read_again(receiver), within=30)
        assert await receiver.inbox.other_log.settle("an operator", "it is known")
        asked = sender.asked
        await eventually(lambda: sender.asked > asked + 2, within=30)
    assert await lost_end(receiver.pool) is None


async def test_the_feed_poller_asks_whether_what_it_read_last_is_still_there(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a broker nothing else would say it, and what is new below the old end would never be read."""
    monkeypatch.setattr("shared.messaging.feed_poller.QUIET_SECONDS", 0.0)
    async with running(poller_of(sender, receiver).run()):
        old = [uuid4() for _ in range(6)]
        for guest in old:
            await sender.happens(guest, "registered")
        await eventually(lambda: _is_at(receiver, 6))
        sender.unplugged = True
        await restore(sender, 3)
        new = [uuid4() for _ in range(9)]
        for guest in new:
            await sender.happens(guest, "registered")
        sender.unplugged = False
        await eventually(lambda: receiver.all_processed(new, 1), within=30)
        lost = await eventually(lambda: _read_again(receiver), within=30)
    assert lost is not None
    assert (lost.source, lost.seen, lost.head) == (SOURCE, 6, 5)


async def test_a_log_that_only_grows_is_never_said_to_have_lost_its_end(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.messaging.feed_poller.QUIET_SECONDS", 0.0)
    async with running(poller_of(sender, receiver).run()):
        for number in range(1, 13):
            await sender.happens(uuid4(), SECRET_TOPIC if number % 3 == 0 else "registered")
            await eventually(lambda number=number: _is_at(receiver, number))  # type: ignore[misc]
    assert await lost_end(receiver.pool) is None
