"""The routes of a service's feed: its messages over HTTP, in order (ADR 0003)."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from shared.messaging.envelope import Message
from shared.messaging.feed import FeedPage, LogFeed
from shared.platform.admission import waiting_outside

LONGEST_WAIT = 30  # seconds
LARGEST_PAGE = 1000  # events
LARGEST_POSITION = 2**63 - 1  # the largest bigint of PostgreSQL


def feed_router(
    feed: LogFeed, requires_feed_scope: Callable[..., Any], stopping: asyncio.Event | None = None
) -> APIRouter:
    """Return the two routes of the feed. `requires_feed_scope` is the dependency that refuses other callers.

    Set `stopping` when the server receives a stop signal. Long polls then end at once, so that the server
    does not wait for them.
    """
    router = APIRouter(prefix="/v1/feed", tags=["feed"], dependencies=[Depends(requires_feed_scope)])
    stop = stopping or asyncio.Event()

    @router.get("", summary="Messages in order, after a position", response_class=Response)
    async def after(
        request: Request,
        after: Annotated[
            int, Query(ge=0, le=LARGEST_POSITION, description="the last position that the caller has read")
        ] = 0,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 500,
        wait: Annotated[
            float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for a first message")
        ] = 0,
    ) -> Response:
        if wait == 0:
            return _page_response(await feed.after(after, limit=limit, wait=0))
        page = feed.after(after, limit=limit, wait=wait)
        with waiting_outside():
            found = await _unless_ended(page, request, stop)
        return _page_response(found or FeedPage([], after))

    @router.get("/guests/{guest_id}", summary="One guest's messages, in order", response_class=Response)
    async def of_guest(
        guest_id: UUID, after_version: Annotated[int, Query(ge=0, le=LARGEST_POSITION)] = 0
    ) -> Response:
        messages = await feed.of_subject(guest_id, after_version=after_version)
        return _page_response(FeedPage(messages, messages[-1].position if messages else 0))

    return router


async def _unless_ended(
    poll: Coroutine[Any, Any, FeedPage], request: Request, stop: asyncio.Event
) -> FeedPage | None:
    """Wait for the page; return None as soon as the client disconnects or the server stops."""
    page = asyncio.ensure_future(poll)
    ends = [asyncio.ensure_future(_until_disconnected(request)), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait([page, *ends], return_when=asyncio.FIRST_COMPLETED)
        return page.result() if page.done() else None
    finally:
        await _cancel(page, *ends)


async def _until_disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _page_response(page: FeedPage) -> Response:
    ends = {"source": page.source, "head": page.head}
    body = {
        "items": items(page.messages),
        "position": page.position,
        **{name: value for name, value in ends.items() if value is not None},
    }
    return Response(orjson.dumps(body), media_type="application/json")


def items(messages: list[Message]) -> list[dict[str, Any]]:
    """Return the messages in their JSON form, as the feed shows them."""
    return [message.to_cloudevent() for message in messages]
