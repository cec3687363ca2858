"""`make chaos`: the whole system under load and under faults, a run for each seed."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.chaos.report import show, verdict, write
from tests.chaos.run import OnProgress, Outcome, Plan, Transport, run
from tests.support.memory import servers_folder

RESULTS = Path(".bench/chaos.json")
TRANSPORTS: tuple[Transport, ...] = ("amqp", "feed")
EPILOG = """
environment:
  CHAOS_SEED, CHAOS_FAULTS, CHAOS_REGISTRATIONS   the same as --seed, --faults, --registrations

example: make chaos ARGS="--seed 7 --faults 40 --registrations 5000"
"""


def main() -> int:
    """Run each seed. Return the exit code: 0 if nothing was wrong."""
    arguments = _arguments()
    console, outcomes = Console(highlight=False), list[Outcome]()
    with suppress(KeyboardInterrupt):
        for seed in arguments.seed:
            plan = Plan(seed, arguments.faults, arguments.registrations, arguments.transport)
            outcomes.append(_one(plan, console))
            console.print(verdict(outcomes[-1]))
            write(outcomes, RESULTS)
    if outcomes:
        console.print()
        show(console, outcomes)
        console.print(f"The runs are in {RESULTS}.")
    passed = len(outcomes) == len(arguments.seed) and not any(outcome.findings for outcome in outcomes)
    return 0 if passed else 1


def _one(plan: Plan, console: Console) -> Outcome:
    with servers_folder("chaos") as folder, ExitStack() as kept:
        kept.callback(_keep_logs, folder / "run" / "logs", plan, console)
        loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        with _progress(plan, console) as on_progress, loop as runner:
            outcome = runner.run(run(plan, folder / "run", on_progress))
        if not outcome.findings:
            kept.pop_all()
        return outcome


def _keep_logs(logs: Path, plan: Plan, console: Console) -> None:
    kept = RESULTS.with_name(f"chaos-{plan.seed}-logs")
    if not logs.exists():
        return  # the stack did not start
    shutil.copytree(logs, kept, dirs_exist_ok=True)
    console.print(f"[red]seed {plan.seed} failed.[/] The logs of all processes are in {kept}.")


@contextmanager
def _progress(plan: Plan, console: Console) -> Iterator[OnProgress]:
    """Show a bar of guests, with the number of faults and the last one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[fault]}", style="dim"), console=console) as bar:
        task = bar.add_task(f"seed {plan.seed}", total=plan.registrations, fault="starting the stack")

        def update(guests: int, faults: int, fault: str) -> None:
            bar.update(task, completed=guests)
            if fault:
                bar.update(task, fault=f"{faults}/{plan.faults} {fault}")

        yield update


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    seeds = [int(seed) for seed in os.environ.get("CHAOS_SEED", "1 2 3").split()]
    faults = int(os.environ.get("CHAOS_FAULTS", "200"))
    registrations = int(os.environ.get("CHAOS_REGISTRATIONS", "50000"))
    parser.add_argument("--seed", type=int, nargs="+", default=seeds, metavar="N")
    parser.add_argument("--faults", type=int, default=faults, metavar="N", help=f"default {faults}")
    parser.add_argument(
        "--registrations", type=int, default=registrations, metavar="N", help=f"default {registrations:,}"
    )
    parser.add_argument("--transport", choices=TRANSPORTS, default="amqp")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
