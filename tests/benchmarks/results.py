"""The results of a benchmark: our figure beside a baseline of the same run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table


@dataclass(frozen=True)
class Result:
    """Two medians in the same unit. `target`: the wanted ratio of ours to the baseline, or None."""

    name: str
    unit: str
    ours: float
    baseline: float
    baseline_name: str
    better: Literal["higher", "lower"]
    target: float | None = None

    @property
    def ratio(self) -> float:
        """Our figure divided by the baseline."""
        return self.ours / self.baseline

    @property
    def reached(self) -> bool:
        """Whether the ratio is at least as good as its target."""
        if self.target is None:
            return True
        return self.ratio >= self.target if self.better == "higher" else self.ratio <= self.target

    def as_json(self) -> dict[str, Any]:
        """Return the result as an object of `.bench/results.json` (docs/contract.md)."""
        return {**asdict(self), "ratio": self.ratio}


def table_of(results: Sequence[Result]) -> Table:
    """Return the results as a table of ratios."""
    table = Table(title="Benchmarks", title_justify="left")
    for heading in ("what", "unit", "ours", "baseline", "", "ratio", "target"):
        table.add_column(heading, justify="left" if heading in {"what", "unit", ""} else "right")
    for result in results:
        colour = "green" if result.reached else "red"
        table.add_row(
            result.name,
            result.unit,
            f"{result.ours:,.4g}" if result.ours < 100 else f"{result.ours:,.0f}",
            f"{result.baseline:,.4g}" if result.baseline < 100 else f"{result.baseline:,.0f}",
            result.baseline_name,
            f"[{colour}]{result.ratio:.2f} ×[/{colour}]",
            _target(result),
        )
    return table


def write_json(results: Sequence[Result], path: Path) -> None:
    """Write the results as a JSON list."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([result.as_json() for result in results], indent=2) + "\n")


def _target(result: Result) -> str:
    if result.target is None:
        return ""
    return f"{'≥' if result.better == 'higher' else '≤'} {result.target:g}"
