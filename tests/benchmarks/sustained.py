"""The highest rate of registrations that the product bears: all are answered, and linked within a second.

Requests are sent at a steady rate, whatever the answers. The client is on the same machine.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from time import perf_counter

from infra.local.postgres import Postgres
from tests.benchmarks.path import Client, Contestant, client_of, delays, product, registered
from tests.benchmarks.results import Result
from tests.support.eventually import eventually
from tests.support.stack import load_card

RATES = tuple(map(float, os.environ.get("BENCH_RATES", "60,75,90,105,120").split(",")))  # rising
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
LINKED_WITHIN = 1.0
WANTED = 90.0
WARM_UP = 50
CONNECTIONS = 500
GIVE_UP_SECONDS = 120.0


async def measure(server: Postgres) -> Sequence[Result]:
    """Try the rates one after the other, until one is not borne."""
    borne, slowest = 0.0, 0.0
    with tempfile.TemporaryDirectory(prefix="sustained-") as folder:
        async with product(server, Path(folder)) as (_, ours), client_of(ours, CONNECTIONS) as client:
            numbers = count(1)
            await registered(client, ours, [next(numbers) for _ in range(WARM_UP)], 8)
            for rate in RATES:
                latest = await _slowest_link(client, ours, rate, numbers)
                if latest is None or latest > LINKED_WITHIN:
                    break
                borne, slowest = rate, latest
    return [
        Result(
            f"rate borne for {SECONDS:.0f} s, all links within {LINKED_WITHIN:.0f} s",
            "registrations/s",
            borne,
            WANTED,
            "the least wanted",
            "higher",
            1.0,
        ),
        Result("the slowest link at that rate", "s", slowest, LINKED_WITHIN, "the limit", "lower", 1.0),
    ]


async def _slowest_link(client: Client, ours: Contestant, rate: float, numbers: count[int]) -> float | None:
    """Register at a rate; return the seconds of the slowest link, None when not all were registered."""
    before, guests = len(await delays(ours)), round(rate * SECONDS)
    sent = await _sent(client, rate, [next(numbers) for _ in range(guests)])
    failed = sum(isinstance(answer, BaseException) for answer in sent)

    async def all_linked() -> bool:
        return len(await delays(ours)) >= before + guests - failed

    await eventually(all_linked, within=GIVE_UP_SECONDS, every=0.2)
    return None if failed else max((await delays(ours))[before:])


async def _sent(client: Client, rate: float, numbers: Sequence[int]) -> Sequence[float | BaseException]:
    began, sending = perf_counter(), list[asyncio.Task[float]]()
    for place, number in enumerate(numbers):
        await asyncio.sleep(max(0.0, began + place / rate - perf_counter()))
        sending.append(asyncio.create_task(client.register(load_card(number))))
    return await asyncio.gather(*sending, return_exceptions=True)
