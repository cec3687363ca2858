"""Benchmarks, each beside its baseline in one run: `python -m tests.benchmarks [NAME ...]`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from infra.local.postgres import Postgres
from tests.benchmarks import check_terms, rebuild_views, register_guests, save_aggregates
from tests.benchmarks.results import Result, table_of, write_json

RESULTS = Path(".bench/results.json")
Benchmark = Callable[[Postgres], Awaitable[Sequence[Result]]]

BENCHMARKS: dict[str, Benchmark] = {
    "save-aggregates": save_aggregates.measure,
    "register-guests": register_guests.measure,
    "rebuild-views": rebuild_views.measure,
    "check-terms": check_terms.measure,
}


def main() -> None:
    """Run the benchmarks that were asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    console = Console()
    results = [result for name in names for result in run(BENCHMARKS[name], name, console)]
    console.print(table_of(results))
    write_json(results, RESULTS)
    console.print(
        f"Written to {RESULTS}. Medians of several rounds, contestants taking turns; durable writes."
    )


def run(benchmark: Benchmark, name: str, console: Console) -> Sequence[Result]:
    """Run one benchmark on a PostgreSQL server of its own, durable as in production."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, console.status(f"measuring {name} …"):
        server = Postgres(Path(folder))
        server.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_measure(benchmark, server))
        finally:
            server.stop()
            gc.unfreeze()


async def _measure(benchmark: Benchmark, server: Postgres) -> Sequence[Result]:
    return await benchmark(server)


if __name__ == "__main__":
    main()
