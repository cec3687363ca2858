"""What the code cites is written down in docs/, and every rule in docs/ is proven by a test that names it."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULE = re.compile(r"\b[RI][1-9][0-9]?\b")
DECISION = re.compile(r"\bADR [0-9]{4}\b")
OLD_DECISION = re.compile(r"\bA[0-9]{1,2}\b|contract\.md")
TEXT_FILES = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".html", ".css", ".js"}


def headings(text: str) -> Iterator[str]:
    return (line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))


RULES = [
    heading.split()[0]
    for heading in headings((ROOT / "docs/domain.md").read_text("utf-8"))
    if RULE.fullmatch(heading.split()[0])
]
DECISIONS = [
    match[0]
    for page in sorted((ROOT / "docs/decisions").glob("0*.md"))
    for heading in headings(page.read_text("utf-8"))
    if (match := DECISION.match(heading))
]


@pytest.fixture(scope="module")
def files() -> Mapping[str, str]:
    """Every text file of the repository, by its path."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    paths = [ROOT / name for name in listed if Path(name).suffix in TEXT_FILES]
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in paths if path.exists()}


def cited(pattern: re.Pattern[str], files: Mapping[str, str]) -> dict[str, str]:
    return {found: path for path, text in files.items() for found in pattern.findall(text)}


def test_the_pages_have_rules_and_decisions() -> None:
    assert {"R1", "R21", "I1", "I9"} <= set(RULES)
    assert len(DECISIONS) >= 19


def test_every_cited_rule_is_a_heading(files: Mapping[str, str]) -> None:
    assert {rule: path for rule, path in cited(RULE, files).items() if rule not in RULES} == {}


def test_every_cited_decision_is_a_page(files: Mapping[str, str]) -> None:
    assert {adr: path for adr, path in cited(DECISION, files).items() if adr not in DECISIONS} == {}


def test_decisions_are_numbered_without_gaps() -> None:
    assert [f"ADR {number:04}" for number in range(1, len(DECISIONS) + 1)] == DECISIONS


@pytest.mark.parametrize("rule", RULES)
def test_a_test_is_named_for_the_rule(rule: str, files: Mapping[str, str]) -> None:
    name = re.compile(rf"def test_(?:\w+_)?{rule.lower()}_\w+")
    assert any(name.search(text) for path, text in files.items() if path.startswith("tests/"))


def test_no_comment_cites_what_is_not_in_the_repository(files: Mapping[str, str]) -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path, text in files.items()
        if path.endswith(".py") and not path.endswith("test_citations.py")
        for number, line in enumerate(text.splitlines(), start=1)
        if OLD_DECISION.search(line.replace("docs/contract.md", ""))
        and ("#" in line or '"""' in line or not re.search(r"[=(\[{\"']", line))
    ]
    assert found == []
