"""A counter whose guests are checked at night, and a home library that remembers who was asked about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import UUID

from registration.adapters.in_memory import InMemoryHomeLibraries
from registration.application.nightly_check import run_nightly_check
from registration.application.nightly_report import NightlyReport
from registration.application.show_guest import GuestView, show_guest
from registration.bootstrap import view_source
from registration.domain.term_check import NightlyCheck
from registration.domain.verdict import (
    Verdict,
)
from registration.read_models.terms_due import VIEW as TERMS_DUE
from shared.platform.leases import Leases
from tests.support.registration import on_day
from tests.support.registration_service import (
    HOME,
    TODAY,
    Counter,
    open_counter,
    registering,
)
from tests.support.views import follow_all

TOMORROW = TODAY + timedelta(days=1)


class AskedHome(InMemoryHomeLibraries):
    """Remembers who was asked about, and does something before each answer."""

    def __init__(self, home: InMemoryHomeLibraries) -> None:
        self.__dict__.update(home.__dict__)
        self.asked: list[tuple[str, str]] = []
        self.before: Callable[[str, str], Awaitable[Verdict | None]] | None = None

    async def ask(self, isil: str, card_number: str) -> Verdict:
        self.asked.append((isil, card_number))
        if self.before is not None and (instead := await self.before(isil, card_number)) is not None:
            return instead
        return await super().ask(isil, card_number)


class NightCounter:
    """A counter whose guests are checked at night."""

    def __init__(self, counter: Counter, home: AskedHome) -> None:
        self.counter, self.home, self.service = counter, home, counter.service

    async def register(self, card: str, isil: str = HOME) -> UUID:
        self.counter.member(card, isil)
        async with self.counter.client(scope="counter", organisation="1001") as client:
            answer = await client.post("/v1/guests", json=registering(card, home_isil=isil))
        assert answer.status_code == 201, answer.text
        self.home.asked.clear()
        return UUID(answer.json()["guest_id"])

    async def at(self, moment: datetime) -> None:
        """It is then, and the view of the due has caught up."""
        self.counter.clock.moment = moment
        await follow_all(self.service, [TERMS_DUE], view_source(self.service.settings))

    async def run(self, day: date = TOMORROW) -> NightlyReport:
        await self.at(on_day(day))
        return await self.run_now(day)

    async def run_now(self, day: date = TOMORROW) -> NightlyReport:
        """That day's night, whatever the clock says."""
        report = await run_nightly_check(
            NightlyCheck(day),
            "operator",
            self.service.nightly_checks,
            Leases(self.service.pool),
            self.service.deps,
        )
        assert report is not None
        return report

    async def show(self, guest_id: UUID) -> GuestView:
        return await show_guest(guest_id, "1001", self.service.deps)


@asynccontextmanager
async def open_night(database: str, folder: Path) -> AsyncIterator[NightCounter]:
    """A counter over this database, its home library replaced by one that remembers."""
    async with open_counter(database, folder) as counter:
        home = AskedHome(counter.home)
        object.__setattr__(counter.service.deps, "home_libraries", home)
        yield NightCounter(counter, home)
