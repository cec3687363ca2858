"""A real browser for the pages, headless Chromium, and a clerk who uses nothing but the keyboard."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

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
THIS_MACHINE = frozenset({"127.0.0.1", "localhost"})
_elsewhere: WeakKeyDictionary[Browser, list[str]] = WeakKeyDictionary()
MOST_TABS = 60


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Chromium, until the context ends. By then no page may have asked another server for anything."""
    install_chromium(translate=print)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        _elsewhere[browser] = []
        try:
            yield browser
        finally:
            await browser.close()
        assert _elsewhere[browser] == [], "a page asked another server"


def watch(context: BrowserContext, hosts: frozenset[str] = THIS_MACHINE) -> None:
    """Remember every request to other hosts than these; `open_browser` fails of them."""
    assert context.browser is not None
    elsewhere = _elsewhere[context.browser]

    def note(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"data", "blob", "about"} and parts.hostname not in hosts:
            elsewhere.append(url)

    context.on("request", lambda request: note(request.url))


async def new_page(
    browser: Browser,
    *,
    javascript: bool = True,
    language: str = "nl-NL",
    width: int = 1280,
    hosts: frozenset[str] = THIS_MACHINE,
) -> Page:
    """A page with cookies of its own. What its JavaScript or its policy complains of is remembered."""
    context = await browser.new_context(
        java_script_enabled=javascript,
        locale=language,
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",
    )
    watch(context, hosts)
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
            const described = (source) => `${source.node?.outerHTML?.slice(0, 80)}: `
                + `${where(source.previousRect)} -> ${where(source.currentRect)}`;
            const add = (list) => list.getEntries().forEach(
                (shift) => moved.push([shift.value, shift.sources.map(described)]));
            new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
            requestAnimationFrame(() => setTimeout(() => done(moved), 20));
        })"""
    )
    return moved


def assert_no_complaints(page: Page) -> None:
    """Neither its JavaScript nor its policy complained of anything so far."""
    assert [each for each in _complaints.get(page, []) if "the server responded with" not in each] == []


WIDTHS = (320, 390, 683, 1366)
"""Pixels: the smallest (WCAG 1.4.10), a phone, the desk's screen at 200 % (WCAG 1.4.4), the desk's screen."""
OF_LAYOUT = ("color-contrast", "target-size", "scrollable-region-focusable")
OF_COLOUR = ("color-contrast", "link-in-text-block")
"""The rules of axe that another width, or other colours, can break."""
_AXE = Axe()
# Contrast that axe cannot decide is a fault too. Without rules: all that hold for WCAG 2.2 A and AA.
_FAULTS = """async (rules) => {
    const options = { resultTypes: ["violations", "incomplete"] };
    options.rules = { "target-size": { enabled: true } };
    const found = await axe.run(rules.length ? { ...options, runOnly: rules, preload: false } : options);
    const undecided = found.incomplete.filter((fault) => fault.id === "color-contrast");
    return [...found.violations, ...undecided].flatMap((fault) => fault.nodes.map((node) =>
        `${fault.id}: ${fault.help}: ${node.target} ${node.any.map((each) => each.message).join(" ")}`));
}"""


async def assert_accessible(page: Page, *, moves_on: bool = False) -> None:
    """Axe finds nothing, at any width and in any colours (WCAG 2.2 A and AA), and no width scrolls sideways.

    Nothing was complained of so far. A page that `moves_on` by itself is only looked at as it is. Needs a
    page with JavaScript.
    """
    assert_no_complaints(page)
    found = {"as it is": await _axe_finds(page)} if moves_on else await faults_of(page)
    assert {mode: faults for mode, faults in found.items() if faults} == {}, f"{page.url} is not accessible"


async def faults_of(page: Page) -> dict[str, list[str]]:
    """What is wrong with a page, by how it is shown: at each width, in the dark and in forced colours."""
    size, found = page.viewport_size, {}
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 768})
        rules = () if width in {min(WIDTHS), max(WIDTHS)} else OF_LAYOUT
        found[f"{width} pixels wide"] = await _too_wide(page) + await _axe_finds(page, *rules)
    await page.emulate_media(color_scheme="dark")
    found["in the dark"] = await _axe_finds(page, *OF_COLOUR)
    await page.emulate_media(color_scheme="light", forced_colors="active")
    found["in forced colours"] = await _axe_finds(page, *OF_COLOUR)
    await page.emulate_media(color_scheme="null", forced_colors="null")
    if size is not None:
        await page.set_viewport_size(size)
    return found


async def _axe_finds(page: Page, *rules: str) -> list[str]:
    if await page.evaluate("typeof axe === 'undefined'"):
        await page.evaluate(_AXE.axe_script)
    found: list[str] = await page.evaluate(_FAULTS, list(rules))
    return found


async def _too_wide(page: Page) -> list[str]:
    found: list[str] = await page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [...document.body.querySelectorAll("*")]
                .filter((each) => each.getBoundingClientRect().right > innerWidth)
                .map((each) => `scrolls sideways: ${each.outerHTML.slice(0, 80)}`)"""
    )
    return found


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


class Keyboard:
    """What the clerk does; a mouse is never touched."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def types(self, text: str) -> None:
        """Into whatever has the focus."""
        await self.page.keyboard.type(text)

    async def enters(self, text: str = "") -> None:
        """What a scanner does: the text, then Enter; and waits for the page that comes of it."""
        await self.types(text)
        async with self.page.expect_navigation():
            await self.page.keyboard.press("Enter")
        await self.is_ready()

    async def is_ready(self) -> None:
        """A browser gives the focus to where a page wants it a moment after the page is there."""
        wanted = self.page.locator("[autofocus]").first
        if await wanted.count():
            await expect(wanted).to_be_focused()

    async def presses(self, *keys: str) -> None:
        for key in keys:
            await self.page.keyboard.press(key)

    async def reaches(self, name: str, key: str = "Tab") -> None:
        """Press Tab or Shift+Tab until what has the focus bears this text, or is the field with this name."""
        for _ in range(MOST_TABS):
            if await self.has_focus(name):
                return
            await self.page.keyboard.press(key)
        raise AssertionError(f"{MOST_TABS} Tabs lead nowhere near {name!r} on {self.page.url}")

    async def has_focus(self, name: str) -> bool:
        focused = self.page.locator(":focus")
        if await focused.count() == 0:
            return False
        text = (await focused.inner_text()).strip()
        return name in {text, await focused.get_attribute("name")}

    async def goes(self, name: str) -> None:
        """Reach the button or link with this text, and press Enter."""
        await self.reaches(name)
        await self.enters()

    async def opens(self, address: str) -> None:
        await self.page.goto(address)
        await self.is_ready()

    async def signs_in(self, address: str, person: str = "Marijke Visser") -> None:
        await self.opens(f"{address}/")
        await self.goes(person)
        await self.page.wait_for_url(f"{address}/")
        await self.is_ready()

    async def sees(self, text: str) -> None:
        """Somewhere on the page, to the letter; two spaces are two spaces."""
        shown = self.page.locator("main, #status").filter(has_text=re.compile(re.escape(text)))
        await expect(shown.first).to_be_visible()
