"""Libraries that merge after a registration: the index follows before it answers (I10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from registration.adapters.in_memory import InMemoryRegistrations
from registration.application import follow_aliases
from registration.application.answer_identity import (
    RegistrationsQuery,
    is_home_library,
    is_own_library,
    list_registrations,
    new_account,
)
from registration.application.dependencies import IndexState
from registration.application.erase_guest import erase_personal_data
from registration.application.follow_aliases import AliasFollower, complete_references, is_behind
from registration.application.register_guest import register_guest
from registration.domain.errors import AlreadyRegistered, ReferencesIncomplete
from registration.domain.login_link import LoginAccountChoice, NewLoginAccount
from shared.event_log import Metadata
from shared.kernel.library_card import Isil, person_ref
from tests.support.registration import (
    CARD,
    PERSON_REF_KEY,
    RegistrationUseCases,
    member,
    registering,
    registration_in_memory,
)

OLD, NEW, NEWEST, OTHER = "NL-000001", "NL-000002", "NL-000003", "NL-000009"
SECOND_CARD = "0990200000"
MERGED = {OLD: NEW}


class Leases:
    """The task is always free."""

    async def take(self, name: str) -> object:
        raise NotImplementedError


@pytest.fixture
def counter() -> RegistrationUseCases:
    """A counter before any library merged."""
    made = registration_in_memory()
    index = InMemoryRegistrations(made.log)  # type: ignore[arg-type]
    made.deps = replace(made.deps, registrations=index, isil_aliases={})
    for isil in (OLD, NEW, NEWEST, OTHER):
        made.home._verdicts[isil] = {}
        made.home.answers(isil, CARD, member())
    return made


def aliases_are(counter: RegistrationUseCases, aliases: Mapping[str, str]) -> None:
    """This process has read the table; the index does not follow it yet."""
    counter.deps = replace(counter.deps, isil_aliases=aliases)


async def libraries_merge(counter: RegistrationUseCases, aliases: Mapping[str, str]) -> None:
    """The table changes, and the worker has done its work."""
    aliases_are(counter, aliases)
    await counter.deps.registrations.follow(aliases)
    await complete_references(aliases, counter.deps)


async def register(
    counter: RegistrationUseCases, isil: str, card: str = CARD, account: LoginAccountChoice | None = None
) -> UUID:
    command = registering(card, account, home_isil=isil)
    return (await register_guest(command, counter.context(), counter.deps)).resource_id


async def found(counter: RegistrationUseCases, isil: str, card: str = CARD) -> list[UUID]:
    """Whom identity finds for an account on this card of this library."""
    query = RegistrationsQuery("1001", person_ref=person_ref(PERSON_REF_KEY, isil, card), home_isil=isil)
    return [guest.guest_id for guest in await list_registrations(query, counter.deps, counter.feed)]


@pytest.mark.parametrize(("registered", "account"), [(OLD, NEW), (NEW, OLD)])
async def test_i10_a_guest_is_found_under_the_isil_of_before_and_of_after(
    counter: RegistrationUseCases, registered: str, account: str
) -> None:
    guest_id = await register(counter, registered)
    assert await found(counter, account) == []
    await libraries_merge(counter, MERGED)
    assert await found(counter, account) == [guest_id]
    assert await found(counter, registered) == [guest_id]


async def test_i10_until_the_index_has_followed_nobody_is_said_to_be_no_guest(
    counter: RegistrationUseCases,
) -> None:
    guest_id = await register(counter, OLD)
    aliases_are(counter, MERGED)
    for isil in (OLD, NEW):
        with pytest.raises(ReferencesIncomplete):
            await found(counter, isil)
    assert await found(counter, OTHER) == []  # members of other libraries do not wait
    await counter.deps.registrations.follow(MERGED)
    with pytest.raises(ReferencesIncomplete):
        await found(counter, NEW)
    await complete_references(MERGED, counter.deps)
    assert await found(counter, NEW) == [guest_id]


async def test_i10_a_table_that_changes_during_a_registration_leaves_no_guest_without_references(
    counter: RegistrationUseCases,
) -> None:
    table: dict[str, str] = {}
    aliases_are(counter, table)
    guests_of, looks = counter.deps.registrations.guests_of, 0

    async def changing(organisation: str, person_ref: str) -> Sequence[UUID]:
        nonlocal looks
        looks += 1
        if looks == 2:  # the references are known, their rows are not written yet
            table.update(MERGED)
        return await guests_of(organisation, person_ref)

    counter.deps.registrations.guests_of = changing  # type: ignore[method-assign]
    guest_id = await register(counter, OLD)
    assert table == MERGED
    await libraries_merge(counter, MERGED)
    assert await found(counter, OLD) == [guest_id]
    assert await found(counter, NEW) == [guest_id]


async def test_i10_by_account_and_without_a_person_nobody_waits(counter: RegistrationUseCases) -> None:
    guest_id = await register(counter, OLD, account=NewLoginAccount("jan", "jan@example.org"))
    account_id = (await counter.show(guest_id)).login_link.account_id
    aliases_are(counter, MERGED)
    query = RegistrationsQuery("1001", account_id)
    [guest] = await list_registrations(query, counter.deps, counter.feed)
    assert guest.guest_id == guest_id


async def test_i10_a_process_with_an_older_table_does_not_answer_for_these_libraries(
    counter: RegistrationUseCases,
) -> None:
    await register(counter, OLD)
    await libraries_merge(counter, MERGED)
    aliases_are(counter, {})
    for isil in (OLD, NEW):
        with pytest.raises(ReferencesIncomplete):
            await found(counter, isil)
        with pytest.raises(ReferencesIncomplete):
            await is_own_library("1001", isil, counter.deps)
    assert await found(counter, OTHER) == []


async def test_i10_what_a_process_with_an_older_table_registers_is_completed_too(
    counter: RegistrationUseCases,
) -> None:
    await libraries_merge(counter, MERGED)
    aliases_are(counter, {})
    guest_id = await register(counter, OLD)
    aliases_are(counter, MERGED)
    with pytest.raises(ReferencesIncomplete):
        await found(counter, NEW)
    await complete_references(MERGED, counter.deps)
    assert await found(counter, NEW) == [guest_id]


async def test_i10_a_long_work_says_after_each_batch_that_it_got_further(
    counter: RegistrationUseCases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would lose its lease in the middle, again and again."""
    monkeypatch.setattr(follow_aliases, "AT_ONCE", 2)
    cards = [f"099020000{number}" for number in range(5)]
    for card in cards:
        counter.home.answers(OLD, card, member(card))
        await register(counter, OLD, card)
    aliases_are(counter, MERGED)
    await counter.deps.registrations.follow(MERGED)
    batches = list[int]()

    async def got_further() -> None:
        batches.append(len(batches))

    await complete_references(MERGED, counter.deps, got_further)
    assert len(batches) == 3
    assert not is_behind(await counter.deps.registrations.state(), MERGED)


async def test_r10_nobody_is_registered_again_under_the_other_isil(counter: RegistrationUseCases) -> None:
    guest_id = await register(counter, OLD)
    await libraries_merge(counter, MERGED)
    for table in (MERGED, {}):  # the second is another counter, which has the older table still
        aliases_are(counter, table)
        for isil in (OLD, NEW):
            with pytest.raises(AlreadyRegistered) as refused:
                await register(counter, isil)
            assert refused.value.guest_id == guest_id


@pytest.mark.parametrize("last", [{OLD: NEW, NEW: NEWEST}, {OLD: NEWEST, NEW: NEWEST}, {NEW: NEWEST}])
async def test_i10_libraries_that_merge_again_and_again(
    counter: RegistrationUseCases, last: Mapping[str, str]
) -> None:
    guest_id = await register(counter, OLD)
    await libraries_merge(counter, MERGED)
    await libraries_merge(counter, last)  # the third forgets the first merger: it stays known
    for isil in (OLD, NEW, NEWEST):
        assert await found(counter, isil) == [guest_id]


async def test_i10_a_reference_stays_known_when_the_alias_is_removed(counter: RegistrationUseCases) -> None:
    guest_id = await register(counter, OLD)
    await libraries_merge(counter, MERGED)
    await libraries_merge(counter, {})
    for isil in (OLD, NEW):
        assert await found(counter, isil) == [guest_id]


async def test_i10_every_card_number_that_the_guest_ever_had_counts(counter: RegistrationUseCases) -> None:
    counter.home.answers(OLD, SECOND_CARD, member(CARD))
    guest_id = await register(counter, OLD, SECOND_CARD)
    await counter.deregister(guest_id)
    assert await register(counter, OLD, CARD) == guest_id  # its last event knows one number only
    await libraries_merge(counter, MERGED)
    assert await found(counter, NEW, CARD) == await found(counter, NEW, SECOND_CARD) == [guest_id]


@pytest.mark.parametrize("gone", ["deregistered", "erased"])
async def test_i10_of_two_records_under_both_isils_the_registered_one_is_found(
    counter: RegistrationUseCases, gone: str
) -> None:
    guest_id, twice = await register(counter, OLD), await register(counter, NEW)
    await libraries_merge(counter, MERGED)
    assert set(await found(counter, NEW)) == {guest_id, twice}
    if gone == "deregistered":
        await counter.deregister(twice)
    else:
        await erase_personal_data(twice, Metadata("operator", twice), counter.deps)
    assert guest_id in await found(counter, NEW)
    with pytest.raises(AlreadyRegistered) as refused:
        await register(counter, NEW)
    assert refused.value.guest_id == guest_id


async def test_r19_after_an_erasure_no_reference_is_left(counter: RegistrationUseCases) -> None:
    guest_id, twice = await register(counter, OLD), await register(counter, NEW)
    await libraries_merge(counter, MERGED)
    for erased in (guest_id, twice):
        await erase_personal_data(erased, Metadata("operator", erased), counter.deps)
    log: Any = counter.log
    assert log.rows("registrations") == log.rows("shared_references") == []
    assert await found(counter, NEW) == await found(counter, OLD) == []


async def test_i10_a_guest_who_cannot_be_read_stops_no_other(counter: RegistrationUseCases) -> None:
    unreadable, guest_id = await register(counter, OLD), await register(counter, OTHER)
    log: Any = counter.log
    log.rows("data_keys")[:] = [
        {**row, "wrapped": b"damaged"} if row["subject_id"] == unreadable else row
        for row in log.rows("data_keys")
    ]
    await libraries_merge(counter, {OLD: NEW, OTHER: NEW})
    assert await found(counter, NEW) == [guest_id]


async def test_i2_the_home_library_of_a_guest_and_its_new_account_follow(
    counter: RegistrationUseCases,
) -> None:
    guest_id = await register(counter, OLD, account=NewLoginAccount("jan", "jan@example.org"))
    assert not await is_home_library(guest_id, NEW, counter.deps)
    aliases_are(counter, MERGED)
    with pytest.raises(ReferencesIncomplete):  # another process may know better
        await is_home_library(guest_id, NEW, counter.deps)
    await libraries_merge(counter, MERGED)
    assert await is_home_library(guest_id, NEW, counter.deps)
    wanted = await new_account(guest_id, None, counter.deps)
    assert wanted is not None
    assert wanted.home_isil == NEW


async def test_i4_a_library_that_merged_into_the_organisation_is_its_own(
    counter: RegistrationUseCases,
) -> None:
    drenthe = "NL-070297"
    assert await is_own_library("1001", drenthe, counter.deps)
    assert not await is_own_library("1001", OLD, counter.deps)
    assert not await is_own_library("unknown", drenthe, counter.deps)
    await libraries_merge(counter, {OLD: drenthe})
    assert await is_own_library("1001", OLD, counter.deps)


@pytest.mark.parametrize(
    ("known_as", "home", "behind"),
    [
        ([], NEW, False),
        ([f"{OLD} {NEW}"], NEW, False),
        ([OLD], NEW, True),
        ([NEW], OLD, True),
        ([OLD], OTHER, False),
        ([""], OTHER, False),
        ([""], OLD, True),
        ([""], None, True),
        ([f"{OLD} {OTHER}"], OTHER, True),
        ([OLD], None, True),
        ([OTHER], None, False),
    ],
)
def test_i10_who_waits(known_as: list[str], home: str | None, behind: bool) -> None:
    state = IndexState(MERGED, known_as)
    assert is_behind(state, MERGED, Isil(home) if home else None) is behind


async def test_i10_of_two_workers_with_different_files_the_later_one_decides(
    counter: RegistrationUseCases,
) -> None:
    leases: Any = Leases()
    old, new = AliasFollower(counter.deps, leases), AliasFollower(counter.deps, leases)
    new.deps = replace(counter.deps, isil_aliases=MERGED)
    await old.run()
    await new.run()
    await old.run()  # its file did not change: it lets the other one decide
    assert (await counter.deps.registrations.state()).aliases == MERGED
