"""A load of guests who register and log in; what was answered is kept, to be compared with what is there."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import httpx2

from tests.support.eventually import eventually
from tests.support.silence import is_bearable
from tests.support.stack import load_card, registration_of

ORGANISATION = "1001"
Login = dict[str, Any]
PATIENCE = 60.0
"""Seconds, for an answer to what is asked again and again: a killed database and broker are back by then."""
REQUEST_SECONDS = 15.0
AGAIN_SECONDS = 0.05
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One guest, as the replies showed it: the registration, then logins that began after it."""

    card: str
    key: str
    guest_id: str
    logins: tuple[Login, ...]

    @property
    def account_id(self) -> str:
        return f"acc-{self.card}"


class Load:
    """Clients that ask again, with the same Idempotency-Key, until they are answered.

    `pause`: seconds between two guests of a client. Every `logins_of`th guest logs in at once, twice at the
    same moment; the others leave the link to workers.
    """

    def __init__(
        self,
        counter: httpx2.AsyncClient,
        wisecat: httpx2.AsyncClient,
        *,
        pause: float = 0.0,
        logins_of: int = 2,
    ) -> None:
        self.guests: list[Acknowledged] = []
        self.registered_at: list[float] = []
        """When each registration was acknowledged, by the monotonic clock."""
        self.answers: Counter[str] = Counter()
        """How often each status was answered, or which error came instead of an answer."""
        self.asking = 0
        """How many requests are on their way."""
        self.wrong: list[str] = []
        """Answers with which a caller can do nothing."""
        self.wrong_clocks = 0
        """How many clocks are wrong now: a token may then be too old, or from the future."""
        self._counter = counter
        self._wisecat = wisecat
        self._pause = pause
        self._logins_of = logins_of
        self._numbers = count(1)

    async def client(self, stopping: asyncio.Event) -> None:
        """One guest after the other; none is left half-way."""
        while not stopping.is_set():
            number = next(self._numbers)
            card, key = load_card(number), str(uuid4())
            guest_id = await self.register(card, key)
            self.registered_at.append(time.monotonic())
            times = 0 if number % self._logins_of else 2
            logins = await asyncio.gather(*(self.log_in(card) for _ in range(times)))
            self.guests.append(Acknowledged(card, key, guest_id, tuple(logins)))
            await asyncio.sleep(self._pause)

    async def reaches(self, guests: int, within: float = PATIENCE) -> None:
        """Wait for so many registrations in all."""
        await eventually(lambda: len(self.registered_at) >= guests, within=within, every=0.01)

    async def goes_on(self, guests: int = 5) -> None:
        """Wait for so many more guests."""
        await self.reaches(len(self.registered_at) + guests)

    async def register(self, card: str, key: str) -> str:
        """The id of the guest."""
        answer = await self._answered(self._counter, "/v1/guests", registration_of(card), key)
        return str(answer["guest_id"])

    async def log_in(self, card: str) -> Login:
        """The reply to the catalogue."""
        body = {"account_id": f"acc-{card}", "organisation": ORGANISATION}
        return await self._answered(self._wisecat, "/v1/logins", body, str(uuid4()))

    def without_reply(self) -> int:
        """How many requests were not answered."""
        return sum(times for answer, times in self.answers.items() if not answer.isdecimal())

    async def _answered(
        self, client: httpx2.AsyncClient, path: str, body: dict[str, Any], key: str
    ) -> dict[str, Any]:
        response = await eventually(lambda: self._asked(client, path, body, key), PATIENCE, AGAIN_SECONDS)
        assert response is not None
        return dict(response.json())

    async def _asked(
        self, client: httpx2.AsyncClient, path: str, body: dict[str, Any], key: str
    ) -> httpx2.Response | None:
        """None: ask again. After a 503 nothing was written; after a lost reply it is not known."""
        self.asking += 1
        try:
            response = await client.post(path, json=body, headers={"Idempotency-Key": key})
        except httpx2.TransportError as error:
            self.answers[type(error).__name__] += 1
            return None
        finally:
            self.asking -= 1
        self.answers[str(response.status_code)] += 1
        if response.is_success:
            return response
        documented = response.status_code == 503 and is_bearable(503, response.headers)
        if not documented and not (response.status_code == UNAUTHORIZED and self.wrong_clocks):
            self.wrong.append(f"{path}: {response.status_code} {response.text[:300]}")
        return None


@asynccontextmanager
async def under(load: Load, clients: int) -> AsyncIterator[None]:
    """Inside the block clients are at work; afterwards each has finished the guest in hand."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(load.client(stopping))
        await load.goes_on()
        try:
            yield
        finally:
            stopping.set()


async def linked(counter: httpx2.AsyncClient, guest: Acknowledged) -> bool:
    """Whether the counter shows the guest with its link; fails while it does not."""
    response = await counter.get(f"/v1/guests/{guest.guest_id}")
    assert response.status_code == 200, response.text
    shown = response.json()
    assert shown["card_number"] == guest.card
    assert shown["login_link"]["state"] == "linked", shown
    return True


def recognised_once(guest: Acknowledged, logins: Sequence[Login]) -> None:
    """I5: all of them began after the registration was acknowledged; one of them was the first."""
    assert {login["outcome"] for login in logins} == {"recognised"}
    assert {login["guest"]["guest_id"] for login in logins} == {guest.guest_id}
    assert [login["first_login"] for login in logins].count(True) == 1
