"""The feed: the second way to a service's messages, in order, from committed events (ADR 0003)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

import httpx2
import orjson
import structlog

from shared.event_log import EventLog, RecordedEvent
from shared.messaging.envelope import LARGEST_NUMBER, Message
from shared.messaging.errors import FeedUnavailable, MalformedMessage
from shared.platform import limits
from shared.platform.http_client import HttpClient, up_to

log = structlog.get_logger(__name__)

ToMessage = Callable[[RecordedEvent], Message | None]
"""Turns a recorded event into its message; returns None for an event that is not published."""


def message_of(
    recorded: RecordedEvent, *, source: str, kind: str, data: Callable[[], dict[str, Any]]
) -> Message:
    """Return the message of a recorded event; `data` makes what is shared of the event.

    If that fails, the message is marked as unreadable: only its subject waits, until this service can read
    the event.
    """
    try:
        shared, unreadable = data(), False
    except Exception as error:
        log.error("message.without_data", position=recorded.position, error=type(error).__name__)
        shared, unreadable = {}, True
    return Message(
        id=recorded.event_id,
        source=source,
        type=kind,
        subject=recorded.stream_id,
        time=recorded.recorded_at,
        stream_version=recorded.stream_version,
        position=recorded.position,
        correlation_id=recorded.metadata.correlation_id,
        causation_id=recorded.metadata.causation_id,
        data=shared,
        unreadable=unreadable,
    )


def to_messages(recorded: Sequence[RecordedEvent], to_message: ToMessage) -> list[Message | None]:
    """Return the messages of these events; those of erased subjects are marked (R19)."""
    made = [(event, to_message(event)) for event in recorded]
    return [replace(message, erased=True) if message and event.erased else message for event, message in made]


"""Time limit of a response, on top of the seconds that the feed was asked to wait."""
LARGEST_REPLY = 16 * 1024 * 1024
"""In bytes. A message has some thousands at most, and a page 1,000 messages."""
BATCH = 100
LONGEST_SOURCE = 200


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item of the feed that is not a message of ours, and why. It is kept, and stops no other message."""

    body: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Messages in the order of the log. `position` is the last one read; the next page begins after it.

    `source` names the log, and `head` is the position of its last event: less than the `position` that was
    asked after, if the log lost its end (ADR 0033). None: the page does not say, as those of before.
    """

    messages: list[Message]
    position: int
    unreadable: tuple[Unreadable, ...] = ()
    source: str | None = None
    head: int | None = None


class Feed(Protocol):
    """The other service's messages. Both calls raise FeedUnavailable when the other service fails."""

    async def after(self, position: int, *, limit: int, wait: float) -> FeedPage:
        """Return at most `limit` events after `position`; if there is none, wait `wait` seconds for one."""
        ...

    async def of_subject(self, subject: UUID, *, after_version: int) -> list[Message]:
        """Return one subject's messages after a version, in order. Raises MalformedMessage."""
        ...


class LogFeed:
    """The feed of a service's own log, which its HTTP API serves. `source` names the log in messages."""

    def __init__(self, log: EventLog, to_message: ToMessage, *, source: str | None = None) -> None:
        self._log = log
        self._to_message = to_message
        self._source = source

    async def after(self, position: int, *, limit: int, wait: float) -> FeedPage:
        """See Feed. An empty page with a higher position means: there are events, but none is published."""
        recorded = await self._log.read(position, limit)
        if not recorded and wait > 0 and await self._log.wait_beyond(position, wait):
            recorded = await self._log.read(position, limit)
        head = recorded[-1].position if 0 < len(recorded) < limit else await self._log.position()
        messages = await self._messages(recorded)
        last = recorded[-1].position if recorded else position
        return FeedPage(messages, last, source=self._source, head=head)

    async def of_subject(self, subject: UUID, *, after_version: int) -> list[Message]:
        """See Feed. In both services a subject's id is the id of its stream."""
        return await self._messages(await self._log.stream(subject, after_version=after_version))

    async def _messages(self, recorded: list[RecordedEvent]) -> list[Message]:
        messages: list[Message] = []
        for start in range(0, len(recorded), BATCH):
            made = to_messages(recorded[start : start + BATCH], self._to_message)
            messages += [message for message in made if message is not None]
            await asyncio.sleep(0)  # a whole page takes long enough to delay a login
        return messages


class HttpFeed:
    """The other service's feed over HTTP. `token` returns the bearer token; it is called for each request."""

    def __init__(self, base_url: str, http: HttpClient, token: Callable[[], Awaitable[str]]) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http
        self._token = token

    async def after(self, position: int, *, limit: int, wait: float) -> FeedPage:
        """See Feed."""
        answer = await self._get("/v1/feed", {"after": position, "limit": limit, "wait": wait}, wait)
        messages: list[Message] = []
        unreadable: list[Unreadable] = []
        for item in answer["items"]:
            try:
                messages.append(Message.from_cloudevent(item))
            except MalformedMessage as error:
                unreadable.append(Unreadable(_as_body(item), str(error)))
        return FeedPage(
            messages, _position_after(position, answer), tuple(unreadable), _source(answer), _head(answer)
        )

    async def of_subject(self, subject: UUID, *, after_version: int) -> list[Message]:
        """See Feed."""
        answer = await self._get(f"/v1/feed/guests/{subject}", {"after_version": after_version}, 0)
        return [Message.from_cloudevent(item) for item in answer["items"]]

    async def _get(self, path: str, query: dict[str, int | float], wait: float) -> dict[str, Any]:
        try:
            response = await self._http.get(
                self._base_url + path,
                params=query,
                headers={"Authorization": f"Bearer {await self._token()}"},
                timeout=wait + limits.FEED,
                extensions=up_to(LARGEST_REPLY),
            )
            response.raise_for_status()
            return _page(orjson.loads(response.content))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, orjson.JSONDecodeError) as error:
            raise FeedUnavailable(f"{path}: {type(error).__name__}: {error}") from error


def _page(answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
        raise FeedUnavailable("the response is not a feed page")
    return answer


def _position_after(position: int, answer: dict[str, Any]) -> int:
    """Return the position of a page that was read after `position`. Raises FeedUnavailable without one."""
    found = answer.get("position")
    if isinstance(found, bool) or not isinstance(found, int) or not position <= found <= LARGEST_NUMBER:
        raise FeedUnavailable("the page has no position to go on from")
    return found


def _source(answer: dict[str, Any]) -> str | None:
    found = answer.get("source")
    return found if isinstance(found, str) and len(found) <= LONGEST_SOURCE and "\0" not in found else None


def _head(answer: dict[str, Any]) -> int | None:
    """Return where the log ends; None if the page does not say. Raises FeedUnavailable for nonsense."""
    found = answer.get("head")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= LARGEST_NUMBER:
        raise FeedUnavailable("the page says that the log ends where no log can end")
    return found


def _as_body(item: object) -> bytes:
    try:
        return orjson.dumps(item)
    except TypeError:  # nested too deeply to be written
        return b"not kept: nested too deeply"
