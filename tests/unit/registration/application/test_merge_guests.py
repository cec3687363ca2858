"""Two guests that are one person, merged through the use cases (R18)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from registration.application.answer_identity import RegistrationsQuery, list_registrations
from registration.application.check_term import check_term
from registration.application.erase_guest import erase_personal_data
from registration.application.link_login_account import request_account_link, unlink_login_account
from registration.application.merge_guests import Merge, MergeGuests, merge_guests, show_merge
from registration.application.receive_message import receive_message
from registration.domain.errors import AlreadyRegistered, GuestErased, GuestNotFound
from registration.domain.guest import Guest
from registration.domain.login_link import ExistingAccount, LinkRequest
from registration.domain.merge import (
    DifferentBirthDates,
    MergedBefore,
    MergedIntoDeregistered,
    MergedIntoMergedRecord,
    MergedWithErased,
    MergedWithItself,
    NothingEqual,
    Sameness,
)
from registration.domain.verdict import Unavailable, Valid
from shared.event_log import ErasureLedger, InMemoryEventLog, Metadata, SideRow
from shared.messaging.envelope import Message
from tests.support.registration import JAN, RegistrationUseCases, member
from tests.support.scenario import noon
from tests.unit.registration.guest_events import SEPT_12

SECOND_CARD = "0990139313"
THIRD_CARD = "0990139321"
OPERATOR = Metadata("beheer", uuid4())
LINK = LinkRequest("existing", "acc-jan")
SURVIVOR, OTHER = UUID(int=0xA), UUID(int=0xB)


async def second_record(
    in_memory_registration: RegistrationUseCases, card: str = SECOND_CARD, **changes: Any
) -> UUID:
    """The same person, whom home knows under another card."""
    details = replace(JAN, **{"name": "Jansen, J.", "address": "BRINK 1 GRONINGEN", **changes})
    in_memory_registration.says(Valid(details, None, card), card)
    return await in_memory_registration.register(card)


async def merge(in_memory_registration: RegistrationUseCases, guest_id: UUID, into: UUID) -> int:
    command = MergeGuests(guest_id, into)
    return (
        await merge_guests(command, in_memory_registration.context(), in_memory_registration.deps)
    ).position


async def preview(in_memory_registration: RegistrationUseCases, guest_id: UUID, into: UUID) -> Merge:
    return await show_merge(MergeGuests(guest_id, into), "1001", in_memory_registration.deps)


async def test_r18_a_preview_shows_what_would_win_and_writes_nothing(
    in_memory_registration: RegistrationUseCases,
) -> None:
    first = await in_memory_registration.register(account=ExistingAccount("acc-jan"))
    second = await second_record(in_memory_registration)
    await request_account_link(
        second, ExistingAccount("acc-jj"), in_memory_registration.context(), in_memory_registration.deps
    )
    before = await in_memory_registration.log.position()
    shown = await preview(in_memory_registration, second, first)
    assert (shown.merged, shown.same_by, shown.blocked) == (False, Sameness.NAME_BIRTH_DATE_ADDRESS, None)
    assert (shown.kept_account, shown.released_account) == ("acc-jan", "acc-jj")
    assert (shown.guest.guest_id, shown.into.guest_id) == (second, first)
    assert await in_memory_registration.log.position() == before


async def test_r18_rows_stay_with_each_and_the_survivor_shows_the_others(
    in_memory_registration: RegistrationUseCases,
) -> None:
    first, second = await in_memory_registration.register(), await second_record(in_memory_registration)
    rows = {each: (await in_memory_registration.show(each)).contributions for each in (first, second)}
    await merge(in_memory_registration, second, first)
    assert (await in_memory_registration.topics())[-2:] == ["duplicate-merged", "guests-merged"]
    survivor, merged_record = (
        await in_memory_registration.show(first),
        await in_memory_registration.show(second),
    )
    assert (survivor.status, survivor.contributions, survivor.merged_into) == ("valid", rows[first], None)
    assert [(each.guest_id, each.contributions) for each in survivor.merged_from] == [(second, rows[second])]
    assert (merged_record.status, merged_record.merged_into, merged_record.merged_from) == (
        "deregistered",
        first,
        [],
    )
    assert (merged_record.header, merged_record.contributions) == ("Samengevoegd", rows[second])


async def test_r18_merged_again_changes_nothing(in_memory_registration: RegistrationUseCases) -> None:
    first, second = await in_memory_registration.register(), await second_record(in_memory_registration)
    position = await merge(in_memory_registration, second, first)
    assert await merge(in_memory_registration, second, first) == position
    shown = await preview(in_memory_registration, second, first)
    assert (shown.merged, shown.blocked, shown.released_account) == (True, None, None)


async def test_r18_the_same_home_card_is_enough_whatever_the_name(
    in_memory_registration: RegistrationUseCases,
) -> None:
    """Home gave out the second number in place of the first, and says so when it is asked about the first."""
    first, second = (
        await in_memory_registration.register(),
        await second_record(in_memory_registration, name="J. de Vries", address=None),
    )
    assert isinstance((await preview(in_memory_registration, first, second)).blocked, NothingEqual)
    in_memory_registration.says(Valid(JAN, None, SECOND_CARD))
    assert (await in_memory_registration.check(first)).home.reasons == ("card-of-another-guest",)
    for one, other in ((first, second), (second, first)):
        assert (await preview(in_memory_registration, one, other)).same_by is Sameness.HOME_CARD
    await merge(in_memory_registration, first, second)
    assert (await in_memory_registration.show(first)).merged_into == second


async def test_r18_what_cannot_be_merged_is_refused_and_nothing_is_written(
    in_memory_registration: RegistrationUseCases,
) -> None:
    first = await in_memory_registration.register()
    younger = await second_record(in_memory_registration, birth_date=date(2005, 1, 1))
    gone = await second_record(in_memory_registration, THIRD_CARD)
    await in_memory_registration.deregister(gone)
    for guest_id, into, kind in (
        (younger, first, DifferentBirthDates),
        (first, first, MergedWithItself),
        (first, gone, MergedIntoDeregistered),
    ):
        before = await in_memory_registration.log.position()
        assert type((await preview(in_memory_registration, guest_id, into)).blocked) is kind
        with pytest.raises(kind):
            await merge(in_memory_registration, guest_id, into)
        assert await in_memory_registration.log.position() == before
    await merge(
        in_memory_registration, gone, first
    )  # a record that was a mistake may still lead to the right one


async def test_r18_a_merged_record_is_not_merged_again(in_memory_registration: RegistrationUseCases) -> None:
    first, second, third = (
        await in_memory_registration.register(),
        await second_record(in_memory_registration),
        await second_record(in_memory_registration, THIRD_CARD),
    )
    await merge(in_memory_registration, second, first)
    for guest_id, into, kind in (
        (second, third, MergedBefore),
        (third, second, MergedIntoMergedRecord),
        (first, second, MergedIntoMergedRecord),
    ):
        with pytest.raises(kind):
            await merge(in_memory_registration, guest_id, into)


async def test_r18_merged_records_follow_their_guest_into_the_next(
    in_memory_registration: RegistrationUseCases,
) -> None:
    first, second, third = (
        await in_memory_registration.register(),
        await second_record(in_memory_registration),
        await second_record(in_memory_registration, THIRD_CARD),
    )
    await merge(in_memory_registration, second, first)
    await merge(in_memory_registration, first, third)
    assert [(await in_memory_registration.show(each)).merged_into for each in (first, second)] == [
        third,
        third,
    ]
    assert {each.guest_id for each in (await in_memory_registration.show(third)).merged_from} == {
        first,
        second,
    }
    assert (await in_memory_registration.show(first)).merged_from == []


async def test_r18_r20_another_organisations_guest_does_not_exist(
    in_memory_registration: RegistrationUseCases,
) -> None:
    own, others = (
        await in_memory_registration.register(),
        await in_memory_registration.register(organisation="2002"),
    )
    for guest_id, into in ((own, others), (others, own)):
        with pytest.raises(GuestNotFound):
            await merge(in_memory_registration, guest_id, into)
        with pytest.raises(GuestNotFound):
            await preview(in_memory_registration, guest_id, into)


async def test_r18_merged_into_each_other_at_once_one_survives(
    in_memory_registration: RegistrationUseCases,
) -> None:
    first, second = await in_memory_registration.register(), await second_record(in_memory_registration)
    outcomes = await asyncio.gather(
        merge(in_memory_registration, first, second),
        merge(in_memory_registration, second, first),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes if isinstance(each, Exception)] == [MergedIntoMergedRecord]
    merged = [(await in_memory_registration.show(each)).merged_into for each in (first, second)]
    assert sorted(merged, key=str) in (sorted([None, first], key=str), sorted([None, second], key=str))


async def test_r18_the_merged_card_is_registered_already_as_the_survivor(
    in_memory_registration: RegistrationUseCases,
) -> None:
    first, second = await in_memory_registration.register(), await second_record(in_memory_registration)
    await merge(in_memory_registration, second, first)
    in_memory_registration.says(Unavailable("timed out"), SECOND_CARD)
    with pytest.raises(AlreadyRegistered) as refused:
        await in_memory_registration.register(SECOND_CARD)
    assert refused.value.guest_id == first
    in_memory_registration.says(member(SECOND_CARD), SECOND_CARD)
    await in_memory_registration.deregister(first)
    assert await in_memory_registration.register(SECOND_CARD) == first
    assert (await in_memory_registration.show(first)).card_number == SECOND_CARD
    assert (await in_memory_registration.show(second)).merged_into == first


async def test_r18_home_is_not_asked_about_a_merged_record(
    in_memory_registration: RegistrationUseCases,
) -> None:
    first, second = await in_memory_registration.register(), await second_record(in_memory_registration)
    await merge(in_memory_registration, second, first)
    in_memory_registration.home.asked.clear()
    await check_term(second, in_memory_registration.context(), in_memory_registration.deps)
    assert in_memory_registration.home.asked == []


async def test_r18_the_link_is_released_and_a_late_answer_changes_nothing(
    in_memory_registration: RegistrationUseCases,
) -> None:
    first, second = await in_memory_registration.register(), await second_record(in_memory_registration)
    await request_account_link(
        second, ExistingAccount("acc-jj"), in_memory_registration.context(), in_memory_registration.deps
    )
    await merge(in_memory_registration, second, first)
    linked = {"account_id": "acc-jj", "actor_id": str(uuid4())}
    message = Message(
        *(
            uuid4(),
            "/identity/x",
            "login-account-linked.v1",
            second,
            noon(SEPT_12),
            2,
            1,
            uuid4(),
            None,
            linked,
        )
    )
    await receive_message(message, SideRow("inbox", {}), deps=in_memory_registration.deps)
    assert [(await in_memory_registration.show(each)).login_link.state for each in (first, second)] == [
        "none",
        "none",
    ]


async def test_r18_a_question_about_the_person_or_the_account_finds_the_survivor(
    in_memory_registration: RegistrationUseCases,
) -> None:
    first, second = (
        await in_memory_registration.register(account=ExistingAccount("acc-jj")),
        await second_record(in_memory_registration),
    )
    await request_account_link(
        second, ExistingAccount("acc-jj"), in_memory_registration.context(), in_memory_registration.deps
    )
    person = (await in_memory_registration.deps.store.load(Guest, second)).state.person_ref
    await merge(in_memory_registration, second, first)
    for query in (RegistrationsQuery("1001", person_ref=person), RegistrationsQuery("1001", "acc-jj")):
        found = await list_registrations(query, in_memory_registration.deps, in_memory_registration.feed)
        assert [each.guest_id for each in found] == [second, first]


async def erase(in_memory_registration: RegistrationUseCases, guest_id: UUID) -> None:
    await erase_personal_data(guest_id, OPERATOR, in_memory_registration.deps)


async def test_r18_r19_erasing_the_survivor_erases_the_person_s_other_records(
    in_memory_registration: RegistrationUseCases, tmp_path: Path
) -> None:
    ledger = ErasureLedger(tmp_path / "ledger.jsonl")
    in_memory_registration.deps = replace(in_memory_registration.deps, erasure_ledger=ledger)
    first, second = await in_memory_registration.register(), await second_record(in_memory_registration)
    await merge(in_memory_registration, second, first)
    await erase(in_memory_registration, first)
    for guest_id in (first, second):
        shown = await in_memory_registration.show(guest_id)
        assert (shown.status, shown.details, shown.merged_into, shown.merged_from) == (
            "erased",
            None,
            None,
            [],
        )
        assert await in_memory_registration.deps.data_keys.get(guest_id) is None
    assert isinstance(in_memory_registration.log, InMemoryEventLog)
    assert list(in_memory_registration.log.rows("registrations")) == []
    assert (tmp_path / "ledger.jsonl").read_text().count(str(second)) == 1
    assert await in_memory_registration.register(SECOND_CARD) not in {first, second}


async def test_r18_r19_erasing_the_merged_record_leaves_the_survivor_without_a_second_list(
    in_memory_registration: RegistrationUseCases,
) -> None:
    first, second = await in_memory_registration.register(), await second_record(in_memory_registration)
    await merge(in_memory_registration, second, first)
    await erase(in_memory_registration, second)
    survivor, merged_record = (
        await in_memory_registration.show(first),
        await in_memory_registration.show(second),
    )
    assert (survivor.status, survivor.details, survivor.merged_from) == ("valid", JAN, [])
    assert (merged_record.status, merged_record.merged_into) == ("erased", None)
    with pytest.raises(MergedWithErased):
        await merge(in_memory_registration, first, second)
    with pytest.raises(GuestErased):
        await unlink_login_account(
            second, "vergissing", in_memory_registration.context(), in_memory_registration.deps
        )
    third = await second_record(in_memory_registration, THIRD_CARD)
    await merge(in_memory_registration, first, third)
    assert [each.guest_id for each in (await in_memory_registration.show(third)).merged_from] == [first]
