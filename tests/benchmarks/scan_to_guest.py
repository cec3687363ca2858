"""Times the way from the scan to the guest in a real browser, at the local stack, without the clerk's pauses.

The home library really speaks SIP2, and its prefix is found from the card, so the scan asks it at once. The
baseline is the desk, opened in the same browser: what a page costs without any work behind it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from time import perf_counter

from playwright.async_api import Page, expect

from infra.local.postgres import Postgres
from tests.benchmarks.results import Result
from tests.support.browser import new_page, open_browser, sign_in
from tests.support.stack import RunningStack

PATRONS = 60
WARM_UP = 5


async def measure(_server: Postgres) -> Sequence[Result]:
    """Measure on a stack of its own, which brings its own database."""
    with tempfile.TemporaryDirectory(prefix="bench-stack-") as folder:
        stack = RunningStack(Path(folder) / "run", "feed")
        await asyncio.to_thread(stack.start)  # it has a loop of its own
        try:
            async with open_browser() as browser:
                page = await new_page(browser)
                await sign_in(page, stack.description["registration_url"])
                return await _timed(page, stack.description["registration_url"])
        finally:
            stack.kill_if_running()


async def _timed(page: Page, address: str) -> Sequence[Result]:
    desks, details, guests = [], [], []
    for number in range(WARM_UP + PATRONS):
        began = perf_counter()
        await page.goto(f"{address}/")
        await expect(page.locator("#card_number")).to_be_focused()
        opened = perf_counter()
        await page.keyboard.insert_text(f"18447{number:05d}")
        scanned = perf_counter()
        await page.keyboard.press("Enter")
        await expect(page.locator("#username")).to_be_focused()
        shown = perf_counter()
        await page.locator("#choice-none").check()
        saving = perf_counter()
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/ingeschreven")
        desks.append(opened - began)
        details.append(shown - scanned)
        guests.append(shown - scanned + perf_counter() - saving)
    return [
        Result(f"{what}, p{percentile}", "ms", of(took), of(desks), f"the desk, p{percentile}", "lower")
        for percentile, of in ((50, _p50), (95, _p95))
        for what, took in (("scan to the patron's details", details), ("scan to the guest's page", guests))
    ]


def _p50(seconds: Sequence[float]) -> float:
    return 1000 * quantiles(seconds[WARM_UP:], n=100)[49]


def _p95(seconds: Sequence[float]) -> float:
    return 1000 * quantiles(seconds[WARM_UP:], n=100)[94]
