"""R29: whatever a file holds, it is read line by line, or refused in words."""

from __future__ import annotations

import tracemalloc
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registration.adapters.guest_file import (
    LONGEST_LINE,
    Format,
    UnreadableFile,
    format_of,
    read_guest_file,
)
from registration.application.guest_row import COLUMNS, read_row
from registration.application.import_guests import Line

TODAY = date(2026, 11, 28)
HEADING = ",".join(COLUMNS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


def lines_of(file: Path, content: bytes, form: Format) -> list[Line]:
    file.write_bytes(content)
    return list(read_guest_file(file, form))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), headed=st.booleans())
def test_any_bytes_are_lines_with_fields_or_mistakes(
    tmp_path: Path, form: Format, content: bytes, headed: bool
) -> None:
    heading = f"{HEADING}\n".encode() if headed and form == "csv" else b""
    try:
        lines = lines_of(tmp_path / "guests", heading + content, form)
    except UnreadableFile:
        return
    numbers = [line.number for line in lines]
    assert numbers == sorted(set(numbers))
    for line in lines:
        assert (line.fields is None) == bool(line.mistakes)
        if line.fields is not None:
            row, mistakes = read_row(line.fields, TODAY)
            assert (row is None) == bool(mistakes)


@settings(max_examples=150, deadline=None)
@given(fields=st.dictionaries(st.sampled_from(COLUMNS), json_values))
def test_any_values_are_a_row_or_mistakes_which_hold_none_of_them(fields: dict[str, object]) -> None:
    secret = "geheim-7f3a"
    row, mistakes = read_row({**fields, "name": [secret], "email": secret}, TODAY)
    assert row is None
    assert mistakes
    assert secret not in "".join(mistakes)


def test_a_line_without_an_end_fills_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "guests.jsonl"
    with file.open("wb") as opened:
        for _ in range(40):
            opened.write(b"x" * 1_000_000)
        opened.write(b"\n{}\n")
    tracemalloc.start()
    try:
        first, second = read_guest_file(file, "jsonl")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert first.mistakes == (f"the line is longer than {LONGEST_LINE} bytes",)
    assert (second.number, second.fields) == (2, {})
    assert peak < 20 * LONGEST_LINE


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("guests.csv", None, "csv"),
        ("guests.JSONL", None, "jsonl"),
        ("guests.ndjson", None, "jsonl"),
        ("guests.csv", "jsonl", "jsonl"),
    ],
)
def test_the_format_is_the_one_that_is_asked_for_or_that_of_the_suffix(
    name: str, form: Format | None, expected: Format
) -> None:
    assert format_of(Path(name), form) == expected
    with pytest.raises(UnreadableFile):
        format_of(Path("guests.txt"), None)
