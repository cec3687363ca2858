"""The feed over HTTP: in order, long-polling, ending when the client goes or the server stops."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, HTTPException, Request

from shared.messaging.errors import FeedUnavailable, MalformedMessage
from shared.messaging.feed import HttpFeed, LogFeed
from shared.platform.http_client import HttpClient
from shared.web.feed_api import FEED, add_feed
from tests.support.eventually import eventually
from tests.support.messaging import SECRET_TOPIC, Sender, to_message
from tests.support.tokens import held_token

TOKEN = "a-token-of-the-feed-scope"


async def requires_feed(request: Request) -> None:
    """In place of the services' check of the scope."""
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        raise HTTPException(401)


@asynccontextmanager
async def serving(sender: Sender, stopping: asyncio.Event) -> AsyncIterator[str]:
    """The feed of a sender behind a real HTTP server; its address."""
    app = FastAPI()
    add_feed(app, LogFeed(sender.log, to_message), stopping, problems={})
    app.dependency_overrides[FEED] = requires_feed
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
def stopping() -> asyncio.Event:
    """Set when the server has to stop."""
    return asyncio.Event()


@pytest.fixture
async def address(sender: Sender, stopping: asyncio.Event) -> AsyncIterator[str]:
    """Where the sender's feed is served."""
    async with serving(sender, stopping) as address:
        yield address


@pytest.fixture
async def feed(address: str) -> AsyncIterator[HttpFeed]:
    """The client of that feed."""
    async with HttpClient() as http:
        yield HttpFeed(address + "/", http, held_token(TOKEN))


async def test_pages_come_in_order_and_end_where_the_log_ends(sender: Sender, feed: HttpFeed) -> None:
    first, second = uuid4(), uuid4()
    messages = [
        *await sender.happens(first, "registered", "expired"),
        *await sender.happens(second, "registered"),
    ]
    page = await feed.after(0, limit=2, wait=0)
    assert (page.messages, page.position) == (messages[:2], 2)
    rest = await feed.after(page.position, limit=2, wait=0)
    assert (rest.messages, rest.position) == (messages[2:], 3)
    assert await feed.after(3, limit=2, wait=0) == await feed.after(3, limit=9, wait=0)
    assert (await feed.after(3, limit=2, wait=0)).position == 3


async def test_what_is_not_published_moves_the_position_only(sender: Sender, feed: HttpFeed) -> None:
    await sender.happens(uuid4(), SECRET_TOPIC, SECRET_TOPIC)
    page = await feed.after(0, limit=100, wait=5)
    assert (page.messages, page.position) == ([], 2)


async def test_one_guest_after_a_version(sender: Sender, feed: HttpFeed) -> None:
    guest = uuid4()
    messages = await sender.happens(guest, "registered", "expired", "reregistered")
    await sender.happens(uuid4(), "registered")
    assert await feed.of_subject(guest, after_version=1) == messages[1:]
    assert await feed.of_subject(uuid4(), after_version=0) == []


async def test_a_long_poll_wakes_at_once(sender: Sender, feed: HttpFeed) -> None:
    asking = asyncio.create_task(feed.after(0, limit=100, wait=20))
    await asyncio.sleep(0.2)
    assert not asking.done()
    began = time.monotonic()
    (message,) = await sender.happens(uuid4(), "registered")
    assert (await asking).messages == [message]
    assert time.monotonic() - began < 1


async def test_a_long_poll_ends_after_its_wait(feed: HttpFeed) -> None:
    began = time.monotonic()
    assert (await feed.after(0, limit=100, wait=0.3)).messages == []
    assert 0.25 < time.monotonic() - began < 3


async def test_a_long_poll_ends_when_the_server_stops(feed: HttpFeed, stopping: asyncio.Event) -> None:
    asking = asyncio.create_task(feed.after(0, limit=100, wait=20))
    await asyncio.sleep(0.2)
    stopping.set()
    page = await asyncio.wait_for(asking, 2)
    assert (page.messages, page.position) == ([], 0)


async def test_a_long_poll_ends_when_the_client_goes(
    sender: Sender, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    polling: set[int] = set()
    wait_beyond = sender.log.wait_beyond

    async def watched(position: int, timeout: float) -> bool:
        polling.add(1)
        try:
            return await wait_beyond(position, timeout)
        finally:
            polling.clear()

    monkeypatch.setattr(sender.log, "wait_beyond", watched)
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=0.3) as http:
        with suppress(httpx2.TimeoutException):
            await http.get(f"{address}/v1/feed?wait=20")
    await eventually(lambda: not polling, within=2)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "wait=31", "wait=-1", "after=-1", "after=x"])
async def test_questions_beyond_the_limits_are_refused(address: str, query: str) -> None:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        assert (await http.get(f"{address}/v1/feed?{query}")).status_code == 422


async def test_without_the_scope_nothing_is_shown(address: str) -> None:
    async with HttpClient() as http:
        for path in ("/v1/feed", f"/v1/feed/guests/{uuid4()}"):
            assert (await http.get(address + path)).status_code == 401
        with pytest.raises(FeedUnavailable):
            await HttpFeed(address, http, held_token("wrong")).after(0, limit=1, wait=0)


async def test_a_feed_that_is_away_is_unavailable() -> None:
    async with HttpClient() as http:
        feed = HttpFeed("http://127.0.0.1:1", http, held_token(TOKEN))
        with pytest.raises(FeedUnavailable):
            await feed.after(0, limit=1, wait=0)
        with pytest.raises(FeedUnavailable):
            await feed.of_subject(uuid4(), after_version=0)


def _answering(body: object, status: int = 200) -> HttpClient:
    return HttpClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(status, json=body)))


@pytest.mark.parametrize(
    "body",
    [
        *(
            [],
            {},
            {"items": 3},
            {"items": []},
            {"items": [], "position": "x"},
            {"items": [], "position": True},
        ),
        *({"items": [], "position": position} for position in (-1, 4, 2**63)),
    ],
)
async def test_what_is_no_feed_page_is_unavailable(body: object) -> None:
    async with _answering(body) as http:
        with pytest.raises(FeedUnavailable):
            await HttpFeed("http://feed", http, held_token(TOKEN)).after(5, limit=1, wait=0)


async def test_an_unreadable_item_is_reported_and_stops_no_other(sender: Sender) -> None:
    (message,) = await sender.happens(uuid4(), "registered")
    async with _answering({"items": [{"specversion": "9"}, message.to_cloudevent()], "position": 2}) as http:
        feed = HttpFeed("http://feed", http, held_token(TOKEN))
        page = await feed.after(0, limit=5, wait=0)
        assert (page.messages, page.position, page.unreadable[0].body) == (
            [message],
            2,
            b'{"specversion":"9"}',
        )
        with pytest.raises(MalformedMessage):
            await feed.of_subject(uuid4(), after_version=0)
