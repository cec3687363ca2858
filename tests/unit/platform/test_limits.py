"""Time limits: one policy, in one place, and told to operators."""

import re
from pathlib import Path

import pytest

from shared.platform import limits

ROOT = Path(__file__).parents[3]
TABLE = (
    (ROOT / "docs/architecture.md").read_text("utf-8").partition("## Time limits")[2].partition("\n## ")[0]
)
LIMITS = {name: value for name, value in vars(limits).items() if isinstance(value, int | float)}


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_is_in_the_table_with_its_value(name: str) -> None:
    assert f"`{name}` {LIMITS[name]:g}" in TABLE


def test_no_limit_of_another_side_is_anywhere_else() -> None:
    """An operator waits for `doctor`, which asks each side. A home library has settings of its own."""
    written = re.compile(r"timeout=\d|httpx2\.Timeout\(|create_pool\(")
    found = [
        str(file.relative_to(ROOT))
        for folder in ("services", "shared")
        for file in (ROOT / folder).rglob("*.py")
        if written.search(file.read_text("utf-8"))
    ]
    assert found == ["services/registration/bootstrap.py", "shared/cli/doctor.py"]


def test_together_they_keep_the_promises() -> None:
    """Ten seconds for an answer and for the end of a process, fifteen for a worker to go on."""
    assert max(limits.STATEMENT + limits.CONNECT, limits.DATABASE, limits.ACQUIRE + limits.STATEMENT) < 10
    assert limits.LEASE + limits.RENEW + limits.CONNECT < 15
    assert limits.LEASE_SESSION + limits.LEASE_TRY + limits.CONNECT < 15
    assert 2 * limits.LEASE_PROOF < limits.LEASE_PROVEN < limits.LEASE_SESSION
    assert 4 * limits.HEARTBEAT < 15
    assert limits.LAST_REQUESTS + limits.LAST_WRITES + 2 * limits.CLOSE < limits.STOP < 10
    assert limits.LAST_WORK + limits.LAST_WRITES + 2 * limits.CLOSE < limits.STOP
