"""Ten times as many registrations as the product bears, by one client, while another one works on.

What is too much must be refused before it costs anything: what is accepted is answered and linked as before,
the other client hardly notices, memory stays, and a moment after the flood nothing is left of it.
The flood comes from a process of its own, on the same machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Any

import httpx2

from infra.local.postgres import Postgres
from tests.benchmarks.flood import Order, flood
from tests.benchmarks.memory_of_services import memory
from tests.benchmarks.path import Client, Contestant, client_of, delays, each, product, registered
from tests.benchmarks.results import Result
from tests.support.eventually import eventually
from tests.support.stack import load_card, registration_of

SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
TIMES = float(os.environ.get("BENCH_TIMES", "10"))
UNLOADED, CLOSED_LOOP, CLIENTS = 600, 600, 16  # guests, guests, and clients of the closed loop
OTHERS_RATE = 2.0  # registrations/s of the client that works on
LEAST_GOODPUT, MOST_TIMES_UNLOADED, MOST_GROWTH, MOST_LAG, MOST_RECOVERY = 0.9, 5.0, 1.15, 2.0, 5.0
QUICK_ANSWERS = 5
"""So many answers in a row that are as quick as unloaded ones: it has recovered."""


@dataclass
class Seen:
    """What was seen during the flood: the other client's answers, and the memory of each process in MiB."""

    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """What was measured: registrations/s, seconds, MiB.

    `borne`, `unloaded` (p99 of one client) and `memory` are of before the flood.
    """

    borne: float
    unloaded: float
    memory: Mapping[str, float]
    seen: Seen
    flooded: Mapping[str, Any]
    recovered: float
    lag: float


async def measure(server: Postgres) -> Sequence[Result]:
    """Measure what is borne, then flood, and compare."""
    with tempfile.TemporaryDirectory(prefix="overload-") as folder:
        async with product(server, Path(folder)) as (stack, ours), client_of(ours) as client:
            numbers = count(1)
            await registered(client, ours, [next(numbers) for _ in range(50)], 8)
            unloaded = _p99(await each(client.register, [next(numbers) for _ in range(UNLOADED)], 1))
            guests = [next(numbers) for _ in range(CLOSED_LOOP)]
            seconds, _ = await registered(client, ours, guests, CLIENTS)
            borne, before, linked = CLOSED_LOOP / seconds, memory(ours), len(await delays(ours))
            print(f"borne: {borne:.1f}/s, p99 unloaded: {unloaded:.3f} s", file=sys.stderr)
            seen, flooded = await _flooded(ours, stack.description["tokens"], borne * TIMES)
            recovered = await _recovered(client, numbers, unloaded)
            taken = flooded["registered"] + seen.statuses.count(201)
            lag = await _slowest_link(ours, linked, taken)
    print(json.dumps(flooded | {"memory": seen.memory}, indent=2), file=sys.stderr)
    return _results(Found(borne, unloaded, before, seen, flooded, recovered, lag))


async def _flooded(ours: Contestant, tokens: Mapping[str, str], rate: float) -> tuple[Seen, dict[str, Any]]:
    """Return what the other client and the memory were like meanwhile, and what the flood was answered."""
    url, seen = ours.urls["registration"], Seen()
    beside = [
        asyncio.create_task(_work_on(url, tokens["counter_other"], seen)),
        asyncio.create_task(_watch(lambda: memory(ours), seen)),
    ]
    try:
        flooded = await flood(Order(url, tokens["counter"], rate, SECONDS, first_card=100_000))
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    return seen, flooded


async def _work_on(url: str, token: str, seen: Seen) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx2.AsyncHTTPTransport(
        local_address="127.0.0.2"
    )  # another machine, as far as one can tell
    async with httpx2.AsyncClient(transport=transport, base_url=url, headers=headers, timeout=30) as client:
        for number in count(500_000):
            began = perf_counter()
            answer = await client.post("/v1/guests", json=registration_of(load_card(number)))
            seen.statuses.append(answer.status_code)
            if answer.status_code == 201:
                seen.seconds.append(perf_counter() - began)
            await asyncio.sleep(max(0.0, began + 1 / OTHERS_RATE - perf_counter()))


async def _watch(now: Callable[[], Mapping[str, float]], seen: Seen) -> None:
    while True:
        for role, mebibytes in now().items():
            seen.memory[role] = max(mebibytes, seen.memory.get(role, 0.0))
        await asyncio.sleep(0.5)


async def _recovered(client: Client, numbers: count[int], unloaded: float) -> float:
    """Return the seconds until answers are as quick as before."""
    began, quick = perf_counter(), 0
    while quick < QUICK_ANSWERS:
        try:
            seconds = await client.register(load_card(next(numbers)))
        except RuntimeError:  # refused
            quick = 0
            continue
        quick = quick + 1 if seconds <= unloaded else 0
    return perf_counter() - began


async def _slowest_link(ours: Contestant, before: int, guests: int) -> float:
    async def all_linked() -> bool:
        return len(await delays(ours)) >= before + guests

    await eventually(all_linked, within=120, every=0.2)
    return max((await delays(ours))[before:])


def _results(found: Found) -> list[Result]:
    borne, unloaded, seen, flooded = found.borne, found.unloaded, found.seen, found.flooded
    asked, sent = len(seen.statuses), round(borne * TIMES * SECONDS) - flooded["not sent"]
    answered = flooded["registered"] + flooded.get("answers 503", 0)
    rate = f"registered at {TIMES:g} times the rate that is borne"
    bound = ("unloaded", "lower", MOST_TIMES_UNLOADED)
    limit = ("the limit", "lower", 1.0)
    rows: list[tuple[Any, ...]] = [
        (rate, "/s", flooded["per second"], borne, f"borne, {CLIENTS} clients", "higher", LEAST_GOODPUT),
        ("answered with 201 or 503", "requests", answered, sent, "sent", "higher", 0.99),
        ("accepted, p99", "s", flooded["p99"] / 1000, unloaded, *bound),
        ("the other client: registered", "", seen.statuses.count(201), asked, "asked", "higher", 1.0),
        ("the other client: p99", "s", _p99(seen.seconds), unloaded, *bound),
        ("the slowest link", "s", found.lag, MOST_LAG, *limit),
        ("as quick as before, after", "s", found.recovered, MOST_RECOVERY, *limit),
        *(
            (f"most memory of {role}", "MiB", seen.memory[role], before, "before", "lower", MOST_GROWTH)
            for role, before in found.memory.items()
        ),
    ]
    return [Result(*row) for row in rows]


def _p99(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100)[98]
