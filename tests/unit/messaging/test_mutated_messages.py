"""Whatever an authentic sender sends has one outcome, and nothing is half applied (I8, ADR 0003, ADR 0020).

8,000 mutated messages in each run, 250,000 in `make fuzz`. The real inboxes and use cases of both services,
in memory; `tests/integration/identity/test_fuzzed_messages.py` sends some over the broker, with views.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import uuid5

import pytest
from hypothesis import strategies as st

from identity.application.dependencies import AccountDetails
from registration.domain.login_link import ExistingAccount
from shared.messaging.envelope import TYPE_PREFIX, Message
from shared.messaging.errors import ForeignSource, MalformedMessage, NotAuthentic
from tests.support.both_in_memory import Side, both_in_memory
from tests.support.fuzzing import Change, changes, fuzz, mutated, volume
from tests.support.malformed_messages import ENVELOPE, GENUINE, OTHER, SOME_ID, VALUES, changed
from tests.support.registration import CARD, GRONINGEN, member

ACCOUNT = AccountDetails("acc-jan", "jan", "jan@example.org", GRONINGEN, CARD)
MESSAGES = [(sender, kind, data) for sender, sent in GENUINE.items() for kind, data in sent]
WORDS = (
    b'true false null [ ] { } " , : 0 -1 9223372036854775808 1e400 \x00 \xff \xed\xa0\x80 \\u0000 \\ud800 '
    b'"id": "source": "subject": "data": "erased":true, "unreadable":true, "streamversion":1,'
).split(b" ")
Wrong = tuple[int, Any]
wrong = st.lists(st.tuples(st.integers(0, 60), VALUES), min_size=1, max_size=3)
"""Which member of a message has which other value."""


async def no_pause(*_: Any) -> None:
    """Go on at once."""


@dataclass
class World:
    """Both services with one guest, who is linked, and what was written at each of them."""

    written: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.both = both_in_memory(no_pause, [ACCOUNT])
        self.sides = self.both.sides
        self.sent = 0

    async def begin(self) -> World:
        """Register and link the guest."""
        registration = self.both.registration
        registration.says(member(ends_on=date(2026, 12, 31)))
        self.guest = await registration.register(CARD, ExistingAccount("acc-jan"))
        for name in ("identity", "registration"):
            page = await self.sides[name].others_feed.after(0, limit=500, wait=0)
            for message in page.messages:
                await self.sides[name].worker.receive(message)
        assert self.sides["registration"].tables.versions(self.guest), "the answer did not come"
        return self

    def cloudevent(self, sender: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        """The next message of the guest, or for a beginning the first one of another guest."""
        self.sent += 1
        begins = kind in {"guest-registered.v1", "guest-imported.v1"}
        subject = uuid5(self.guest, str(self.sent)) if begins else self.guest
        known = self.sides[OTHER[sender]].tables.versions(subject)
        return {
            "specversion": "1.0",
            "id": str(uuid5(subject, f"{sender} {self.sent}")),
            "source": f"/{sender}/{self.sides[sender].log.log_id}",
            "type": TYPE_PREFIX + kind,
            "subject": str(subject),
            "time": "2025-09-11T12:00:00Z",
            "streamversion": max(known, default=0) + 1,
            "position": 1_000 + self.sent,
            "correlationid": str(uuid5(subject, "correlation")),
            "data": data,
        }

    async def arrives(self, sender: str, body: bytes, signed: bytes) -> str:
        """A delivery at the other service, with the signature of what was `signed`; its outcome."""
        side = self.sides[OTHER[sender]]
        before = _written(side)
        try:
            self.sides[sender].keys.verify(body, self.sides[sender].keys.sign(signed))
            message = Message.from_json(body)
            await side.worker.receive(message)
        except ForeignSource:
            assert _written(side) == before, "a message of another log was applied"
            return "rejected"
        except NotAuthentic:
            assert body != signed, "a genuine signature was refused"
            assert _written(side) == before, "a message that is not authentic was applied"
            return "rejected"
        except MalformedMessage:
            assert _written(side) == before, "a message that cannot be read was applied"
            return "unreadable"
        assert body == signed, "a message with the signature of another one was received"
        return await self._outcome(side, message, before)

    async def _outcome(self, side: Side, message: Message, before: tuple[int, ...]) -> str:
        after = _written(side)
        if after[1] == before[1]:
            assert after == before, "an effect without its inbox row"
        inbox, its_own = side.tables.inbox, (message.subject, message.stream_version, message.id)
        claimed = {row["event_id"] for row in inbox}
        caused = {event.metadata.causation_id for event in await side.log.read(before[0], 1_000)}
        assert caused <= claimed, "an effect without its inbox row"
        if any(held["event_id"] == message.id for held in side.tables.held_messages):
            applied = {(row["guest_id"], row["stream_version"], row["event_id"]) for row in inbox}
            assert its_own not in applied, "parked, and applied as well"
            side.tables.held_guests.clear()  # an operator skips it
            side.tables.held_messages.clear()
            return "parked"
        known = side.tables._says_the_same(
            message.subject, message.stream_version, message.id, message.content
        )
        assert known, "the message has no outcome"
        return "applied"


def _written(side: Side) -> tuple[int, ...]:
    """How many events and rows of all tables but those of parked messages there are."""
    rows = [len(table) for name, table in sorted(side.log._rows.items()) if name != "inbox"]
    return len(side.log._events), len(side.tables.inbox), *rows


def body_of(cloudevent: dict[str, Any], members: list[Wrong]) -> bytes:
    """As JSON, each of its chosen members with another value."""
    names = [*ENVELOPE, *(f"data.{name}" for name in (*cloudevent["data"], "extra"))]
    found = [(names[number % len(names)], value) for number, value in members]
    return json.dumps(changed(cloudevent, found)).encode()


async def all_have_one_outcome(
    mutations: list[Change], members: list[Wrong], step: int, outcomes: dict[str, int]
) -> None:
    """Each genuine message with other bytes, signed before and after, and with other members."""
    world = await World().begin()
    first = step % len(MESSAGES)
    for number, (sender, kind, data) in enumerate([*MESSAGES[first:], *MESSAGES[:first]]):
        genuine = json.dumps(world.cloudevent(sender, kind, data)).encode()
        tampered = mutated(genuine, mutations, number * step)
        other_members = body_of(world.cloudevent(sender, kind, data), members)
        for body, signed in ((tampered, genuine), (tampered, tampered), (other_members, other_members)):
            outcome = await world.arrives(sender, body, signed)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1


@pytest.mark.timeout(3600)
def test_i8_a_mutated_message_has_one_outcome_and_nothing_is_half_applied() -> None:
    outcomes = dict[str, int]()

    def one_run(mutations: list[Change], members: list[Wrong], step: int) -> None:
        asyncio.run(all_have_one_outcome(mutations, members, step, outcomes))

    inputs, of_each = volume(8_000, 250_000), 3 * len(MESSAGES)
    strategies = changes(WORDS), wrong, st.integers(0, 300)
    fuzz("CloudEvents", one_run, *strategies, inputs=inputs, of_each=of_each)
    assert min(outcomes[each] for each in ("applied", "parked", "rejected", "unreadable")) > inputs // 200


def test_i8_an_id_that_a_message_of_another_guest_had_is_no_repetition() -> None:
    outcomes = dict[str, int]()
    same_id = [(ENVELOPE.index("id"), SOME_ID), (ENVELOPE.index("erased"), True)]
    asyncio.run(all_have_one_outcome([], same_id, 0, outcomes))
    assert outcomes.keys() >= {"applied", "parked"}
