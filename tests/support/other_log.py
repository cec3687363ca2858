"""What operators read and do when one service's log lost its end (ADR 0033)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.stack import RunningStack


async def it_is_told(stack: RunningStack) -> None:
    """The metric, doctor and the operators' page of identity say that registration's log ends too early."""
    assert await eventually(partial(behind, stack), within=60)
    assert "identity orphans list" in doctor(stack, "identity")["advice"]
    lost = (await _operations(stack))["other_log"]
    assert lost["seen"] > lost["head"]


def release_all(stack: RunningStack, lost: set[str]) -> None:
    """The command lists these guests, and releases them; again it releases nobody, and ends the warning."""
    listed = command(stack, "identity", "orphans", "list", "--json")["orphans"]
    assert {orphan["guest_id"] for orphan in listed} == lost
    given = ("--all", "--reason", "lost in a restore", "--by", "an operator", "--json")
    assert set(command(stack, "identity", "orphans", "release", *given)["released"]) == lost


def is_settled(stack: RunningStack) -> bool:
    """Whether another release, which finds nobody, has ended the warning."""
    given = ("--all", "--reason", "nobody is left", "--by", "an operator", "--json")
    assert command(stack, "identity", "orphans", "release", *given)["released"] == []
    return bool(doctor(stack, "identity")["ok"])


async def behind(stack: RunningStack) -> float | None:
    """The metric of identity, or None if it is 0."""
    async with stack.client("identity", "operator") as operator:
        metrics = (await operator.get("/metrics")).text
    [line] = [line for line in metrics.splitlines() if line.startswith("other_log_behind_events ")]
    return float(line.split()[1]) or None


async def _operations(stack: RunningStack) -> dict[str, Any]:
    async with stack.client("identity", "operator") as operator:
        return dict((await operator.get("/v1/operations")).json())


def command(stack: RunningStack, service: str, *arguments: str) -> dict[str, Any]:
    """What a command of the service prints as JSON."""
    done = subprocess.run(
        [Path(sys.executable).with_name(service), *arguments],
        env={**os.environ, "RUN_DIR": str(stack.run_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def doctor(stack: RunningStack, service: str, step: str = "log of ") -> dict[str, Any]:
    """What doctor finds in the step of this name; by default of the other log."""
    checks = command(stack, service, "doctor", "--json")["checks"]
    return dict(next(check for check in checks if check["step"].startswith(step)))
