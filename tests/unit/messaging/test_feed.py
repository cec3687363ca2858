"""The feed: marks for erased guests (R19), and what its client makes of a page that is wrong."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx2
import orjson
import pytest

from shared.event_log import InMemoryEventLog, erasure_row
from shared.messaging.errors import FeedUnavailable
from shared.messaging.feed import FeedPage, HttpFeed, LogFeed
from shared.platform.http_client import HttpClient
from tests.support.messaging import SECRET_TOPIC, Sender, to_message


async def test_r19_the_feed_marks_what_is_about_an_erased_guest() -> None:
    log = InMemoryEventLog()
    sender, erased, other = Sender(log), uuid4(), uuid4()
    for guest in (erased, other, erased):
        await sender.happens(guest, "registered", SECRET_TOPIC)
    await log.append([], [erasure_row(erased)])
    page = await LogFeed(log, to_message).after(0, limit=100, wait=0)
    assert [(each.subject, each.erased) for each in page.messages] == [
        (erased, True),
        (other, False),
        (erased, True),
    ]
    assert [each.erased for each in await LogFeed(log, to_message).of_subject(erased, after_version=0)] == [
        True,
        True,
    ]


async def page_of(body: bytes, after: int = 3) -> FeedPage:
    """What the client makes of this response."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=body))
    async with HttpClient(transport=transport) as http:
        return await HttpFeed("http://other", http, lambda: "token").after(after, limit=10, wait=0)


@pytest.mark.parametrize("position", [None, True, "7", 2, -1, 2**63, 7.0])
async def test_a_page_without_a_position_to_go_on_from_is_no_page(position: Any) -> None:
    with pytest.raises(FeedUnavailable):
        await page_of(orjson.dumps({"items": [], "position": position}))
    with pytest.raises(FeedUnavailable):
        await page_of(b'{"items": []}')


@pytest.mark.parametrize("levels", [60, 300, 1000])
async def test_an_item_that_is_nested_too_deeply_is_kept_as_unreadable(levels: int) -> None:
    item = b'{"a":' * levels + b"1" + b"}" * levels
    page = await page_of(b'{"items": [' + item + b'], "position": 7}')
    assert (page.messages, page.position) == ([], 7)
    (unreadable,) = page.unreadable
    assert unreadable.body
    assert "nested" in unreadable.reason
