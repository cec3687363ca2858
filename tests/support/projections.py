"""A log full of realistic lives: registered, confirmed, expired, registered again, blocked, taken back.

Real aggregates and encrypted data, written by COPY: the same bytes as through the use cases, only faster.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from registration.application.repository import Card, encrypt_card, encrypt_details
from registration.domain.guest import Admission, Guest, Renewal
from registration.domain.login_link import LinkRequest
from registration.domain.verdict import PatronDetails, Reason, Refused, Valid
from shared.event_log import DataKey, EventLog, MasterKeys, make_mapper
from shared.kernel.library_card import Isil, person_ref
from shared.projections import LiveView, View
from shared.projections.rebuild import Source, rebuild
from tests.support.home_libraries import LIBRARIES, ends_on, isil_of

CONFIRMED_AFTER = timedelta(days=1)
MEMBER = PatronDetails("J. Jansen")
WINDOW = 500  # guests whose events are mixed in the log
PERSON_REF_KEY = b"p" * 32
FIRST_NAMES = (
    "Anna",
    "Bram",
    "Cor",
    "Daan",
    "Elise",
    "Fatima",
    "Geert",
    "Hülya",
    "Ida",
    "Jan",
    "Karin",
    "Lotte",
)
INFIXES = ("", "", "", "de", "van", "van den", "ter")
SURNAMES = (
    "Jansen",
    "Vries",
    "Bakker",
    "Visser",
    "Smit",
    "Mulder",
    "Bos",
    "Peters",
    "Hendriks",
    "Brûlé",
    "Yılmaz",
)
STREETS = ("Brink", "Dorpsstraat", "Kerklaan", "Oosterweg", "Singel")
BRANCHES = {"1001": ("9453", "9454", "9455"), "2002": ("9453",)}
EVENT_COLUMNS = (
    *("originator_id", "originator_version", "notification_id", "event_id", "correlation_id", "causation_id"),
    *("recorded_at", "topic", "caused_by", "state"),
)


class Lives:
    """Makes up guests, the same ones for the same seed; `master_keys` wrap their keys."""

    def __init__(self, seed: int, master_keys: MasterKeys) -> None:
        self._random = random.Random(seed)
        self._master_keys = master_keys
        self._mapper = make_mapper()

    def one(self, number: int) -> tuple[Guest, str, bytes]:
        """A guest with all that happened to it, its organisation, and its wrapped key."""
        key, row = self._master_keys.create(UUID(int=self._random.getrandbits(128), version=4))
        organisation = "1001" if self._random.random() < 0.8 else "2002"
        began = datetime(2023, 1, 1, 9, tzinfo=UTC) + timedelta(minutes=self._random.randrange(1_300_000))
        guest = self._registered(number, organisation, key, began)
        self._live_on(guest, key, began, number)
        return guest, organisation, row.values["wrapped"]  # type: ignore[return-value]

    def _registered(self, number: int, organisation: str, key: DataKey, now: datetime) -> Guest:
        card, home = f"09{number:08d}", self._home(number)
        admission = Admission(
            organisation=organisation,
            branch=self._random.choice(BRANCHES[organisation]),
            home_isil=home,
            person_ref=person_ref(PERSON_REF_KEY, home, card),
            card_has_chip=self._random.random() < 0.7,
            identity_document_checked=True,
            subscription_code="346",
            sealed_card=encrypt_card(Card(card), key),
            sealed_details=encrypt_details(self._details(), key),
            link_request=LinkRequest("existing", f"acc-{number:08d}"),
        )
        return Guest.register(key.subject_id, admission, today=now.date(), now=now)

    def _home(self, number: int) -> str:
        return "NL-070288"

    def _live_on(self, guest: Guest, key: DataKey, now: datetime, number: int) -> None:
        guest.grant_strips(now=now)
        guest.confirm_link(f"acc-{number:08d}", too_late=False, now=now)
        details = self._details()
        for chance, what in ((0.9, "confirmed"), (0.4, "expired"), (0.7, "renewed"), (0.1, "blocked")):
            now += timedelta(days=self._random.randrange(1, 120), hours=self._random.randrange(8))
            if self._random.random() > chance:
                continue
            if what == "renewed":
                if guest.state.status.value == "expired":
                    renewal = Renewal(guest.state.sealed_card, encrypt_details(details, key))
                    guest.reregister("04", renewal, today=now.date(), now=now)
            else:
                guest.check_term(self._verdict(what, details, now.date()), today=now.date(), now=now)
        if self._random.random() < 0.02:
            guest.deregister("verkeerde pas", today=now.date(), now=now)

    def _verdict(self, what: str, details: PatronDetails, today: date) -> Valid | Refused:
        if what == "confirmed":
            return Valid(details, today + timedelta(days=self._random.randrange(100, 700)), "0")
        return Refused(
            (Reason.EXPIRED if what == "expired" else Reason.FINES,), because_ended=what == "expired"
        )

    def _details(self) -> PatronDetails:
        pick = self._random.choice
        name = " ".join(filter(None, (pick(FIRST_NAMES), pick(INFIXES), pick(SURNAMES))))
        born = date(1940, 1, 1) + timedelta(days=self._random.randrange(28_000))
        return PatronDetails(
            name, born, f"{pick(STREETS)} {self._random.randrange(200)}, Roden", "a@example.org"
        )

    def rows(
        self, first: int, count: int
    ) -> tuple[list[list[Any]], list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """Events (still without positions, in order of time), data keys and index rows of so many guests."""
        events: list[tuple[datetime, list[Any]]] = []
        keys, index = [], []
        for number in range(first, first + count):
            guest, organisation, wrapped = self.one(number)
            keys.append((guest.id, wrapped))
            known_as = Isil.parse(guest.state.home_isil).base
            index.append((organisation, guest.state.person_ref, guest.id, known_as))
            events += [(event.timestamp, self._row(event)) for event in guest.collect_events()]
        events.sort(key=lambda each: each[0])
        return [row for _, row in events], keys, index

    def _row(self, event: Any) -> list[Any]:
        stored = self._mapper.to_stored_event(event)
        return [
            *(stored.originator_id, stored.originator_version, 0, uuid4(), uuid4(), None),
            *(event.timestamp, stored.topic, "k.bakker", stored.state),
        ]


class CountryLives(Lives):
    """Registered once, confirmed once, with the details and the end that the library still has for most."""

    libraries = LIBRARIES

    def _home(self, number: int) -> str:
        return isil_of(number % self.libraries)

    def _details(self) -> PatronDetails:
        return MEMBER

    def _live_on(self, guest: Guest, key: DataKey, now: datetime, number: int) -> None:
        now += CONFIRMED_AFTER
        answer = Valid(MEMBER, ends_on(number), "0")
        guest.check_term(answer, today=now.date(), now=now)


class FourLibraries(CountryLives):
    """The same in a country of four."""

    libraries = 4


Window = tuple[int, int, MasterKeys, type[Lives]]


def _window(arguments: Window) -> Any:
    first, count, master_keys, lives = arguments
    return lives(first, master_keys).rows(first, count)


def _windows(guests: int, first: int, master_keys: MasterKeys, lives: type[Lives]) -> Iterator[Window]:
    for start in range(first, first + guests, WINDOW):
        yield start, min(WINDOW, first + guests - start), master_keys, lives


async def fill_log(
    url: str, guests: int, master_keys: MasterKeys, first: int = 0, lives: type[Lives] = Lives
) -> int:
    """Add so many guests to the log of a database that has its schema; the log's position afterwards.

    Only for a log that no other process writes to meanwhile.
    """
    connection = await asyncpg.connect(url)
    loop = asyncio.get_running_loop()
    try:
        position = int(
            await connection.fetchval("SELECT coalesce(max(notification_id), 0) FROM stored_events")
        )
        with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as processes:
            windows = list(_windows(guests, first, master_keys, lives))
            for start in range(0, len(windows), 8):
                made = [loop.run_in_executor(processes, _window, each) for each in windows[start : start + 8]]
                for events, keys, index in await asyncio.gather(*made):
                    position = await write(connection, position, events, keys, index)
    finally:
        await connection.close()
    return position


async def write(
    connection: asyncpg.Connection | PoolConnectionProxy, position: int, events: Any, keys: Any, index: Any
) -> int:
    """Append by COPY behind a position, with the side rows; the position afterwards."""
    for number, row in enumerate(events, start=position + 1):
        row[2] = number
    async with connection.transaction():
        await connection.copy_records_to_table("stored_events", records=events, columns=EVENT_COLUMNS)
        await connection.copy_records_to_table("data_keys", records=keys, columns=("subject_id", "wrapped"))
        columns = ("organisation", "person_ref", "guest_id", "known_as")
        await connection.copy_records_to_table("registrations", records=index, columns=columns)
    return position + len(events)


class Running(Protocol):
    """What a service of either kind has."""

    @property
    def pool(self) -> asyncpg.Pool: ...

    @property
    def log(self) -> EventLog: ...


async def follow_all(service: Running, views: Sequence[View], source: Source) -> None:
    """All views catch up with the log, as in the worker."""
    for view in views:
        live = LiveView(service.pool, service.log, source, view)
        while await live.step() < await service.log.position():
            pass


async def rebuild_all(views: Sequence[View], source: Source) -> None:
    """All views are rebuilt beside the live ones."""
    for view in views:
        await rebuild(source, view, lambda _: None)
