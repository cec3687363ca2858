"""The inbox tables in memory do what PostgreSQL does: the interleavings of docs/barrier.md run on them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.event_log import InMemoryEventLog
from shared.messaging.envelope import Message
from shared.messaging.errors import CannotApply, ForeignSource
from tests.support.in_memory_inbox import INBOX_KEY, InMemoryInboxTables
from tests.support.messaging import SOURCE, Receiver, Sender, receiving

TYPES = ("registered", "expired", "reregistered")
guests, versions = st.integers(0, 1), st.integers(0, 2)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["receive", "receive", "another_id", "foreign"]), guests, versions),
        st.tuples(st.just("apply_now"), guests, versions),
        st.tuples(st.sampled_from(["unplug", "plug_in", "retry"]), st.just(0), st.just(0)),
        st.tuples(st.just("refuse"), st.just(0), versions),
        st.tuples(st.just("accept"), st.just(0), st.just(0)),
    ),
    max_size=12,
)


async def nothing() -> None:
    """Pause for nobody."""


def in_memory(sender: Sender) -> Receiver:
    log = InMemoryEventLog(INBOX_KEY)
    tables: Any = InMemoryInboxTables(log, nothing)
    return Receiver(tables, log, sender)


async def take(receiver: Receiver, step: tuple[str, int, int], messages: Sequence[Sequence[Message]]) -> str:
    """Take one step; returns what it raised."""
    what, guest, version = step
    message = messages[guest][version]
    try:
        match what:
            case "receive":
                await receiver.inbox.receive(message)
            case "another_id":
                await receiver.inbox.receive(replace(message, id=UUID(int=version + 1), type="otherwise"))
            case "foreign":
                await receiver.inbox.receive(replace(message, source="/registration/another"))
            case "apply_now":
                await receiver.inbox.apply_now(message.subject, messages[guest][: version + 1])
            case "retry":
                if not isinstance(receiver.pool, InMemoryInboxTables):
                    await receiver.pool.execute("UPDATE held_guests SET next_try = clock_timestamp()")
                await receiver.inbox.retry_waiting()
            case "refuse":
                receiver.refuses[TYPES[version]] = ValueError("refused")
            case "accept":
                receiver.refuses.clear()
            case _:
                receiver.sender.unplugged = what == "unplug"
    except (CannotApply, ForeignSource) as error:
        return f"{type(error).__name__} {error}"
    return ""


async def seen(receiver: Receiver, of: Sequence[UUID]) -> tuple[set[Any], set[Any], set[Any]]:
    """The rows of these guests: of the inbox, of parked guests, of parked messages."""
    pool: Any = receiver.pool
    if isinstance(pool, InMemoryInboxTables):
        inbox, held = (
            pool.inbox,
            [{"guest_id": key, "state": pool.held_guests[key]} for key in pool.held_guests],
        )
        messages: Any = pool.held_messages
    else:
        inbox = await pool.fetch("SELECT * FROM inbox")
        held = await pool.fetch("SELECT guest_id, state FROM held_guests")
        messages = await pool.fetch("SELECT * FROM held_messages")
    return (
        {(r["guest_id"], r["stream_version"], r["event_id"]) for r in inbox if r["guest_id"] in of},
        {(r["guest_id"], r["state"]) for r in held if r["guest_id"] in of},
        {(r["guest_id"], r["stream_version"], r["event_id"]) for r in messages if r["guest_id"] in of},
    )


@given(steps=steps)
@example(steps=[("receive", 0, 0), ("another_id", 0, 0)])  # the other log lost its end: `note_replaced`
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_i8_the_tables_in_memory_do_what_postgresql_does(
    database: str, steps: list[tuple[str, int, int]]
) -> None:
    async def compare() -> None:
        sender = Sender()
        ids = [uuid4(), uuid4()]
        messages = [await sender.happens(guest, *TYPES) for guest in ids]
        async with receiving(database, sender) as real:
            pretended = in_memory(sender)
            await pretended.pool.execute(_FOLLOW, "registration", SOURCE)
            await real.pool.execute(_FOLLOW, "registration", SOURCE)
            for step in steps:
                assert await take(real, step, messages) == await take(pretended, step, messages)
                assert await seen(real, ids) == await seen(pretended, ids)
            await real.pool.execute("DELETE FROM held_messages")
            await real.pool.execute("DELETE FROM held_guests")

    asyncio.run(compare())


_FOLLOW = "INSERT INTO message_sources (service, source) VALUES ($1, $2) ON CONFLICT DO NOTHING"
