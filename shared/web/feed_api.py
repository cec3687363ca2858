"""The routes of a service's feed: its messages over HTTP, in order (ADR 0003)."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from shared.messaging.envelope import Message
from shared.messaging.feed import FeedPage, LogFeed
from shared.platform.admission import waiting_outside
from shared.web.openapi import Fields
from shared.web.problem_handlers import problem_responses
from shared.web.security import requires

LONGEST_WAIT = 30  # seconds
LARGEST_PAGE = 1000  # events
LARGEST_POSITION = 2**63 - 1  # the largest bigint of PostgreSQL
After = Annotated[
    int, Query(ge=0, le=LARGEST_POSITION, description="the last position that the caller has read")
]
Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for a first message")]


Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


LEFT_OUT = Field(default=None, json_schema_extra=_no_default)
"""Of a member that is left out where it has no value (CloudEvents 1.0): it is never null."""


class MessageJson(BaseModel):
    """A message (CloudEvents 1.0, structured JSON). What `data` holds, `asyncapi.yaml` says for each `type`.

    `streamversion` counts 1, 2, 3 … without gaps within a `subject`; `position` is the place in the log of
    `source`. `erased`: the personal data of the subject was destroyed. `unreadable`: `data` is empty, because
    the sender cannot read its own event now.
    """

    specversion: Literal["1.0"]
    id: Id
    source: str
    type: str
    subject: Id
    time: Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
    datacontenttype: Literal["application/json"]
    streamversion: int
    position: int
    correlationid: Id
    causationid: Id | SkipJsonSchema[None] = LEFT_OUT
    erased: bool | SkipJsonSchema[None] = LEFT_OUT
    unreadable: bool | SkipJsonSchema[None] = LEFT_OUT
    data: Fields


class FeedPageJson(BaseModel):
    """Messages in order. `position`: for `after` of the next request; also with no messages it may grow.

    `source` names the log, as in the messages, and `head` is the position of its last event: lower than one
    that was read before, if the log was restored to an older moment.
    """

    items: list[MessageJson]
    position: int
    source: str | None = None
    head: int | None = None


_PAGES: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {"model": FeedPageJson, "description": "A page of messages"},
        **problem_responses({}),
    },
}


def message_json(message: Message) -> MessageJson:
    """Return a message as the feed shows it; serialise it without what is not set."""
    return MessageJson.model_validate(message.to_cloudevent())


FEED = requires("feed")

router = APIRouter(prefix="/v1/feed", tags=["feed"], dependencies=[Depends(FEED)])


async def _feed(request: Request) -> LogFeed:
    feed: LogFeed = request.app.state.feed
    return feed


FeedDep = Annotated[LogFeed, Depends(_feed)]


@router.get("", operation_id="readFeed", summary="Messages in order, after a position", **_PAGES)
async def after(
    request: Request,
    feed: FeedDep,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 500,
    wait: Wait = 0,
) -> Response:
    if wait == 0:
        return _page_response(await feed.after(after, limit=limit, wait=0))
    page = feed.after(after, limit=limit, wait=wait)
    # `stopping` is set when the server has to stop: it does not wait for long polls.
    with waiting_outside():
        found = await _unless_ended(page, request, request.app.state.stopping)
    return _page_response(found or FeedPage([], after))


@router.get(
    "/guests/{guest_id}",
    operation_id="readGuestMessages",
    summary="One guest's messages, in order",
    **_PAGES,
)
async def of_guest(
    guest_id: UUID, feed: FeedDep, after_version: Annotated[int, Query(ge=0, le=LARGEST_POSITION)] = 0
) -> Response:
    messages = await feed.of_subject(guest_id, after_version=after_version)
    return _page_response(FeedPage(messages, messages[-1].position if messages else 0))


def add_feed(
    app: FastAPI, feed: LogFeed, stopping: asyncio.Event | None, problems: dict[int | str, dict[str, Any]]
) -> None:
    """Add the routes of the feed. `stopping`, when it is set, ends long polls. `problems`: more responses."""
    app.state.feed = feed
    app.state.stopping = stopping or asyncio.Event()
    app.include_router(router, responses=problems)


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
    # Not by way of FeedPageJson: a page has up to a thousand messages, which need no second check.
    ends = {"source": page.source, "head": page.head}
    body = {
        "items": [message.to_cloudevent() for message in page.messages],
        "position": page.position,
        **{name: value for name, value in ends.items() if value is not None},
    }
    return Response(orjson.dumps(body), media_type="application/json")
