"""A clerk who uses nothing but keyboard and scanner, in a real browser."""

import re

from playwright.async_api import Page, expect

MOST_TABS = 60


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

    async def reaches(self, name: str) -> None:
        """Press Tab until what has the focus bears this text, or is the field with this name."""
        for _ in range(MOST_TABS):
            if await self.has_focus(name):
                return
            await self.page.keyboard.press("Tab")
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
