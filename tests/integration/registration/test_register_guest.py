"""R10 in PostgreSQL: one guest per person per library, whichever counter is first, and all or nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from registration.application.dependencies import Context
from registration.application.register_guest import register_guest
from registration.domain.errors import AlreadyRegistered
from registration.domain.login_link import ExistingAccount
from shared.event_log import SideRow, SideRowConflict
from tests.support.registration import CARD, RegistrationUseCases, member, registering

OLD_CARD = "0990139362"
TwoRegistrations = tuple[RegistrationUseCases, RegistrationUseCases]


def won(outcomes: Sequence[object]) -> list[UUID]:
    return [outcome for outcome in outcomes if isinstance(outcome, UUID)]


def lost(outcomes: Sequence[object]) -> list[UUID]:
    return [outcome.guest_id for outcome in outcomes if isinstance(outcome, AlreadyRegistered)]


async def counts(pool: asyncpg.Pool) -> list[int]:
    """How many registration events, guests in the index and keys there are."""
    queries = [
        "SELECT count(*) FROM stored_events WHERE topic = 'registration.guest-registered'",
        "SELECT count(DISTINCT guest_id) FROM registrations",
        "SELECT count(*) FROM data_keys",
    ]
    return [await pool.fetchval(query) for query in queries]


async def test_r10_two_counters_at_once_give_one_event(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    outcomes = await asyncio.gather(
        *(use_cases.register() for _ in range(10) for use_cases in two_registrations),
        return_exceptions=True,
    )
    assert len(won(outcomes)) == 1
    assert lost(outcomes) == won(outcomes) * 19
    assert await counts(pool) == [1, 1, 1]


async def test_r10_many_people_at_two_counters_at_once_are_each_registered_once(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    cards = [f"099100{number:04}" for number in range(40)]
    for use_cases in two_registrations:
        for card in cards:
            use_cases.says(member(card), card=card)
    outcomes = await asyncio.gather(
        *(use_cases.register(card) for card in cards for use_cases in two_registrations),
        return_exceptions=True,
    )
    assert len(won(outcomes)) == len(set(won(outcomes))) == 40
    assert sorted(lost(outcomes)) == sorted(won(outcomes))
    assert await counts(pool) == [40, 40, 40]


async def test_r10_either_number_at_two_counters_gives_one_guest(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    for use_cases in two_registrations:
        use_cases.says(member(CARD), card=OLD_CARD)
    outcomes = await asyncio.gather(
        *(
            use_cases.register(card)
            for card in (CARD, OLD_CARD, CARD, OLD_CARD)
            for use_cases in two_registrations
        ),
        return_exceptions=True,
    )
    assert len(won(outcomes)) == 1
    assert len(lost(outcomes)) == 7
    [guest_id] = won(outcomes)
    with pytest.raises(AlreadyRegistered) as caught:
        await two_registrations[1].register(OLD_CARD)
    assert caught.value.guest_id == guest_id
    assert (await counts(pool))[0] == 1


async def test_r21_registering_afresh_at_two_counters_gives_one_event(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    guest_id = await two_registrations[0].register()
    await two_registrations[0].deregister(guest_id)
    outcomes = await asyncio.gather(
        *(use_cases.register() for _ in range(5) for use_cases in two_registrations),
        return_exceptions=True,
    )
    assert won(outcomes) == [guest_id]
    assert lost(outcomes) == [guest_id] * 9
    assert await counts(pool) == [2, 1, 1]


async def test_a_conflict_on_the_commands_own_row_writes_nothing(
    registration_use_cases: RegistrationUseCases, pool: asyncpg.Pool
) -> None:
    first, second = keyed(registration_use_cases), keyed(registration_use_cases)
    await register_guest(registering(), first, registration_use_cases.deps)
    other = "0990139313"
    registration_use_cases.says(member(other), card=other)
    before = await counts(pool)
    with pytest.raises(SideRowConflict) as caught:
        await register_guest(registering(other), second, registration_use_cases.deps)
    assert caught.value.constraint == "idempotency_keys_pkey"
    assert await counts(pool) == before


async def test_one_key_at_two_counters_at_once_registers_once(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    outcomes = await asyncio.gather(
        *(
            register_guest(registering(), keyed(use_cases), use_cases.deps)
            for use_cases in two_registrations
            for _ in range(3)
        ),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, AlreadyRegistered | SideRowConflict)]
    assert len(refused) == 5
    assert await counts(pool) == [1, 1, 1]
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 1


def keyed(use_cases: RegistrationUseCases) -> Context:
    """The context of a request with the one Idempotency-Key of these tests."""

    def rows(guest_id: UUID) -> list[SideRow]:
        values = {"subject": "clerk", "route": "POST /v1/guests", "key": "1", "body_hash": b"1"}
        return [SideRow("idempotency_keys", {**values, "resource_id": guest_id})]

    return replace(use_cases.context(), side_rows=rows)


async def test_a_counter_that_vanishes_in_mid_registration_leaves_all_or_nothing(
    two_registrations: TwoRegistrations, pool: asyncpg.Pool
) -> None:
    """Commands are cancelled and connections cut at any moment: events, index and keys stay in step."""
    chance = random.Random(11)
    cards = [f"099101{number:04}" for number in range(60)]
    for use_cases in two_registrations:
        for card in cards:
            use_cases.says(member(card), card=card)
    tasks = [
        asyncio.create_task(use_cases.register(card, ExistingAccount(f"acc-{card}")))
        for card in cards
        for use_cases in two_registrations
    ]
    for task in chance.sample(tasks, 40):
        await asyncio.sleep(chance.random() / 200)
        task.cancel()
    await cut_writers(pool)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    [registered, indexed, keys] = await counts(pool)
    assert registered == indexed == keys >= len(won(outcomes))
    assert await pool.fetchval("SELECT count(*) FROM registration_accounts") == registered
    for guest_id in won(outcomes):
        assert (await two_registrations[0].show(guest_id)).status == "valid"


async def cut_writers(pool: asyncpg.Pool) -> None:
    """Cut the connections that append, as a failing network would."""
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database() AND query LIKE '%append_events%'"
    )
