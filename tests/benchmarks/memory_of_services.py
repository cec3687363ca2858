"""Memory of each process of the product after many operations, beside the same after a tenth of them.

An operation is a login, or, each fiftieth, the registration of a guest with its link and first login.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from infra.local.postgres import Postgres
from tests.benchmarks.path import CLIENTS, Client, Contestant, client_of, each, product, registered
from tests.benchmarks.results import Result

OPERATIONS = int(os.environ.get("BENCH_OPERATIONS", "200000"))
ROUND = 1000  # operations; OPERATIONS is ten of these at least
REGISTRATIONS = ROUND // 50
MOST_GROWTH, MOST_MIB = 1.1, 90.0


async def measure(server: Postgres) -> Sequence[Result]:
    """Use the product, and look at its processes after a tenth of all operations and after all."""
    if OPERATIONS < 10 * ROUND:
        raise ValueError(f"BENCH_OPERATIONS must be {10 * ROUND} or more")
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        async with product(server, Path(folder)) as (_, ours), client_of(ours) as client:
            numbers = count(1)
            await _use(client, ours, OPERATIONS // 10, numbers)
            before = memory(ours)
            await _use(client, ours, OPERATIONS - OPERATIONS // 10, numbers)
            after = memory(ours)
    earlier = f"after {OPERATIONS // 10:,}"
    return [
        Result(f"memory of {role} after {OPERATIONS:,} operations", "MiB", *figures)
        for role in after
        for figures in (
            (after[role], before[role], earlier, "lower", MOST_GROWTH),
            (after[role], MOST_MIB, "the most wanted", "lower", 1.0),
        )
    ]


async def _use(client: Client, ours: Contestant, operations: int, numbers: count[int]) -> None:
    for _ in range(operations // ROUND):
        cards = [next(numbers) for _ in range(REGISTRATIONS)]
        await registered(client, ours, cards, CLIENTS)
        logins = ROUND - REGISTRATIONS
        await each(client.log_in, (cards * (logins // len(cards) + 1))[:logins], CLIENTS)


def memory(ours: Contestant) -> Mapping[str, float]:
    """Return the resident memory of each process in MiB."""
    return {
        role.replace("_", " "): process.memory_info().rss / 2**20 for role, process in ours.programs.items()
    }
