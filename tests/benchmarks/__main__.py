"""Run benchmarks. Each one also measures a baseline in the same run and shows the ratio of both."""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from pathlib import Path

import uvloop
from rich.console import Console

from infra.local.postgres import Postgres
from tests.benchmarks.results import Result, table_of, write_json

RESULTS = Path(".bench/results.json")
Benchmark = Callable[[Postgres], Awaitable[Sequence[Result]]]

# Modules by name: the processes of a rebuild import this module again, and need none of them.
BENCHMARKS = {
    "save-aggregates": "save_aggregates",
    "register-guests": "register_guests",
    "import-guests": "import_guests",
    "rebuild-views": "rebuild_views",
    "check-terms": "check_terms",
    "path": "path",
    "relay": "relay",
    "consume": "consume",
    "catch-up": "catch_up",
    "search": "search",
    "long-log": "long_log",
    "start": "start",
    "memory": "memory_of_services",
    "sustained": "sustained",
    "overload": "overload",
    "scan-to-guest": "scan_to_guest",
}


def main() -> None:
    """Run the benchmarks that are named, or all of them. Print a table and write the results as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; default: all"
    )
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; choose from: {', '.join(BENCHMARKS)}")
    console = Console()
    results = [result for name in names for result in run(name, console)]
    console.print(table_of(results))
    write_json(results, RESULTS)
    console.print(
        f"Results are in {RESULTS}. Medians of several rounds; contestants took turns; writes were durable."
    )


def run(name: str, console: Console) -> Sequence[Result]:
    """Run one benchmark on its own PostgreSQL server, durable as in production."""
    measure: Benchmark = import_module(f"tests.benchmarks.{BENCHMARKS[name]}").measure
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, console.status(f"measuring {name} …"):
        server = Postgres(Path(folder))
        server.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_measure(measure, server))
        finally:
            server.stop()
            gc.unfreeze()


async def _measure(measure: Benchmark, server: Postgres) -> Sequence[Result]:
    return await measure(server)


if __name__ == "__main__":
    main()
