"""Guests of registration who are held, as messages from identity that cannot be handled leave them."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg

from shared.messaging.envelope import Message
from shared.messaging.parked import ParkedSubjects, State

REASON = "ValueError: what an older release could not do"
# Registration passes over what it does not know, and cannot handle an answer to a question never asked.
HARMLESS, FAULTY = "guest-noted.v1", "login-account-linked.v1"


def from_identity(guest_id: UUID, version: int, kind: str) -> Message:
    """A message of identity about a guest."""
    return Message(
        id=uuid4(),
        source="/other/tests",
        type=kind,
        subject=guest_id,
        time=datetime(2025, 9, 11, 12, tzinfo=UTC),
        stream_version=version,
        position=version,
        correlation_id=uuid4(),
        causation_id=None,
        data={},
    )


async def hold(
    pool: asyncpg.Pool, kind: str, state: State = State.PARKED, guest_id: UUID | None = None
) -> UUID:
    """A guest whose first message is of this kind and in the way, with a harmless one in line.

    Without a `guest_id` it is one who was never registered, and so is held for ever.
    """
    guest_id = guest_id or uuid4()
    line = [from_identity(guest_id, 1, kind), from_identity(guest_id, 2, HARMLESS)]
    await ParkedSubjects(pool).park(state, REASON, line, line[0].id)
    return guest_id
