"""The code speaks plain English: no riddles, one word for each thing (docs/glossary.md)."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("services", "shared", "infra")
INSTEAD = {
    "somebody": "name who: a clerk, a caller, another process",
    "whoever": "name who",
    "whomever": "name who",
    "whom": "name who",
    "told": "reported, given, shown",
    "tells": "reports, shows",
    "anew": "again",
    "for ever": "without end, permanently",
    "forever": "without end, permanently",
    "stands": "is stored, is listed, is",
    "signpost": "merged record",
    "wish": "link request",
    "doorbell": "notifier",
    "let go": "release, unpark, close",
    "pass over": "skip",
    "passed over": "skipped",
    "in the way": "failed message",
    "messages in line": "backlog",
    "at hand": "loaded",
    "of old": "earlier",
    "thereby": "so",
    "hence": "so",
    "henceforth": "from now on",
}
FIXED = re.compile(r'"into-signpost"|in_the_way|in_line')
"""Names that are stored or that callers compare: a problem's code, a column, a JSON key."""
WORDS = re.compile(rf"\b({'|'.join(INSTEAD)})\b", re.IGNORECASE)
VAGUE_START = re.compile(r'"""(Give|Gives|Answer|Answers|Tell|Tells|Say|Says)\b')


def texts() -> Iterator[tuple[str, int, str]]:
    """All lines of code, comments, docstrings and messages."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                yield str(path.relative_to(ROOT)), number, FIXED.sub("", line).replace("_", " ")


@cache
def lines_with() -> Mapping[str, list[tuple[str, int, str]]]:
    """Return the lines that have each of the words; all texts are read once."""
    found: dict[str, list[tuple[str, int, str]]] = {word: [] for word in INSTEAD}
    for path, number, line in texts():
        for word in {match.lower() for match in WORDS.findall(line)}:
            found[word].append((path, number, line))
    return found


@pytest.mark.parametrize("word", INSTEAD)
def test_no_word_that_puzzles_a_reader(word: str) -> None:
    found = [f"{path}:{number}: {line.strip()}" for path, number, line in lines_with()[word]]
    assert found == [], f"say instead: {INSTEAD[word]}"


def test_a_docstring_says_what_is_done_or_returned() -> None:
    found = [f"{path}:{number}: {line.strip()}" for path, number, line in texts() if VAGUE_START.search(line)]
    assert found == [], 'begin with "Return …", "Find …", "Write …": what the function does'


def test_a_loop_variable_is_named_for_what_it_is() -> None:
    assert [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name | ast.arg)
        and (getattr(node, "id", None) or getattr(node, "arg", "")) == "each"
    ] == []
