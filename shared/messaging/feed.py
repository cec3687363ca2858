"""The feed: the second way to a service's messages, in order, from what was committed (contract.md, HTTP)."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

import httpx
import orjson

from shared.event_log import EventLog, RecordedEvent
from shared.messaging.envelope import Message
from shared.messaging.errors import FeedUnavailable, MalformedMessage

ToMessage = Callable[[RecordedEvent], Message | None]
"""How a service publishes one of its recorded events; None for what stays inside (another stream's event)."""


async def to_messages(
    recorded: Sequence[RecordedEvent], to_message: ToMessage, log: EventLog
) -> list[Message | None]:
    """These events as messages; those of erased guests say so (R19), after one question for all of them."""
    erased = await log.erased({event.stream_id for event in recorded})
    made = map(to_message, recorded)
    return [replace(each, erased=True) if each and each.subject in erased else each for each in made]


# On top of the seconds that the feed was asked to wait: the time in which an answer must come.
ANSWER_WITHIN = 10.0
AT_A_TIME = 100


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item of the feed that is no message of ours, with the reason; it must be seen, and stop no other."""

    item: object
    reason: str


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Messages in the order of the log. `position` is the last one looked at; the next page is beyond it."""

    messages: list[Message]
    position: int
    unreadable: tuple[Unreadable, ...] = ()


class Feed(Protocol):
    """The other service's messages. Both calls raise FeedUnavailable when it cannot be asked."""

    async def after(self, position: int, *, limit: int, wait: float) -> FeedPage:
        """What is beyond `position`, at most `limit` events; with none, waits `wait` seconds for one."""
        ...

    async def of_guest(self, guest_id: UUID, *, after_version: int) -> list[Message]:
        """All of one guest's messages beyond a version, in order. Raises MalformedMessage."""
        ...


class LogFeed:
    """The feed of a service's own log: what its HTTP API serves, and a feed for tests in one process."""

    def __init__(self, log: EventLog, to_message: ToMessage) -> None:
        self._log = log
        self._to_message = to_message

    async def after(self, position: int, *, limit: int, wait: float) -> FeedPage:
        """See Feed. An empty page with a higher position means: events, but none that are published."""
        recorded = await self._log.read(position, limit)
        if not recorded and wait > 0 and await self._log.wait_beyond(position, wait):
            recorded = await self._log.read(position, limit)
        return FeedPage(await self._messages(recorded), recorded[-1].position if recorded else position)

    async def of_guest(self, guest_id: UUID, *, after_version: int) -> list[Message]:
        """See Feed. The stream of the guest carries the guest's own id, in both services."""
        return await self._messages(await self._log.stream(guest_id, after_version=after_version))

    async def _messages(self, recorded: list[RecordedEvent]) -> list[Message]:
        messages: list[Message] = []
        for start in range(0, len(recorded), AT_A_TIME):
            made = await to_messages(recorded[start : start + AT_A_TIME], self._to_message, self._log)
            messages += [message for message in made if message is not None]
            await asyncio.sleep(0)  # a whole page takes long enough to make a login wait
        return messages


class HttpFeed:
    """The other service's feed over HTTP. `token` gives the bearer token at each call: it may be renewed."""

    def __init__(self, base_url: str, http: httpx.AsyncClient, token: Callable[[], str]) -> None:
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
                unreadable.append(Unreadable(item, str(error)))
        return FeedPage(messages, answer["position"], tuple(unreadable))

    async def of_guest(self, guest_id: UUID, *, after_version: int) -> list[Message]:
        """See Feed."""
        answer = await self._get(f"/v1/feed/guests/{guest_id}", {"after_version": after_version}, 0)
        return [Message.from_cloudevent(item) for item in answer["items"]]

    async def _get(self, path: str, query: dict[str, int | float], wait: float) -> dict[str, Any]:
        try:
            response = await self._http.get(
                self._base_url + path,
                params=query,
                headers={"Authorization": f"Bearer {self._token()}"},
                timeout=wait + ANSWER_WITHIN,
            )
            response.raise_for_status()
            return _page(orjson.loads(response.content))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, orjson.JSONDecodeError) as error:
            raise FeedUnavailable(f"{path}: {type(error).__name__}: {error}") from error


def _page(answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
        raise FeedUnavailable("the answer is no feed page")
    if not isinstance(answer.get("position", 0), int):
        raise FeedUnavailable("the page has no position")
    return answer
