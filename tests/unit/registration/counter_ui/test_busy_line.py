"""Every form waits in sight, with a button that stops waiting: its page has the line and the script."""

import re

import pytest

from registration.counter_ui.pages import FOLDER

TEMPLATES = FOLDER / "templates"
PAGES = sorted(path.name for path in TEMPLATES.glob("*.html") if not path.name.startswith("_"))
BASE = (TEMPLATES / "base.html").read_text("utf-8")


def test_the_base_of_all_pages_has_the_line_the_button_and_the_script() -> None:
    assert "static('busy.js')" in BASE
    [line] = re.findall(r'<template id="busy-words">.*?</template>', BASE, re.DOTALL)
    assert "Even geduld" in line
    assert re.search(r'<button type="button"[^>]*>.*Wacht niet langer', line)
    assert re.search(r'<div id="status"[^>]* role="status"', BASE)


@pytest.mark.parametrize("name", [name for name in PAGES if name != "base.html"])
def test_a_page_has_that_base_and_no_form_of_it_goes_round_the_script(name: str) -> None:
    page = (TEMPLATES / name).read_text("utf-8")
    assert '{% extends "base.html" %}' in page.splitlines()[:2]
    for button in re.findall(r"<button[^>]*formaction[^>]*>", page):
        assert "data-download" in button, "no page comes of a download, so nothing ends the wait"
    assert "onsubmit" not in page
