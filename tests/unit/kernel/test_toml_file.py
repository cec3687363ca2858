"""Mistakes in TOML files of settings: each with its line, whatever strings and arrays the file holds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from shared.kernel.organisations import read_organisations
from shared.kernel.toml_file import LONGEST_STATEMENT, Mistakes, TomlFile, readable

FILE = '''# a comment
[organisations.1001]
name = """
[organisations.9]
"""
isils = [
  "NL-070297",
  # "NL-0",
  "070297",
]
strip = true

[organisations.1002]
isils = ["NL-070288"]
branches = { 9453 = 3 }
'''


def test_every_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "organisations.toml"
    path.write_text(FILE)
    with pytest.raises(Mistakes) as refused:
        read_organisations(path)
    found = {(mistake.line, mistake.where) for mistake in refused.value.found}
    assert found == {
        (6, "organisations.1001.isils.1"),
        (11, "organisations.1001.strip"),
        (13, "organisations.1002.name"),
        (15, "organisations.1002.branches.9453"),
    }
    assert all(str(mistake).startswith(f"{path}:{mistake.line}: ") for mistake in refused.value.found)
    texts = {mistake.where: mistake.text for mistake in refused.value.found}
    assert texts["organisations.1001.isils.1"] == "must be an ISIL, NL- and six digits or ten"
    assert texts["organisations.1002.name"] == "is not set: add this key"


def test_what_is_not_toml_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    for text, line in (("a = 1\nb = = 2\n", 2), ("a = 1\n\nb = [1,\n", 3), ("[" * 5000 + "\n", 1)):
        path.write_text(text)
        with pytest.raises(Mistakes) as refused:
            TomlFile.read(path)
        [mistake] = refused.value.found
        assert mistake.line == line, text[:20]
    path.write_text("a = " + "[" * 5000 + "]" * 5000 + "\n")
    with pytest.raises(Mistakes, match="not valid TOML"):
        TomlFile.read(path)
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(Mistakes, match="not written in UTF-8"):
        TomlFile.read(path)


def test_a_table_with_a_wrong_name_does_not_pass_unnoticed() -> None:
    with pytest.raises(Mistakes, match=r"organisation: no such table; allowed are organisations"):
        read_organisations(TomlFile('[organisation.1]\nname = "a"\n'))


def test_lines_in_arrays_of_tables() -> None:
    file = TomlFile("[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 1\n")
    assert file.mistake(("a", 1, "b"), "").line == 4
    assert file.mistake(("a", 1, "c", "d"), "").line == 6
    assert file.mistake(("a", 1, "x"), "").line == 3
    assert file.mistake(("z",), "").line is None


def test_one_endless_statement_costs_no_time() -> None:
    text = 'a = """\n' + "x\n" * 200_000 + '"""\nb = 1\n'
    began = time.process_time()
    assert TomlFile(text).mistake(("b",), "").line is None
    assert time.process_time() - began < 5
    short = 'a = """\n' + "x\n" * (LONGEST_STATEMENT - 10) + '"""\nb = 1\n'
    assert TomlFile(short).mistake(("b",), "").line == LONGEST_STATEMENT - 7


def test_settings_are_readable_by_table() -> None:
    tables = {"libraries": {"NL-1": {"port": 1, "tls": True, "aliases": ["NL-3", "NL-2"]}, "NL-2": {}}}
    assert readable(tables) == {
        "libraries.NL-1": {"aliases": "NL-3, NL-2", "port": "1", "tls": "true"},
        "libraries.NL-2": {},
    }
