"""What a run of faults showed: a table for people, JSON for what compares runs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tests.chaos.auditor import shown
from tests.chaos.run import Felt, Outcome
from tests.chaos.schedule import Kind

PROMISED = {"lost": ("lost", "unlinked"), "doubled": ("doubled",), "split": ("split",)}
"""What the report counts, and the kinds of findings in it."""


def by_kind(felt: Sequence[Felt]) -> dict[Kind, list[Felt]]:
    """The faults of each kind, in the order of the kinds."""
    found = defaultdict[Kind, list[Felt]](list)
    for each in felt:
        found[each.fault.kind].append(each)
    return {kind: found[kind] for kind in Kind if kind in found}


def figures(felt: Sequence[Felt]) -> dict[str, float]:
    """How long faults of one kind were felt, in seconds."""
    return {
        "times": len(felt),
        "registering, median": round(median(each.registering for each in felt), 1),
        "registering, longest": round(max(each.registering for each in felt), 1),
        "linking, median": round(median(each.linking for each in felt), 1),
        "linking, longest": round(max(each.linking for each in felt), 1),
    }


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Each run, with how long each kind of fault was felt."""
    return [
        {
            **asdict(outcome.plan),
            "registered": outcome.registrations,
            "took": round(outcome.seconds, 1),
            "answers": outcome.answers,
            **{name: outcome.count(*whats) for name, whats in PROMISED.items()},
            "findings": [str(finding) for finding in outcome.findings],
            "not possible here": sorted(set(outcome.impossible)),
            "felt": {str(kind): figures(felt) for kind, felt in by_kind(outcome.felt).items()},
            "faults": [
                {"what": str(each.fault), "registering": each.registering, "linking": each.linking}
                for each in outcome.felt
            ],
        }
        for outcome in outcomes
    ]


def write(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write all runs as JSON."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(as_json(outcomes), indent=2) + "\n", "utf-8")


def summary(outcomes: Sequence[Outcome]) -> Table:
    """All runs together: a row for each kind of fault."""
    table = Table(title="How long each fault was felt", title_justify="left", box=None, pad_edge=False)
    table.add_column("fault")
    for heading in ("times", "no registration, s", "longest", "no link, s", "longest"):
        table.add_column(heading, justify="right")
    for kind, felt in by_kind([each for outcome in outcomes for each in outcome.felt]).items():
        table.add_row(str(kind), *(f"{number:g}" for number in figures(felt).values()))
    return table


def verdict(outcome: Outcome) -> RenderableType:
    """One run in a line or two, and what is wrong, if anything is."""
    counts = " · ".join(f"{outcome.count(*whats)} {name}" for name, whats in PROMISED.items())
    rate = outcome.registrations / outcome.seconds if outcome.seconds else 0.0
    line = Text.assemble(
        (
            " passed " if not outcome.findings else " failed ",
            "reverse green" if not outcome.findings else "reverse red",
        ),
        f" seed {outcome.plan.seed}, {outcome.plan.transport}: {len(outcome.felt)} faults,"
        f" {outcome.registrations:,} registrations in {outcome.seconds:.0f} s ({rate:.0f}/s) · {counts}",
    )
    if not outcome.findings:
        return line
    return Group(line, Text(shown(outcome.findings)), Text(f"again: {again(outcome)}", "bold"))


def again(outcome: Outcome) -> str:
    """The command that repeats a run."""
    plan = outcome.plan
    return (
        f'make chaos ARGS="--seed {plan.seed} --transport {plan.transport} --faults {plan.faults}'
        f' --registrations {plan.registrations}"'
    )


def show(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print everything."""
    console.print(summary(outcomes))
    console.print()
    for outcome in outcomes:
        console.print(verdict(outcome))
        for reason in sorted(set(outcome.impossible)):
            console.print(Text(f"not possible here: {reason}", "yellow"))
