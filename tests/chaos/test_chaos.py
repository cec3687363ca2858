"""A short run of faults on the whole stack: what was acknowledged is there once, linked once, to one actor.

The long one is `make chaos` (docs/reliability.md), which prints the seed of a run that fails.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.auditor import shown
from tests.chaos.report import again
from tests.chaos.run import Outcome, Plan, run

PLANS = {
    "amqp": Plan(2262, faults=16, registrations=170, clients=3, pause=0.15, shortened=0.25),
    "feed": Plan(1223, faults=9, registrations=90, transport="feed", clients=3, pause=0.15, shortened=0.25),
}
"""Each kind of fault happens, and to what matters most: the seeds were chosen for that.

The pause leaves processor time to what starts again.
"""
FELT_SECONDS = 0.5


@pytest.mark.parametrize("transport", PLANS)
async def test_i5_i8_r10_what_was_acknowledged_survives_every_fault_and_is_linked_once(
    transport: str, tmp_path: Path
) -> None:
    outcome = await run(PLANS[transport], tmp_path / "run")
    assert outcome.findings == [], f"{shown(outcome.findings)}\nagain: {again(outcome)}"
    assert outcome.registrations >= PLANS[transport].registrations
    assert_it_met_faults(outcome)


def assert_it_met_faults(outcome: Outcome) -> None:
    """Each kind happened, some were felt, and some answers were lost or refused."""
    kinds = {each.fault.kind for each in outcome.felt}
    possible = {fault.kind for fault in outcome.plan.schedule()}
    assert kinds == possible or outcome.impossible
    assert max(each.registering for each in outcome.felt) > FELT_SECONDS
    assert sum(number for answer, number in outcome.answers.items() if answer not in {"200", "201"})
