"""Registers guests with 64 writers: create, encrypt, and save with the data key (ADR 0001, ADR 0005).

The baseline is the library's PostgreSQL application, which creates, encrypts and saves such guests but stores
no data key. Two more figures include work for which the library has nothing: the rows of the registration
index, and the whole use case. As in `save_aggregates`, a save has one event: guests get no lending strips.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from statistics import median
from time import perf_counter
from uuid import UUID, uuid4

import asyncpg

from infra.local.postgres import Postgres
from registration.adapters.account_handles import SealedAccountHandles, SealedReferrals
from registration.adapters.in_memory import InMemoryHomeLibraries, InMemoryLookups, SetClock
from registration.adapters.registration_index import PostgresRegistrations, PostgresTermChecks
from registration.adapters.tables import SCHEMA
from registration.application.dependencies import Context, Dependencies, Organisation
from registration.application.register_guest import RegisterGuest, register_guest
from registration.application.repository import account_rows, person_row
from registration.domain.guest import Guest
from registration.domain.login_link import ExistingAccount
from registration.domain.verdict import Valid
from registration.read_models.guest_directory import GuestDirectory
from shared.event_log import AggregateStore, DataKey, PostgresDataKeys, create_id
from tests.benchmarks.contestants import library, our_log, share_out
from tests.benchmarks.guests import DETAILS, MASTER_KEYS, METADATA, NOW, PERSON_REF_KEY, registered
from tests.benchmarks.results import Result
from tests.benchmarks.save_aggregates import check_that_all_are_there
from tests.support.registration import HANDLE_LIFETIME, ListedAccounts, ListedPrefixes
from tests.support.servers import Databases, owner_url

ROUNDS = 5
WRITERS = 64
GUESTS = 6000
GUESTS_OF_LIBRARY = 300
THREADS = (1, 8, 16)
TARGET = 15.0
HOME = "NL-070288"


class _Numbers:
    """Card numbers that were not used before."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, count: int) -> list[str]:
        first, self._next = self._next, self._next + count
        return [f"08{number:08d}" for number in range(first, self._next)]


async def measure(server: Postgres) -> Sequence[Result]:
    """Measure all contestants in turns."""
    databases = Databases(server)
    ours_at, library_at = databases("bench", SCHEMA), owner_url(databases("bench"))
    numbers, ours, indexed, asked = _Numbers(), list[float](), list[float](), list[float]()
    theirs: dict[int, list[float]] = {threads: [] for threads in THREADS}
    async with our_log(ours_at) as (store, pool):
        counter = _counter(store, pool)
        for _ in range(ROUNDS):
            ours.append(
                await share_out(numbers.take(GUESTS), WRITERS, partial(_register, store, index=False))
            )
            indexed.append(
                await share_out(numbers.take(GUESTS), WRITERS, partial(_register, store, index=True))
            )
            cards = numbers.take(GUESTS)
            _are_members(counter, cards)
            asked.append(await share_out(cards, WRITERS, lambda card: _at_the_counter(card, counter)))
            for threads in THREADS:
                theirs[threads].append(_turn_of_library(library_at, numbers, threads))
        await check_that_all_are_there(pool, 3 * ROUNDS * GUESTS)
    threads = min(THREADS, key=lambda count: median(theirs[count]))
    library_rate = GUESTS_OF_LIBRARY / median(theirs[threads])
    name = f"library, best of {'/'.join(map(str, THREADS))} threads ({threads})"
    return [
        Result(what, "events/s", _rate(seconds), library_rate, name, "higher", target)
        for what, seconds, target in (
            ("create, encrypt and save, 64 writers", ours, TARGET),
            ("the same with index rows", indexed, None),
            ("the whole use case of the counter", asked, None),
        )
    ]


def _rate(seconds: Sequence[float]) -> float:
    return GUESTS / median(seconds)


async def _register(store: AggregateStore, card: str, *, index: bool) -> None:
    key, key_row = MASTER_KEYS.create(create_id())
    guest = registered(key, card, strips=False)
    rows = [key_row]
    if index:
        rows.append(person_row("1001", guest.state.person_ref, guest.id, guest.state.home_isil))
        rows += account_rows("1001", guest.state.link.account_id, guest.id)
    await store.save(guest, metadata=METADATA, side_rows=rows)


def _counter(store: AggregateStore, pool: asyncpg.Pool) -> Dependencies:
    organisation = Organisation(
        "1001", "Biblionet Drenthe", frozenset({"NL-070297"}), {"9453": "Roden"}, grants_strips=False
    )
    return Dependencies(
        store=store,
        data_keys=PostgresDataKeys(pool, MASTER_KEYS),
        home_libraries=InMemoryHomeLibraries([HOME]),
        card_prefixes=ListedPrefixes(),
        login_accounts=ListedAccounts(),
        account_handles=SealedAccountHandles([bytes(32)], HANDLE_LIFETIME, SetClock(NOW)),
        referrals=SealedReferrals(bytes(32), SetClock(NOW)),
        registrations=PostgresRegistrations(pool),
        guests_by_person=GuestDirectory(pool),
        term_checks=PostgresTermChecks(pool),
        lookups=InMemoryLookups(),
        organisations={"1001": organisation},
        isil_aliases={},
        person_ref_key=PERSON_REF_KEY,
        clock=SetClock(NOW),
    )


def _are_members(counter: Dependencies, cards: Sequence[str]) -> None:
    home = counter.home_libraries
    if not isinstance(home, InMemoryHomeLibraries):
        raise TypeError("a benchmark needs a home library in memory")
    for card in cards:
        home.answers(HOME, card, Valid(DETAILS, date(2026, 12, 31), card))


async def _at_the_counter(card: str, counter: Dependencies) -> None:
    command = RegisterGuest(card, HOME, "9453", True, True, ExistingAccount(f"acc-{card}"))
    await register_guest(command, Context("1001", METADATA), counter)


def _turn_of_library(url: str, numbers: _Numbers, threads: int) -> float:
    cards = numbers.take(GUESTS_OF_LIBRARY)
    with library(url, threads) as application, ThreadPoolExecutor(threads) as executor:
        list(executor.map(application.repository_warm, range(threads)))

        def register(card: str) -> UUID:
            key: DataKey
            key, _ = MASTER_KEYS.create(uuid4())
            guest: Guest = registered(key, card, strips=False)
            application.save(guest)
            return guest.id

        started = perf_counter()
        list(executor.map(register, cards))
        return perf_counter() - started
