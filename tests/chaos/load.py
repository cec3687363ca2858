"""A load of guests who register and log in; what was answered is kept, to be compared with what is there."""

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import httpx2

from tests.support.eventually import eventually
from tests.support.stack import load_card, registration_of

ORGANISATION = "1001"
Login = dict[str, Any]
PATIENCE = 30.0  # seconds, for an answer to what is asked again and again


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

    `pause`: seconds between two guests of a client.
    """

    def __init__(self, counter: httpx2.AsyncClient, wisecat: httpx2.AsyncClient, pause: float = 0.0) -> None:
        self.guests: list[Acknowledged] = []
        self.lost = 0
        self.asking = 0
        """How many requests are on their way."""
        self._counter = counter
        self._wisecat = wisecat
        self._pause = pause
        self._numbers = count(1)

    async def client(self, stopping: asyncio.Event) -> None:
        """One guest after the other; none is left half-way.

        Every other guest logs in at once, twice at the same moment; the others leave the link to workers.
        """
        for number in self._numbers:
            card, key = load_card(number), str(uuid4())
            guest_id = await self.register(card, key)
            logins = await asyncio.gather(*(self.log_in(card) for _ in range(2 * (number % 2))))
            self.guests.append(Acknowledged(card, key, guest_id, tuple(logins)))
            if stopping.is_set():
                return
            await asyncio.sleep(self._pause)

    async def goes_on(self, guests: int = 5) -> None:
        """Wait for so many more guests."""
        before = len(self.guests)
        await eventually(lambda: len(self.guests) >= before + guests, within=PATIENCE)

    async def register(self, card: str, key: str) -> str:
        """The id of the guest."""
        answer = await self._answered(self._counter, "/v1/guests", registration_of(card), key)
        return str(answer["guest_id"])

    async def log_in(self, card: str) -> Login:
        """The reply to the catalogue."""
        body = {"account_id": f"acc-{card}", "organisation": ORGANISATION}
        return await self._answered(self._wisecat, "/v1/logins", body, str(uuid4()))

    async def _answered(
        self, client: httpx2.AsyncClient, path: str, body: dict[str, Any], key: str
    ) -> dict[str, Any]:
        response = await eventually(lambda: self._asked(client, path, body, key), PATIENCE, every=0.05)
        assert response is not None
        assert response.is_success, f"{path}: {response.status_code} {response.text}"
        return dict(response.json())

    async def _asked(
        self, client: httpx2.AsyncClient, path: str, body: dict[str, Any], key: str
    ) -> httpx2.Response | None:
        """None: no reply. After a 503 nothing was written; after a lost reply it is not known."""
        self.asking += 1
        try:
            response = await client.post(path, json=body, headers={"Idempotency-Key": key})
        except httpx2.ConnectError:
            return None
        except httpx2.TransportError:
            self.lost += 1
            return None
        finally:
            self.asking -= 1
        return None if response.status_code == 503 else response
