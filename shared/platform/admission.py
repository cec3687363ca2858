"""Admission: so many requests work at a time; who comes beyond that waits shortly, or is refused at once."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic

from shared.platform import limits

MOST_AT_WORK = 16
"""The most requests at work in a process. More of them share one processor, so each only takes longer."""
MOST_INSIDE = 64
"""The same with those that wait for another side: a slow side must not gather what comes back later."""
BEGIN_AT_ONCE, BEGIN_PER_SECOND = 6, 50.0
"""So many may begin at once, then one more for each that is done, and some as time goes by. So of a burst no
more begin than can be done soon; a process that is busy all the time does not notice."""
MOST_WAITING = 32
FLOOD_SECONDS = 1.0
"""So long after a request was refused there is a flood: few work and few wait, so that what is let in is done
soon, and the others are refused at once, also those that waited when it began."""
AT_WORK_IN_A_FLOOD = 4
"""Of all places; the others are for clients that have nobody inside. Four keep the processor busy."""
INSIDE_IN_A_FLOOD = 2
"""The most requests of one client that are inside in a flood, with those that wait for another side."""
WAITING_IN_A_FLOOD = 1
"""The most requests of one client that wait in a flood."""
SHARE = 3
"""A client may be inside so many times as often as there is room left: alone it gets three quarters, two get
three sevenths each. So there is room for one that comes later, however long the others stay."""


class TooBusy(Exception):
    """There is more to do now than this service bears, and nothing was begun: try again in a moment."""


@dataclass
class Place:
    """The place of one request. It is free while the request waits for another side."""

    door: Door
    client: str
    held: bool = True
    outside: int = 0


_PLACE: ContextVar[Place | None] = ContextVar("place", default=None)


class Door:
    """The places of a process. The clients take turns, so one that floods waits behind itself.

    None has all places inside either: those of a client whose home library is slow stay taken for seconds.
    """

    def __init__(
        self,
        most_at_work: int = MOST_AT_WORK,
        most_waiting: int = MOST_WAITING,
        most_inside: int = MOST_INSIDE,
    ) -> None:
        self._most_at_work = most_at_work
        self._at_work = 0
        self._may_begin = float(BEGIN_AT_ONCE)
        self._known_at = monotonic()
        self._opening: asyncio.TimerHandle | None = None
        self._room = most_inside
        self._inside: Counter[str] = Counter()
        self._most_waiting = most_waiting
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._flood_until = 0.0

    @contextmanager
    def _noted(self, client: str) -> Iterator[asyncio.Future[None]]:
        """Let a client wait inside the block."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        try:
            yield turn
        finally:
            if (turns := self._waiting.get(client)) and turn in turns:
                turns.remove(turn)
            if not self._waiting.get(client, True):
                del self._waiting[client]

    async def enter(self, client: str) -> Place:
        """Return a place, after a short wait perhaps. Raises TooBusy."""
        if self._next([client]) is not None and self._next(self._waiting) is None:
            self._take(client)
        else:
            await self._wait(client)
        place = Place(self, client)
        _PLACE.set(place)
        return place

    def refuses(self, client: str) -> bool:
        """Return whether a request of this client would be refused now: there is a flood, and others wait."""
        if not self._is_flood or len(self._waiting.get(client, ())) < WAITING_IN_A_FLOOD:
            return False
        self._flood_until = monotonic() + FLOOD_SECONDS
        return True

    @property
    def _is_flood(self) -> bool:
        return monotonic() < self._flood_until

    @property
    def _patience(self) -> float:
        return limits.AT_THE_DOOR_IN_A_FLOOD if self._is_flood else limits.AT_THE_DOOR

    async def _wait(self, client: str) -> None:
        if self.refuses(client):
            raise TooBusy
        if self._is_full:
            if not self._is_flood:
                self._refuse_those_who_are_too_many(client)
            self._flood_until = monotonic() + FLOOD_SECONDS
        if self._is_full:
            self._make_room(client)
        with self._noted(client) as turn:
            self._open_later()
            try:
                async with asyncio.timeout(self._patience):
                    await turn
            except TimeoutError:
                if not _has_come(turn):
                    raise TooBusy from None
            except asyncio.CancelledError:
                if _has_come(turn):
                    self._give_back(client)
                    self._leave()
                raise

    @property
    def _is_full(self) -> bool:
        return sum(map(len, self._waiting.values())) >= self._most_waiting

    def _refuse_those_who_are_too_many(self, client: str) -> None:
        """Leave the newest of each client, as many as may wait in a flood; `client` is about to wait, too."""
        for name, turns in list(self._waiting.items()):
            for _ in range(len(turns) + (name == client) - WAITING_IN_A_FLOOD):
                self._refuse_oldest(name)

    def _make_room(self, client: str) -> None:
        """Refuse the oldest request of the client that has most of them, or of this one. Raises TooBusy."""
        most = max(self._waiting, key=lambda name: len(self._waiting[name]))
        waiting = len(self._waiting.get(client, ()))
        if len(self._waiting[most]) <= waiting + 1:
            most = client
        if most not in self._waiting:
            raise TooBusy
        self._refuse_oldest(most)

    def _refuse_oldest(self, client: str) -> None:
        turn = self._waiting[client].popleft()
        if not turn.done():  # else it gives up in this very moment
            turn.set_exception(TooBusy())

    def leave(self, place: Place) -> None:
        """Take a place back, unless that was done before."""
        if place.held:
            place.held = False
            self._give_back(place.client)
            self._leave(not place.outside)

    def _next(self, clients: Iterable[str]) -> str | None:
        """Return the first of these clients that may come in now."""
        if self._at_work >= self._most_at_work:
            return None
        is_flood = self._is_flood
        for_all = self._at_work < AT_WORK_IN_A_FLOOD if is_flood else self._may_begin_now() >= 1
        most = INSIDE_IN_A_FLOOD if is_flood else SHARE * self._room
        return next(
            (
                client
                for client in clients
                if self._inside[client] < most and (for_all or not self._inside[client])
            ),
            None,
        )

    def _may_begin_now(self) -> float:
        now = monotonic()
        more = (now - self._known_at) * BEGIN_PER_SECOND
        self._may_begin, self._known_at = min(self._may_begin + more, BEGIN_AT_ONCE), now
        return self._may_begin

    def _take(self, client: str) -> None:
        self._may_begin -= 1
        self._at_work += 1
        self._room -= 1
        self._inside[client] += 1

    def _give_back(self, client: str) -> None:
        self._may_begin += 1
        self._room += 1
        self._inside[client] -= 1
        if not self._inside[client]:
            del self._inside[client]

    def _leave(self, places: int = 1) -> None:
        self._at_work -= places
        self._let_in()

    def _open_later(self) -> None:
        """Look again in a moment who may begin: one that is done is not the only reason."""
        if self._opening is None:
            loop = asyncio.get_running_loop()
            self._opening = loop.call_later(1 / BEGIN_PER_SECOND, self._open)

    def _open(self) -> None:
        self._opening = None
        self._let_in()
        if self._waiting:
            self._open_later()

    def _let_in(self) -> None:
        while (client := self._next(self._waiting)) is not None:
            turns = self._waiting.pop(client)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns  # behind all others
            if not turn.done():
                self._take(client)
                turn.set_result(None)


def _has_come(turn: asyncio.Future[None]) -> bool:
    """Return whether it came in the very moment in which the wait ended."""
    return turn.done() and not turn.cancelled() and turn.exception() is None


@contextmanager
def waiting_outside() -> Iterator[None]:
    """Leave the place of this request to others inside the block: it waits for another side.

    Afterwards it goes on at once, even if there are more at work than places then.
    """
    place = _PLACE.get()
    if place is None or not place.held:
        yield
        return
    place.outside += 1
    if place.outside == 1:
        place.door._leave()
    try:
        yield
    finally:
        place.outside -= 1
        if place.outside == 0 and place.held:
            place.door._at_work += 1
