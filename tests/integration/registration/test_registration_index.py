"""The index and the term checks in PostgreSQL: the same results as their fakes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from registration.adapters.in_memory import InMemoryTermChecks
from registration.adapters.registration_index import PostgresTermChecks
from registration.adapters.tables import SCHEMA
from registration.application.answer_identity import RegistrationsQuery, list_registrations
from registration.application.check_term import check_term
from registration.application.dependencies import TermCheck, TermChecks
from registration.application.erase_guest import erase_personal_data
from registration.application.follow_aliases import AliasFollower
from registration.application.register_guest import register_guest
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.domain.errors import AlreadyRegistered, ReferencesIncomplete
from registration.domain.login_link import ExistingAccount, NewLoginAccount
from registration.domain.verdict import Reason, Refused, Unavailable
from shared.kernel.library_card import person_ref
from shared.platform.leases import Leases
from tests.support.registration import (
    CARD,
    GRONINGEN,
    PERSON_REF_KEY,
    RegistrationUseCases,
    member,
    on_day,
    registering,
)
from tests.support.servers import Databases, as_owner, migrated

NOON = datetime(2025, 9, 12, 12, tzinfo=UTC)
CANCELLED = Refused((Reason.EXPIRED,), because_ended=True)


@pytest.fixture(params=["memory", "postgres"])
def term_checks(request: pytest.FixtureRequest, pool: asyncpg.Pool) -> TermChecks:
    """Both kinds, one suite."""
    return InMemoryTermChecks() if request.param == "memory" else PostgresTermChecks(pool)


async def test_r12_the_last_check_is_remembered(term_checks: TermChecks) -> None:
    guest_id = uuid4()
    assert await term_checks.last(guest_id) is None
    refused = TermCheck(
        "refused", NOON, reasons=("fines", "card-lost"), answered_at=NOON, changed=("status",)
    )
    await term_checks.record(guest_id, refused)
    assert await term_checks.last(guest_id) == refused
    stale = TermCheck("unavailable", NOON + timedelta(hours=1), stale=True)
    await term_checks.record(guest_id, stale)
    assert await term_checks.last(guest_id) == replace(stale, answered_at=NOON)


async def test_r12_an_earlier_check_that_is_written_late_changes_nothing(term_checks: TermChecks) -> None:
    guest_id = uuid4()
    late = TermCheck("valid", NOON)
    await term_checks.record(guest_id, late)
    await term_checks.record(guest_id, TermCheck("unavailable", NOON - timedelta(seconds=1), stale=True))
    assert await term_checks.last(guest_id) == late


async def test_the_life_of_a_guest_in_postgresql(registration_use_cases: RegistrationUseCases) -> None:
    guest_id = await registration_use_cases.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    registration_use_cases.clock.moment = on_day(date(2025, 9, 15))
    registration_use_cases.says(CANCELLED)
    await check_term(guest_id, registration_use_cases.context(), registration_use_cases.deps)
    assert (await registration_use_cases.show(guest_id)).header == "Ongeldig  Opgezegd, reden overig"
    registration_use_cases.says(member())
    command = ReregisterGuest(guest_id, "04", ExistingAccount("acc-jan"))
    registration_use_cases.clock.moment += timedelta(minutes=1)
    await reregister_guest(command, registration_use_cases.context(), registration_use_cases.deps)
    guest = await registration_use_cases.show(guest_id)
    assert (guest.status, guest.home.verdict, guest.lending_strips) == ("valid", "valid", 125)
    assert guest.details == member().details
    registration_use_cases.says(Unavailable("down"))
    registration_use_cases.clock.moment += timedelta(days=1)
    await check_term(guest_id, registration_use_cases.context(), registration_use_cases.deps)
    assert (await registration_use_cases.show(guest_id)).term.stale


async def test_i5_references_are_one_persons_when_a_guest_of_any_organisation_has_both(
    registration_use_cases: RegistrationUseCases,
) -> None:
    """From the number that one library knew to the one that another knows, and to no other person."""
    at = registration_use_cases

    def ref(card: str) -> str:
        return person_ref(PERSON_REF_KEY, GRONINGEN, card)

    for scanned, answered, organisation in ((CARD, "1", "1001"), ("1", "2", "2002"), ("3", "4", "1001")):
        at.says(member(answered), scanned)
        await at.register(scanned, organisation=organisation)
    known = at.deps.registrations
    refs = {card: ref(card) for card in (CARD, "1", "2", "3", "4", "5")}
    found = {
        card: {other for other in refs if refs[other] in await known.references_of(refs[card])}
        for card in refs
    }
    jan, kees = {CARD, "1", "2"}, {"3", "4"}
    assert found == {**dict.fromkeys(jan, jan), **dict.fromkeys(kees, kees), "5": {"5"}}


Query = Callable[[str], RegistrationsQuery]


@pytest.mark.parametrize(
    "query",
    [
        lambda _: RegistrationsQuery("1001", account_id="acc-jan"),
        lambda person: RegistrationsQuery("1001", person_ref=person),
        lambda person: RegistrationsQuery("1001", "acc-jan", person),
    ],
)
async def test_what_was_acknowledged_at_one_counter_is_listed_by_the_other(
    two_registrations: tuple[RegistrationUseCases, RegistrationUseCases], query: Query
) -> None:
    here, there = two_registrations
    person = person_ref(here.deps.person_ref_key, GRONINGEN, CARD)
    assert await list_registrations(query(person), there.deps, there.feed) == []
    guest_id = await here.register(account=ExistingAccount("acc-jan"))
    [found] = await list_registrations(query(person), there.deps, there.feed)
    assert found.guest_id == guest_id
    assert found.messages[0].data["login_account"] == {"choice": "existing", "account_id": "acc-jan"}


async def test_r19_no_table_has_anything_personal(
    registration_use_cases: RegistrationUseCases, pool: asyncpg.Pool
) -> None:
    await registration_use_cases.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    for table in ("stored_events", "registrations", "registration_accounts", "data_keys", "term_checks"):
        rows = await pool.fetch(f"SELECT * FROM {table}")  # noqa: S608
        text = repr([list(row.values()) for row in rows])
        for personal in (CARD, "Jansen", "Brink", "jan@example.org", "jan.jansen"):
            assert personal not in text, table


OLD, NEW = "NL-083424", GRONINGEN
MERGED = {OLD: NEW}


async def test_i10_libraries_merge_while_two_processes_work(
    two_registrations: tuple[RegistrationUseCases, RegistrationUseCases], pool: asyncpg.Pool
) -> None:
    here, there = two_registrations
    older = replace(there.deps, isil_aliases={})
    for counter in (here, there):
        counter.home.answers(OLD, CARD, member())
        counter.home.answers(NEW, CARD, member())
    here.deps = replace(here.deps, isil_aliases=MERGED)
    query = RegistrationsQuery("1001", person_ref=person_ref(PERSON_REF_KEY, NEW, CARD), home_isil=NEW)

    command = registering(home_isil=OLD)
    guest_id = (await register_guest(command, there.context(), older)).resource_id
    twice = (await register_guest(registering(home_isil=NEW), there.context(), older)).resource_id
    with pytest.raises(ReferencesIncomplete):
        await list_registrations(query, here.deps, here.feed)
    worker = AliasFollower(here.deps, Leases(pool))
    await worker.run()
    found = await list_registrations(query, here.deps, here.feed)
    assert {guest.guest_id for guest in found} == {guest_id, twice}
    with pytest.raises(ReferencesIncomplete):
        await list_registrations(query, older, there.feed)

    await erase_personal_data(twice, here.context().metadata, here.deps)
    [found_one] = await list_registrations(query, here.deps, here.feed)
    assert found_one.guest_id == guest_id
    with pytest.raises(AlreadyRegistered):
        await register_guest(registering(home_isil=NEW), there.context(), older)
    await erase_personal_data(guest_id, here.context().metadata, here.deps)
    for table in ("registrations", "shared_references"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_i10_rows_of_an_earlier_release_and_of_an_older_file_are_completed(
    registration_use_cases: RegistrationUseCases, pool: asyncpg.Pool
) -> None:
    counter = registration_use_cases
    counter.home.answers(OLD, CARD, member())
    counter.deps = replace(counter.deps, isil_aliases={})
    command = registering(home_isil=OLD)
    guest_id = (await register_guest(command, counter.context(), counter.deps)).resource_id
    await pool.execute("UPDATE registrations SET known_as = DEFAULT")
    counter.deps = replace(counter.deps, isil_aliases=MERGED)
    await AliasFollower(counter.deps, Leases(pool)).run()
    query = RegistrationsQuery("1001", person_ref=person_ref(PERSON_REF_KEY, NEW, CARD), home_isil=NEW)
    [found] = await list_registrations(query, counter.deps, counter.feed)
    assert found.guest_id == guest_id
    assert {row["known_as"] for row in await pool.fetch("SELECT known_as FROM registrations")} == {
        f"{NEW} {OLD}"
    }


async def test_i10_an_event_that_cannot_be_read_holds_up_no_upgrade(databases: Databases) -> None:
    url, guest_id = databases(), uuid4()
    names = [script.name for script in SCHEMA]
    await migrated(url, SCHEMA[: names.index("registration_0005_merged_libraries")])
    async with as_owner(url) as owner:
        await owner.execute(
            """
            INSERT INTO stored_events (notification_id, recorded_at, originator_id, originator_version, topic,
                state, event_id, caused_by, correlation_id)
            VALUES (1, now(), $1, 1, 'registration.guest-registered', $2, $1, 'tests', $1)
            """,
            guest_id,
            b"\xff, and no JSON",
        )
        await owner.execute("INSERT INTO registrations VALUES ('1001', 'a reference', $1)", guest_id)
    await migrated(url, SCHEMA)
    async with as_owner(url) as owner:
        assert await owner.fetchval("SELECT known_as FROM registrations") == ""
