"""Registrations at a steady rate, whatever the answers: sending one costs less than refusing it.

Run as a process of its own: it reads its order from stdin and prints what came back, both as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

import httptools
import orjson
import uvloop

from tests.support.eventually import eventually
from tests.support.stack import load_card, registration_of

CONNECTIONS = 256
TICK = 0.005  # seconds


@dataclass(frozen=True)
class Order:
    """What to send: so many registrations/s for so many seconds, of load cards from `first_card` on."""

    url: str
    token: str
    rate: float
    seconds: float
    first_card: int


@dataclass
class Flooded:
    """What came back: the number of each status, the seconds until each 201, and what could not be sent."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    unsent: int = 0
    elapsed: float = 0.0

    def shown(self) -> dict[str, Any]:
        parts = quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [0.0] * 99
        return {
            "registered": self.statuses[201],
            "per second": round(self.statuses[201] / self.elapsed, 1),
            **{f"p{part}": round(parts[part - 1] * 1000, 1) for part in (50, 95, 99)},
            **{f"answers {status}": number for status, number in sorted(self.statuses.items())},
            "not sent": self.unsent,
        }


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._parser = httptools.HttpResponseParser(self)
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flood.idle.append(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self in self._flood.idle:
            self._flood.idle.remove(self)

    def on_message_complete(self) -> None:
        self._flood.answered(self._parser.get_status_code(), perf_counter() - self._began)
        self._parser = httptools.HttpResponseParser(self)
        self._flood.idle.append(self)

    def send(self, request: bytes) -> None:
        self._began = perf_counter()
        self._transport.write(request)


class Flood:
    """Sends what is due every few milliseconds, over connections that wait for no answer."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.idle: deque[Connection] = deque()
        self.found = Flooded()

    async def run(self) -> Flooded:
        order, loop, parts = self._order, asyncio.get_running_loop(), urlsplit(self._order.url)
        for _ in range(CONNECTIONS):
            await loop.create_connection(lambda: Connection(self), parts.hostname or "", parts.port or 80)
        began, total, number = perf_counter(), round(order.rate * order.seconds), 0
        while number < total:
            due = min(total, round((perf_counter() - began) * order.rate))
            while number < due:
                self._send(number)
                number += 1
            await asyncio.sleep(TICK)
        await eventually(lambda: len(self.idle) == CONNECTIONS)
        self.found.elapsed = perf_counter() - began
        return self.found

    def _send(self, number: int) -> None:
        if not self.idle:
            self.found.unsent += 1
            return
        body = orjson.dumps(registration_of(load_card(self._order.first_card + number)))
        head = (
            f"POST /v1/guests HTTP/1.1\r\nHost: {urlsplit(self._order.url).netloc}\r\n"
            f"Authorization: Bearer {self._order.token}\r\nIdempotency-Key: {uuid4()}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.idle.popleft().send(head.encode("ascii") + body)

    def answered(self, status: int, seconds: float) -> None:
        self.found.statuses[status] += 1
        if status == 201:
            self.found.seconds.append(seconds)


async def flood(order: Order) -> dict[str, Any]:
    """Send it from another process. Return what came back; times are in milliseconds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate(json.dumps(asdict(order)).encode())
    finally:
        if process.returncode is None:
            process.kill()
    return dict(json.loads(output))


def main() -> None:
    """Carry out the order on stdin."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(Flood(Order(**json.load(sys.stdin))).run())
    print(json.dumps(found.shown()))


if __name__ == "__main__":
    main()
