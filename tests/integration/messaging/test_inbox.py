"""Every event of a guest has its effect once, in order, whatever the way in which it comes (I8)."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.event_log import LogUnavailable, erasure_row
from shared.messaging.envelope import Message
from shared.messaging.errors import CannotApply, FeedUnavailable, NotParked
from shared.messaging.inbox import unreadable_messages
from shared.messaging.parked import ParkedSubject, State
from tests.support.eventually import eventually
from tests.support.messaging import Receiver, Sender, receiving, running

TYPES = ("registered", "expired", "reregistered", "confirmed", "suspended")


async def test_i8_in_order_each_has_its_effect(sender: Sender, receiver: Receiver) -> None:
    guest = uuid4()
    for message in await sender.happens(guest, *TYPES):
        await receiver.inbox.receive(message)
    assert await receiver.effects(guest) == [1, 2, 3, 4, 5]
    assert sender.asked == 0


async def test_i8_twice_has_one_effect(sender: Sender, receiver: Receiver) -> None:
    guest = uuid4()
    (message,) = await sender.happens(guest, "registered")
    await receiver.inbox.receive(message)
    await receiver.inbox.receive(message)
    assert await receiver.effects(guest) == [1]
    assert receiver.calls == 1


async def test_i8_a_gap_is_filled_from_the_feed_of_that_guest(sender: Sender, receiver: Receiver) -> None:
    guest = uuid4()
    messages = await sender.happens(guest, *TYPES)
    await receiver.inbox.receive(messages[4])
    assert await receiver.effects(guest) == [1, 2, 3, 4, 5]
    for message in reversed(messages):
        await receiver.inbox.receive(message)
    assert await receiver.effects(guest) == [1, 2, 3, 4, 5]
    assert sender.asked == 1


deliveries = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=25)


@given(deliveries=deliveries, at_once=st.booleans(), processes=st.integers(1, 3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_i8_any_deliveries_give_each_effect_once_in_order(
    database: str, deliveries: list[tuple[int, int]], at_once: bool, processes: int
) -> None:
    """Any order, duplicates, some missing; one after another or all at once, in several processes."""

    async def deliver() -> None:
        sender = Sender()
        async with receiving(database, sender) as receiver:
            receivers = [receiver, *(receiver.another_process() for _ in range(processes - 1))]
            guests = [uuid4() for _ in range(4)]
            messages = [await sender.happens(guest, *TYPES) for guest in guests]
            calls = [
                receivers[number % processes].inbox.receive(messages[guest][version])
                for number, (guest, version) in enumerate(deliveries)
            ]
            if at_once:
                await asyncio.gather(*calls)
            else:
                for call in calls:
                    await call
            for number, guest in enumerate(guests):
                highest = max((version + 1 for who, version in deliveries if who == number), default=0)
                effects = await receiver.effects(guest)
                assert effects == list(range(1, len(effects) + 1))
                assert len(effects) >= highest
            assert await receiver.inbox.parked.overview() == []

    asyncio.run(deliver())


async def test_i8_a_gap_that_cannot_be_asked_about_waits_and_is_retried_by_itself(
    sender: Sender, receiver: Receiver
) -> None:
    guest = uuid4()
    messages = await sender.happens(guest, *TYPES)
    sender.unplugged = True
    await receiver.inbox.receive(messages[1])
    await receiver.inbox.receive(messages[3])
    assert await receiver.effects(guest) == []
    parked = await receiver.inbox.parked.show(guest)
    assert (parked.state, parked.messages, "FeedUnavailable" in parked.reason) == (State.WAITING, 2, True)
    async with running(receiver.inbox.keep_retrying()):
        sender.unplugged = False
        await eventually(lambda: receiver.all_processed([guest], 4))
        await eventually(lambda: _nobody_is_parked(receiver))
    await receiver.inbox.receive(messages[4])
    assert await receiver.effects(guest) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("error", [FeedUnavailable("directory"), LogUnavailable(), ConnectionResetError()])
async def test_i8_what_is_unavailable_makes_the_guest_wait_and_nobody_else(
    sender: Sender, receiver: Receiver, error: Exception
) -> None:
    guest, other = uuid4(), uuid4()
    receiver.refuses["expired"] = error
    for message in await sender.happens(guest, "registered", "expired", "reregistered"):
        await receiver.inbox.receive(message)
    for message in await sender.happens(other, "registered", "suspended"):
        await receiver.inbox.receive(message)
    assert await receiver.effects(guest) == [1]
    assert await receiver.effects(other) == [1, 2]
    assert (await receiver.inbox.parked.show(guest)).state is State.WAITING
    with pytest.raises(NotParked):
        await receiver.inbox.discard(guest, reason="impatience", by="operator")
    receiver.refuses.clear()
    await eventually(receiver.inbox.retry_waiting)
    assert await receiver.effects(guest) == [1, 2, 3]


async def test_i8_waiting_is_tried_again_later_and_later(sender: Sender, receiver: Receiver) -> None:
    guest = uuid4()
    receiver.refuses["registered"] = FeedUnavailable()
    await receiver.inbox.receive((await sender.happens(guest, "registered"))[0])
    first = await receiver.inbox.parked.show(guest)
    await eventually(lambda: _attempts(receiver, 2))
    second = await receiver.inbox.parked.show(guest)
    assert second.since == first.since
    assert second.next_try > first.next_try
    assert await receiver.inbox.retry_waiting() == 0


async def test_i8_what_cannot_be_handled_parks_that_guest_only(sender: Sender, receiver: Receiver) -> None:
    guest, other = uuid4(), uuid4()
    receiver.refuses["expired"] = ValueError("cannot be")
    messages = await sender.happens(guest, "registered", "expired", "reregistered")
    others = await sender.happens(other, "registered")
    for message in [*messages, *others]:
        await receiver.inbox.receive(message)
    assert await receiver.effects(guest) == [1]
    assert await receiver.effects(other) == [1]
    parked = await receiver.inbox.parked.show(guest)
    assert (parked.state, parked.reason, parked.messages) == (State.PARKED, "ValueError: cannot be", 2)
    assert await receiver.inbox.retry_waiting() == 0


async def test_i8_parked_is_checked_before_the_version(sender: Sender, receiver: Receiver) -> None:
    """Otherwise each next message would fetch the failed one from the feed, and try it again."""
    guest = uuid4()
    receiver.refuses["expired"] = ValueError("cannot be")
    for message in await sender.happens(guest, "registered", "expired"):
        await receiver.inbox.receive(message)
    receiver.refuses.clear()
    await receiver.inbox.receive((await sender.happens(guest, "reregistered"))[0])
    assert await receiver.effects(guest) == [1]
    assert sender.asked == 0


async def test_i8_an_operator_retries_and_all_come_in_order(sender: Sender, receiver: Receiver) -> None:
    guest = uuid4()
    receiver.refuses["expired"] = ValueError("cannot be")
    for message in reversed(await sender.happens(guest, "registered", "expired", "reregistered")):
        await receiver.inbox.receive(message)
    assert not await receiver.inbox.retry_parked(guest)
    assert (await receiver.inbox.parked.show(guest)).attempts == 2
    receiver.refuses.clear()
    assert await receiver.inbox.retry_parked(guest)
    assert await receiver.effects(guest) == [1, 2, 3]
    with pytest.raises(NotParked):
        await receiver.inbox.retry_parked(guest)


async def test_i8_an_operator_discards_and_the_inbox_moves_past(sender: Sender, receiver: Receiver) -> None:
    guest = uuid4()
    receiver.refuses["expired"] = ValueError("cannot be")
    messages = await sender.happens(guest, "registered", "expired", "reregistered")
    for message in messages:
        await receiver.inbox.receive(message)
    assert await receiver.inbox.discard(guest, reason="nonsense", by="operator-anna")
    assert await receiver.effects(guest) == [1, 3]
    await receiver.inbox.receive(messages[1])
    assert await receiver.effects(guest) == [1, 3]
    row = await receiver.pool.fetchrow("SELECT * FROM discarded_messages")
    assert row is not None
    assert (row["event_id"], row["reason"], row["discarded_by"]) == (
        messages[1].id,
        "nonsense",
        "operator-anna",
    )
    with pytest.raises(NotParked):
        await receiver.inbox.discard(guest, reason="again", by="operator-anna")


async def test_i8_a_known_version_that_says_something_else_is_diverged(
    sender: Sender, receiver: Receiver
) -> None:
    guest = uuid4()
    messages = await sender.happens(guest, "registered", "expired")
    for message in messages:
        await receiver.inbox.receive(message)
    await receiver.inbox.receive(replace(messages[0], id=uuid4(), data={"another": "history"}))
    parked = await receiver.inbox.parked.show(guest)
    assert parked.state is State.DIVERGED
    await receiver.inbox.receive((await sender.happens(guest, "reregistered"))[0])
    assert not await receiver.inbox.retry_parked(guest)
    assert await receiver.effects(guest) == [1, 2]
    assert await receiver.inbox.discard(guest, reason="an old backup", by="operator")
    assert await receiver.effects(guest) == [1, 2, 3]


async def test_i8_a_service_that_was_restored_may_say_the_same_again(
    sender: Sender, receiver: Receiver
) -> None:
    """It decides again what it decided before its backup ended: the same content, under other ids."""
    guest = uuid4()
    messages = await sender.happens(guest, "registered", "expired")
    await receiver.inbox.receive(messages[0])
    again = [replace(message, id=uuid4()) for message in messages]
    assert await receiver.inbox.unknown(again) == [again[1]]
    for message in (*again, *messages):
        await receiver.inbox.receive(message)
    assert await receiver.effects(guest) == [1, 2]
    assert await receiver.inbox.parked.overview() == []


async def test_r19_an_erasure_deletes_what_was_said(sender: Sender, receiver: Receiver) -> None:
    erased, other = uuid4(), uuid4()
    for guest in (erased, other):
        await receiver.inbox.receive((await sender.happens(guest, "registered"))[0])
    await receiver.log.append([], [erasure_row(erased)])
    kept = await receiver.pool.fetch("SELECT guest_id FROM inbox WHERE content IS NOT NULL")
    assert [row["guest_id"] for row in kept] == [other]


async def test_i8_a_message_that_the_feed_has_otherwise_is_diverged(
    sender: Sender, receiver: Receiver
) -> None:
    guest = uuid4()
    messages = await sender.happens(guest, "registered", "expired")
    await receiver.inbox.receive(replace(messages[1], id=uuid4(), data={"another": "history"}))
    assert (await receiver.inbox.parked.show(guest)).state is State.DIVERGED
    assert await receiver.inbox.discard(guest, reason="forged", by="operator")
    for message in messages:
        await receiver.inbox.receive(message)
    assert await receiver.effects(guest) == [1, 2]


async def test_i8_a_version_that_the_feed_does_not_know_parks(sender: Sender, receiver: Receiver) -> None:
    guest = uuid4()
    (message,) = await sender.happens(guest, "registered")
    await receiver.inbox.receive(replace(message, stream_version=3, id=uuid4()))
    parked = await receiver.inbox.parked.show(guest)
    assert (parked.state, parked.reason.partition(":")[0]) == (State.PARKED, "MissingVersion")
    assert await receiver.inbox.discard(guest, reason="lost", by="operator")
    await receiver.inbox.receive(message)
    assert await receiver.effects(guest) == []
    assert await receiver.inbox.parked.overview() == []


async def test_i8_whatever_an_error_says_its_guest_is_parked(sender: Sender, receiver: Receiver) -> None:
    """PostgreSQL stores no U+0000, and what is stored is shown on an operator's terminal."""
    guest = uuid4()
    receiver.refuses["registered"] = ValueError("a\0b \x1b[2J\u202e \ud800" + "x" * 100_000)
    await receiver.inbox.receive((await sender.happens(guest, "registered"))[0])
    parked = await receiver.inbox.parked.show(guest)
    assert parked.reason.startswith(r"ValueError: a\x00b \x1b[2J\u202e \ud800xxx")
    assert len(parked.reason) < 1000


async def test_i8_a_waiting_guest_that_fails_unforeseen_is_parked_and_holds_no_other_up(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, well = uuid4(), uuid4()
    receiver.refuses["registered"] = FeedUnavailable("directory")
    for guest in (poisoned, well):
        await receiver.inbox.receive((await sender.happens(guest, "registered"))[0])
    receiver.refuses.clear()
    unpark = receiver.inbox.parked.unpark

    async def fails_for_one(subject: UUID) -> bool:
        if subject == poisoned:
            raise OverflowError("value out of int64 range")
        return await unpark(subject)

    monkeypatch.setattr(receiver.inbox.parked, "unpark", fails_for_one)
    async with running(receiver.inbox.keep_retrying()):
        await eventually(lambda: receiver.all_processed([well], 1))
        (parked,) = await eventually(lambda: _only_parked(receiver))
    assert (parked.subject, parked.state) == (poisoned, State.PARKED)
    assert parked.reason == "OverflowError: value out of int64 range"


async def test_i8_what_cannot_even_be_parked_is_kept_for_an_operator(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_arguments: object) -> None:
        raise OverflowError("value out of int64 range")

    monkeypatch.setattr(receiver.inbox, "receive", fails)
    monkeypatch.setattr(receiver.inbox.parked, "park", fails)
    (message,) = await sender.happens(uuid4(), "registered")
    await receiver.inbox.receive_or_park(message)
    (kept,) = await unreadable_messages(receiver.pool)
    assert (kept.body, kept.reason) == (message.to_json(), "OverflowError: value out of int64 range")


async def test_i8_a_feed_that_returns_another_guests_messages_parks_the_guest_that_was_asked_about(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest, other = uuid4(), uuid4()
    messages = await sender.happens(guest, "registered", "expired")
    (wrong,) = await sender.happens(other, "registered")

    async def of_another(_subject: UUID, *, after_version: int) -> list[Message]:
        return [wrong, messages[1]]

    monkeypatch.setattr(sender, "of_subject", of_another)
    await receiver.inbox.receive(messages[1])
    parked = await receiver.inbox.parked.show(guest)
    assert (parked.state, parked.reason.partition(":")[0]) == (State.PARKED, "MalformedMessage")
    assert await receiver.effects(other) == []


async def test_i5_apply_now_is_the_same_code_and_one_effect(sender: Sender, receiver: Receiver) -> None:
    guest = uuid4()
    messages = await sender.happens(guest, *TYPES)
    await receiver.inbox.apply_now(guest, messages)
    await receiver.inbox.apply_now(guest, messages)
    for message in messages:
        await receiver.inbox.receive(message)
    assert await receiver.effects(guest) == [1, 2, 3, 4, 5]


async def test_i5_apply_now_beside_the_queue_in_other_processes(sender: Sender, receiver: Receiver) -> None:
    guest, second = uuid4(), receiver.another_process()
    messages = await sender.happens(guest, *TYPES)
    await asyncio.gather(
        second.inbox.apply_now(guest, messages),
        receiver.inbox.apply_now(guest, messages),
        *(receiver.inbox.receive(message) for message in messages),
        *(receiver.another_process().inbox.receive(message) for message in messages),
    )
    assert await receiver.effects(guest) == [1, 2, 3, 4, 5]
    assert await receiver.inbox.parked.overview() == []


async def test_i5_apply_now_tries_the_parked_again_and_success_unparks(
    sender: Sender, receiver: Receiver
) -> None:
    guest = uuid4()
    receiver.refuses["registered"] = ValueError("cannot be")
    messages = await sender.happens(guest, "registered", "expired")
    await receiver.inbox.receive(messages[0])
    with pytest.raises(CannotApply, match="cannot be"):
        await receiver.inbox.apply_now(guest, messages)
    assert (await receiver.inbox.parked.show(guest)).attempts == 1
    receiver.refuses.clear()
    await receiver.inbox.apply_now(guest, messages)
    assert await receiver.effects(guest) == [1, 2]
    assert await receiver.inbox.parked.overview() == []


async def test_i4_apply_now_never_parks(sender: Sender, receiver: Receiver) -> None:
    guest = uuid4()
    receiver.refuses["registered"] = ValueError("cannot be")
    with pytest.raises(CannotApply):
        await receiver.inbox.apply_now(guest, await sender.happens(guest, "registered"))
    assert await receiver.inbox.parked.overview() == []


async def test_nothing_is_lost_when_a_guest_is_unparked_while_a_message_joins_the_backlog(
    sender: Sender, receiver: Receiver
) -> None:
    guests = [uuid4() for _ in range(20)]
    receiver.refuses["registered"] = ValueError("cannot be")
    for guest in guests:
        await receiver.inbox.receive((await sender.happens(guest, "registered"))[0])
    receiver.refuses.clear()
    more = [await sender.happens(guest, *TYPES[1:]) for guest in guests]
    other = receiver.another_process()
    await asyncio.gather(
        *(receiver.inbox.retry_parked(guest) for guest in guests),
        *(other.inbox.receive(message) for messages in more for message in messages),
    )
    await receiver.all_processed(guests, 5)
    for guest in guests:
        assert await receiver.effects(guest) == [1, 2, 3, 4, 5]
    assert await receiver.inbox.parked.overview() == []


async def _nobody_is_parked(receiver: Receiver) -> bool:
    return not await receiver.inbox.parked.overview()


async def _only_parked(receiver: Receiver) -> list[ParkedSubject]:
    return [parked for parked in await receiver.inbox.parked.overview() if parked.state is State.PARKED]


async def _attempts(receiver: Receiver, count: int) -> bool:
    await receiver.inbox.retry_waiting()
    return any(parked.attempts == count for parked in await receiver.inbox.parked.overview())
