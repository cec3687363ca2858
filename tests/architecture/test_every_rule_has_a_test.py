"""Every rule that the product promises is named by a test that proves it."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
RULES = [f"r{number}" for number in range(1, 22)] + [f"i{number}" for number in range(1, 10)]


@pytest.fixture(scope="module")
def named_rules() -> set[str]:
    names = (
        name
        for module in TESTS.rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", module.read_text(encoding="utf-8"))
    )
    return {rule for name in names for rule in re.findall(r"(?<=_)([ri]\d{1,2})(?=_)", name)}


@pytest.mark.parametrize("rule", RULES)
def test_a_test_names_the_rule(rule: str, named_rules: set[str]) -> None:
    assert rule in named_rules
