"""Erasures in PostgreSQL (R19): at once with everything else, whichever is first, nothing is left."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from registration.adapters.registration_index import PostgresTermChecks
from registration.application.check_term import check_term
from registration.application.dependencies import TermCheck
from registration.application.erase_guest import erase_personal_data
from registration.application.link_login_account import request_account_link
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.domain.errors import AlreadyRegistered, GuestErased, HomePatronNotFound
from registration.domain.guest import Guest
from registration.domain.login_link import ExistingAccount, NewLoginAccount
from registration.domain.verdict import Reason, Refused
from shared.event_log import MasterKeys, Metadata, PostgresDataKeys, SubjectFailures
from shared.kernel.errors import RuleBroken
from shared.platform.postgres import open_pool
from tests.support.eventually import eventually
from tests.support.registration import RegistrationUseCases, member, on_day
from tests.support.servers import owner_url

TwoRegistrations = tuple[RegistrationUseCases, RegistrationUseCases]

OPERATOR = Metadata("beheer", uuid4())
CANCELLED = Refused((Reason.EXPIRED,), because_ended=True)
TABLES = {"data_keys": "subject_id", "registrations": "guest_id", "registration_accounts": "guest_id"}
ROUNDS = 12


async def erase(registration_use_cases: RegistrationUseCases, guest_id: UUID) -> None:
    await erase_personal_data(guest_id, OPERATOR, registration_use_cases.deps)


async def after(turns: int, work: Awaitable[Any]) -> Any:
    """The work, begun a little later each round, so that all orders come up."""
    for _ in range(turns):
        await asyncio.sleep(0.0005)
    return await work


async def at_once(*work: Awaitable[Any]) -> list[Any]:
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, RuleBroken):
            raise outcome
    return outcomes


async def nothing_is_left(
    guest_id: UUID, registration_use_cases: RegistrationUseCases, pool: asyncpg.Pool
) -> None:
    for table, column in {**TABLES, "term_checks": "guest_id"}.items():
        query = f"SELECT count(*) FROM {table} WHERE {column} = $1"  # noqa: S608
        assert await pool.fetchval(query, guest_id) == 0, table
    guest = await registration_use_cases.deps.store.load(Guest, guest_id)
    assert guest.state.status == "erased"
    topics = [event.event_type for event in await registration_use_cases.log.stream(guest_id)]
    assert topics.index("registration.personal-data-erased") == len(topics) - 1


async def test_r19_erased_and_registered_at_once_is_the_old_guest_or_a_new_one(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    here, there = two_registrations
    guest_id = await here.register()
    for turns in range(ROUNDS):
        [_, outcome] = await at_once(erase(here, guest_id), after(turns, there.register()))
        await nothing_is_left(guest_id, here, pool)
        if isinstance(outcome, AlreadyRegistered):
            assert outcome.guest_id == guest_id
            outcome = await there.register()
        assert isinstance(outcome, UUID)
        assert outcome != guest_id
        guest_id = outcome
        assert (await there.show(guest_id)).details is not None


async def test_r19_erased_and_reregistered_at_once_is_erased(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    here, there = two_registrations
    for turns in range(ROUNDS):
        guest_id = await here.register()
        for use_cases in two_registrations:
            use_cases.clock.moment += timedelta(days=1)
        here.says(CANCELLED)
        await check_term(guest_id, here.context(), here.deps)
        here.says(member())
        command = ReregisterGuest(guest_id, "04", NewLoginAccount("jan.jansen", "jan@example.org"))
        again = reregister_guest(command, there.context(), there.deps)
        [_, outcome] = await at_once(after(turns % 4, erase(here, guest_id)), after(turns, again))
        assert not isinstance(outcome, HomePatronNotFound)
        await nothing_is_left(guest_id, here, pool)


async def test_r19_erased_and_linked_at_once_is_erased(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    here, there = two_registrations
    for turns in range(ROUNDS):
        guest_id = await here.register()
        choice = NewLoginAccount("jan.jansen", "jan@example.org")
        link = request_account_link(guest_id, choice, there.context(), there.deps)
        [_, outcome] = await at_once(erase(here, guest_id), after(turns, link))
        assert not isinstance(outcome, RuleBroken) or isinstance(outcome, GuestErased)
        await nothing_is_left(guest_id, here, pool)


async def test_r19_erased_and_checked_at_once_leaves_no_check_and_no_new_number(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    here, there = two_registrations
    for turns in range(ROUNDS):
        here.says(member())
        guest_id = await here.register()
        there.says(member(f"099020{turns:04}"))
        check = check_term(guest_id, there.context(), there.deps)
        await at_once(erase(here, guest_id), after(turns, check))
        await nothing_is_left(guest_id, here, pool)


async def test_r19_two_erasures_at_once_are_one_event(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    guest_id = await two_registrations[0].register(account=ExistingAccount("acc-jan"))
    await at_once(*(erase(use_cases, guest_id) for use_cases in two_registrations for _ in range(4)))
    await nothing_is_left(guest_id, two_registrations[0], pool)


async def test_r19_a_check_on_its_way_is_waited_for_and_one_that_comes_later_is_dropped(
    registration_use_cases: RegistrationUseCases, pool: asyncpg.Pool
) -> None:
    guest_id = await registration_use_cases.register()
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO term_checks VALUES ($1, 'refused', now(), false, ARRAY['fines'])", guest_id
        )
        erasing = asyncio.create_task(erase(registration_use_cases, guest_id))
        await eventually(lambda: waiting_for_a_lock(pool))
        late = TermCheck("refused", on_day(date(2025, 9, 12)), reasons=("fines",))
        recording = asyncio.create_task(PostgresTermChecks(pool).record(guest_id, late))
    await asyncio.gather(erasing, recording)
    await nothing_is_left(guest_id, registration_use_cases, pool)


async def test_r19_wrapping_keys_again_never_brings_one_back(
    registration_use_cases: RegistrationUseCases, pool: asyncpg.Pool, database: str
) -> None:
    """The key is read, erased by another, and only then written."""
    old, new = os.urandom(32), os.urandom(32)
    _, row = MasterKeys([old]).create(subject_id := uuid4())
    await registration_use_cases.log.append([], [row])
    async with await open_pool(owner_url(database), min_size=1, max_size=2) as owners:
        failures = SubjectFailures("test")
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO erasures (subject_id) VALUES ($1)", subject_id)
            rewrapping = asyncio.create_task(
                PostgresDataKeys(owners, MasterKeys([new, old])).rewrap(failures)
            )
            await eventually(lambda: waiting_for_a_lock(owners))
        assert await rewrapping == 0
    assert await pool.fetchval("SELECT count(*) FROM data_keys") == 0


async def waiting_for_a_lock(pool: asyncpg.Pool) -> bool:
    return bool(
        await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


@pytest.mark.parametrize("table", TABLES)
async def test_r19_an_old_export_brings_no_row_of_an_erased_guest_back(
    registration_use_cases: RegistrationUseCases, pool: asyncpg.Pool, table: str
) -> None:
    guest_id = await registration_use_cases.register(account=ExistingAccount("acc-jan"))
    exported = await pool.fetch(f"SELECT * FROM {table} WHERE {TABLES[table]} = $1", guest_id)  # noqa: S608
    assert exported
    await erase(registration_use_cases, guest_id)
    async with pool.acquire() as connection:
        await connection.copy_records_to_table(table, records=[tuple(row) for row in exported])
    await nothing_is_left(guest_id, registration_use_cases, pool)
