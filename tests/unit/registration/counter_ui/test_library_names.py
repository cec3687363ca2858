"""Wherever a page shows an ISIL, the library's name stands beside it."""

import re
from pathlib import Path

import pytest

from registration.counter_ui.pages import FOLDER

TEMPLATES = sorted((FOLDER / "templates").glob("*.html"))
IN_ATTRIBUTE = re.compile(r'(?<==)"[^"]*"')
ELSEWHERE = ("translate(", "parts.", "autofocus", "length", "{ libraries(")
"""Labels, fields, where the focus is, counts, and what a macro shows."""
UNSEEN = re.compile(r"<span class=>.*?</span>|<title>.*?</title>|{% block title %}.*?{% endblock %}")
SHOWN = re.compile(r"\{\{[^}]*isil[^}]*\}\}", re.IGNORECASE)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_page_shows_a_bare_isil(template: Path) -> None:
    shown = SHOWN.findall(UNSEEN.sub("", IN_ATTRIBUTE.sub("", template.read_text("utf-8"))))
    values = [text for text in shown if not any(word in text for word in ELSEWHERE)]
    # The table of libraries has a column for the name.
    assert [text for text in values if "library_name(" not in text and "row.isil" not in text] == []
