"""The index and the term checks in PostgreSQL: the same answers as their fakes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from registration.adapters.in_memory import InMemoryTermChecks
from registration.adapters.registration_index import PostgresTermChecks
from registration.application.answer_identity import RegistrationsQuery, list_registrations
from registration.application.check_term import check_term
from registration.application.dependencies import TermCheck, TermChecks
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.domain.login_link import ExistingAccount, NewLoginAccount
from registration.domain.verdict import Reason, Refused, Unavailable
from shared.kernel.library_card import person_ref
from tests.support.registration import CARD, GRONINGEN, Desk, member, on_day

NOON = datetime(2025, 9, 12, 12, tzinfo=UTC)
CANCELLED = Refused((Reason.EXPIRED,), because_ended=True)


@pytest.fixture(params=["memory", "postgres"])
def term_checks(request: pytest.FixtureRequest, pool: asyncpg.Pool) -> TermChecks:
    """Both kinds, one suite."""
    return InMemoryTermChecks() if request.param == "memory" else PostgresTermChecks(pool)


async def test_r12_the_last_check_is_remembered(term_checks: TermChecks) -> None:
    guest_id = uuid4()
    assert await term_checks.last(guest_id) is None
    refused = TermCheck("refused", NOON, reasons=("fines", "card-lost"))
    await term_checks.record(guest_id, refused)
    assert await term_checks.last(guest_id) == refused
    stale = TermCheck("unavailable", NOON + timedelta(hours=1), stale=True)
    await term_checks.record(guest_id, stale)
    assert await term_checks.last(guest_id) == stale


async def test_r12_an_earlier_check_that_is_written_late_changes_nothing(term_checks: TermChecks) -> None:
    guest_id = uuid4()
    late = TermCheck("valid", NOON)
    await term_checks.record(guest_id, late)
    await term_checks.record(guest_id, TermCheck("unavailable", NOON - timedelta(seconds=1), stale=True))
    assert await term_checks.last(guest_id) == late


async def test_the_life_of_a_guest_in_postgresql(desk: Desk) -> None:
    guest_id = await desk.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    desk.clock.moment = on_day(date(2025, 9, 15))
    desk.says(CANCELLED)
    await check_term(guest_id, desk.context(), desk.deps)
    assert (await desk.show(guest_id)).header == "Ongeldig  Opgezegd, reden overig"
    desk.says(member())
    command = ReregisterGuest(guest_id, "04", ExistingAccount("acc-jan"))
    desk.clock.moment += timedelta(minutes=1)
    await reregister_guest(command, desk.context(), desk.deps)
    guest = await desk.show(guest_id)
    assert (guest.status, guest.home.verdict, guest.lending_strips) == ("valid", "valid", 125)
    assert guest.details == member().details
    desk.says(Unavailable("down"))
    desk.clock.moment += timedelta(days=1)
    await check_term(guest_id, desk.context(), desk.deps)
    assert (await desk.show(guest_id)).term.stale


Query = Callable[[str], RegistrationsQuery]


@pytest.mark.parametrize(
    "query",
    [
        lambda _: RegistrationsQuery("1001", account_id="acc-jan"),
        lambda person: RegistrationsQuery("1001", person_ref=person),
        lambda person: RegistrationsQuery("1001", "acc-jan", person),
    ],
)
async def test_a6_what_was_acknowledged_at_one_counter_is_told_by_the_other(
    desks: tuple[Desk, Desk], query: Query
) -> None:
    here, there = desks
    person = person_ref(here.deps.person_ref_key, GRONINGEN, CARD)
    assert await list_registrations(query(person), there.deps, there.feed) == []
    guest_id = await here.register(account=ExistingAccount("acc-jan"))
    [found] = await list_registrations(query(person), there.deps, there.feed)
    assert found.guest_id == guest_id
    assert found.messages[0].data["login_account"] == {"choice": "existing", "account_id": "acc-jan"}


async def test_r19_no_table_holds_anything_personal(desk: Desk, pool: asyncpg.Pool) -> None:
    await desk.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    for table in ("stored_events", "registrations", "registration_accounts", "data_keys", "term_checks"):
        rows = await pool.fetch(f"SELECT * FROM {table}")  # noqa: S608
        text = repr([list(row.values()) for row in rows])
        for personal in (CARD, "Jansen", "Brink", "jan@example.org", "jan.jansen"):
            assert personal not in text, table
