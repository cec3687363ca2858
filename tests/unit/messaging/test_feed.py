"""The feed marks the messages of erased guests (R19)."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID, uuid4

from shared.event_log import InMemoryEventLog, LogUnavailable, erasure_row
from shared.messaging.feed import LogFeed
from tests.support.messaging import SECRET_TOPIC, Sender, to_message


class CountingLog(InMemoryEventLog):
    """A log that counts the questions about erasures, and cannot answer the first `unavailable` of them."""

    def __init__(self, unavailable: int = 0) -> None:
        super().__init__()
        self.asked = 0
        self._unavailable = unavailable

    async def erased(self, subject_ids: Collection[UUID]) -> Collection[UUID]:
        self.asked += 1
        if self.asked <= self._unavailable:
            raise LogUnavailable("failing over")
        return await super().erased(subject_ids)


async def test_r19_the_feed_asks_once_for_a_page() -> None:
    log = CountingLog()
    sender, erased, other = Sender(log), uuid4(), uuid4()
    for guest in (erased, other, erased):
        await sender.happens(guest, "registered", SECRET_TOPIC)
    await log.append([], [erasure_row(erased)])
    log.asked = 0
    page = await LogFeed(log, to_message).after(0, limit=100, wait=0)
    assert [(each.subject, each.erased) for each in page.messages] == [
        (erased, True),
        (other, False),
        (erased, True),
    ]
    assert log.asked == 1
    assert [each.erased for each in await LogFeed(log, to_message).of_subject(erased, after_version=0)] == [
        True,
        True,
    ]
