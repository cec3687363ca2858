"""A real browser for the pages: headless Chromium, driven from the test's own event loop."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SCREENSHOTS = Path(__file__).parents[2] / ".artefacts" / "screenshots"
PATIENCE = 20_000  # milliseconds
_complaints: WeakKeyDictionary[Page, list[str]] = WeakKeyDictionary()


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Chromium, until the context ends."""
    install_chromium(translate=print)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


async def new_page(
    browser: Browser, *, javascript: bool = True, language: str = "nl-NL", width: int = 1280
) -> Page:
    """A page with cookies of its own. What its JavaScript or its policy complains of is remembered."""
    context = await browser.new_context(
        java_script_enabled=javascript,
        locale=language,
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page = await context.new_page()
    complaints = _complaints[page] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    return page


async def sign_in(page: Page, address: str, person: str = "Marijke Visser") -> None:
    """Through the sign-in service, as a clerk does."""
    await page.goto(f"{address}/")
    await page.get_by_role("button", name=person).click()
    await page.wait_for_url(f"{address}/**")


async def screenshot(page: Page, name: str) -> Path:
    """The whole page, for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    await page.screenshot(path=path, full_page=True)
    return path


async def layout_shifts(page: Page) -> list[tuple[float, list[str]]]:
    """What moved by itself since the page was opened: its score (Web Vitals), and from where to where.

    Needs JavaScript.
    """
    moved: list[tuple[float, list[str]]] = await page.evaluate(
        """() => new Promise((done) => {
            const moved = [];
            const where = ({ x, y, width, height }) => [x, y, width, height].map(Math.round).join(" ");
            const told = (source) => `${source.node?.outerHTML?.slice(0, 80)}: `
                + `${where(source.previousRect)} -> ${where(source.currentRect)}`;
            const add = (list) => list.getEntries().forEach(
                (shift) => moved.push([shift.value, shift.sources.map(told)]));
            new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
            requestAnimationFrame(() => setTimeout(() => done(moved), 20));
        })"""
    )
    return moved


async def assert_accessible(page: Page) -> None:
    """Axe finds nothing serious or critical (WCAG 2.2 A and AA), and nothing was complained of so far.

    Needs a page with JavaScript.
    """
    assert [each for each in _complaints.get(page, []) if "the server responded with" not in each] == []
    found = await Axe().run(page)
    bad = [
        f"{fault['id']}: {fault['help']}: {[node['target'] for node in fault['nodes']]}"
        for fault in found.response["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]
    assert bad == [], f"{page.url} is not accessible"


def install_chromium(translate: Callable[[str], None]) -> None:
    """Pages are never left untested: where Chromium is missing, Debian's or Ubuntu's package is installed."""
    with (Path(tempfile.gettempdir()) / "landelijk-lenen-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(CHROMIUM).exists():
            return
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            pytest.fail(f"there is no {CHROMIUM}: install Chromium, the pages are tested in it")
        translate(
            "no chromium is installed: installing it with apt-get (the pages are tested in a real browser)"
        )
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
        if subprocess.run(install, env=environment, check=False).returncode != 0:
            subprocess.run(["apt-get", "update"], env=environment, check=True)
            subprocess.run(install, env=environment, check=True)
