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
from registration.application.deregister_guest import deregister_guest
from registration.application.erase_guest import erase_personal_data
from registration.application.link_login_account import request_account_link, unlink_login_account
from registration.application.merge_guests import Merge, MergeGuests, merge_guests, show_merge
from registration.application.receive_message import receive_message
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
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
from tests.support.registration import JAN, Desk, make_desk, member
from tests.unit.registration.scenario import SEPT_12, noon

SECOND_CARD = "0990139313"
THIRD_CARD = "0990139321"
OPERATOR = Metadata("beheer", uuid4())
LINK = LinkRequest("existing", "acc-jan")
SURVIVOR, OTHER = UUID(int=0xA), UUID(int=0xB)


@pytest.fixture
def desk() -> Desk:
    return make_desk()


async def second_record(desk: Desk, card: str = SECOND_CARD, **changes: Any) -> UUID:
    """The same person, whom home answers for under another card."""
    details = replace(JAN, **{"name": "Jansen, J.", "address": "BRINK 1 GRONINGEN", **changes})
    desk.says(Valid(details, None, card), card)
    return await desk.register(card)


async def merge(desk: Desk, guest_id: UUID, into: UUID) -> int:
    command = MergeGuests(guest_id, into)
    return (await merge_guests(command, desk.context(), desk.deps)).position


async def preview(desk: Desk, guest_id: UUID, into: UUID) -> Merge:
    return await show_merge(MergeGuests(guest_id, into), "1001", desk.deps)


async def test_r18_a_preview_tells_what_would_win_and_writes_nothing(desk: Desk) -> None:
    first = await desk.register(account=ExistingAccount("acc-jan"))
    second = await second_record(desk)
    await request_account_link(second, ExistingAccount("acc-jj"), desk.context(), desk.deps)
    before = await desk.log.position()
    shown = await preview(desk, second, first)
    assert (shown.merged, shown.same_by, shown.blocked) == (False, Sameness.NAME_BIRTH_DATE_ADDRESS, None)
    assert (shown.kept_account, shown.released_account) == ("acc-jan", "acc-jj")
    assert (shown.guest.guest_id, shown.into.guest_id) == (second, first)
    assert await desk.log.position() == before


async def test_r18_rows_stay_with_each_and_the_survivor_shows_the_others(desk: Desk) -> None:
    first, second = await desk.register(), await second_record(desk)
    rows = {each: (await desk.show(each)).contributions for each in (first, second)}
    await merge(desk, second, first)
    assert (await desk.topics())[-2:] == ["duplicate-merged", "guests-merged"]
    survivor, signpost = await desk.show(first), await desk.show(second)
    assert (survivor.status, survivor.contributions, survivor.merged_into) == ("valid", rows[first], None)
    assert [(each.guest_id, each.contributions) for each in survivor.merged_from] == [(second, rows[second])]
    assert (signpost.status, signpost.merged_into, signpost.merged_from) == ("deregistered", first, [])
    assert (signpost.header, signpost.contributions) == ("Samengevoegd", rows[second])


async def test_r18_merged_again_changes_nothing(desk: Desk) -> None:
    first, second = await desk.register(), await second_record(desk)
    position = await merge(desk, second, first)
    assert await merge(desk, second, first) == position
    shown = await preview(desk, second, first)
    assert (shown.merged, shown.blocked, shown.released_account) == (True, None, None)


async def test_r18_the_same_home_card_is_enough_whatever_the_name(desk: Desk) -> None:
    first, second = await desk.register(), await second_record(desk, name="J. de Vries", address=None)
    assert isinstance((await preview(desk, second, first)).blocked, NothingEqual)
    desk.says(Valid(JAN, None, SECOND_CARD))  # home gave out the second number in place of the first
    await deregister_guest(first, "vergissing", desk.context(), desk.deps)
    third = await second_record(desk, THIRD_CARD, name="J. de Vries", address=None)
    await expire_and_renew(desk, third, answers=SECOND_CARD)
    assert (await preview(desk, third, second)).same_by is Sameness.HOME_CARD


async def expire_and_renew(desk: Desk, guest_id: UUID, answers: str) -> None:
    """The guest's membership at home ends, and goes on under another number."""
    details = replace(JAN, name="J. de Vries", address=None)
    desk.says(Valid(details, date(2025, 9, 1), THIRD_CARD), THIRD_CARD)
    await check_term(guest_id, desk.context(), desk.deps)
    desk.says(Valid(details, None, answers), THIRD_CARD)
    await reregister_guest(ReregisterGuest(guest_id, "04"), desk.context(), desk.deps)


async def test_r18_who_cannot_be_merged_is_told_why_and_nothing_is_written(desk: Desk) -> None:
    first = await desk.register()
    younger = await second_record(desk, birth_date=date(2005, 1, 1))
    gone = await second_record(desk, THIRD_CARD)
    await deregister_guest(gone, "vergissing", desk.context(), desk.deps)
    for guest_id, into, kind in (
        (younger, first, DifferentBirthDates),
        (first, first, MergedWithItself),
        (first, gone, MergedIntoDeregistered),
    ):
        before = await desk.log.position()
        assert type((await preview(desk, guest_id, into)).blocked) is kind
        with pytest.raises(kind):
            await merge(desk, guest_id, into)
        assert await desk.log.position() == before
    await merge(desk, gone, first)  # a record that was a mistake may still lead to the right one


async def test_r18_a_signpost_is_no_way_on(desk: Desk) -> None:
    first, second, third = (
        await desk.register(),
        await second_record(desk),
        await second_record(desk, THIRD_CARD),
    )
    await merge(desk, second, first)
    for guest_id, into, kind in (
        (second, third, MergedBefore),
        (third, second, MergedIntoMergedRecord),
        (first, second, MergedIntoMergedRecord),
    ):
        with pytest.raises(kind):
            await merge(desk, guest_id, into)


async def test_r18_signposts_follow_their_guest_into_the_next(desk: Desk) -> None:
    first, second, third = (
        await desk.register(),
        await second_record(desk),
        await second_record(desk, THIRD_CARD),
    )
    await merge(desk, second, first)
    await merge(desk, first, third)
    assert [(await desk.show(each)).merged_into for each in (first, second)] == [third, third]
    assert {each.guest_id for each in (await desk.show(third)).merged_from} == {first, second}
    assert (await desk.show(first)).merged_from == []


async def test_r18_r20_another_organisations_guest_does_not_exist(desk: Desk) -> None:
    own, others = await desk.register(), await desk.register(organisation="2002")
    for guest_id, into in ((own, others), (others, own)):
        with pytest.raises(GuestNotFound):
            await merge(desk, guest_id, into)
        with pytest.raises(GuestNotFound):
            await preview(desk, guest_id, into)


async def test_r18_merged_into_each_other_at_once_one_survives(desk: Desk) -> None:
    first, second = await desk.register(), await second_record(desk)
    outcomes = await asyncio.gather(
        merge(desk, first, second), merge(desk, second, first), return_exceptions=True
    )
    assert [type(each) for each in outcomes if isinstance(each, Exception)] == [MergedIntoMergedRecord]
    merged = [(await desk.show(each)).merged_into for each in (first, second)]
    assert sorted(merged, key=str) in (sorted([None, first], key=str), sorted([None, second], key=str))


async def test_r18_the_merged_card_is_registered_already_as_the_survivor(desk: Desk) -> None:
    first, second = await desk.register(), await second_record(desk)
    await merge(desk, second, first)
    desk.says(Unavailable("timed out"), SECOND_CARD)
    with pytest.raises(AlreadyRegistered) as refused:
        await desk.register(SECOND_CARD)
    assert refused.value.guest_id == first
    desk.says(member(SECOND_CARD), SECOND_CARD)
    await deregister_guest(first, "vergissing", desk.context(), desk.deps)
    assert await desk.register(SECOND_CARD) == first
    assert (await desk.show(first)).card_number == SECOND_CARD
    assert (await desk.show(second)).merged_into == first


async def test_r18_home_is_not_asked_about_a_signpost(desk: Desk) -> None:
    first, second = await desk.register(), await second_record(desk)
    await merge(desk, second, first)
    desk.home.asked.clear()
    await check_term(second, desk.context(), desk.deps)
    assert desk.home.asked == []


async def test_r18_the_link_is_let_go_and_a_late_answer_changes_nothing(desk: Desk) -> None:
    first, second = await desk.register(), await second_record(desk)
    await request_account_link(second, ExistingAccount("acc-jj"), desk.context(), desk.deps)
    await merge(desk, second, first)
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
    await receive_message(message, SideRow("inbox", {}), deps=desk.deps)
    assert [(await desk.show(each)).login_link.state for each in (first, second)] == ["none", "none"]


async def test_r18_whoever_asks_for_the_person_or_the_account_finds_the_survivor(desk: Desk) -> None:
    first, second = await desk.register(account=ExistingAccount("acc-jj")), await second_record(desk)
    await request_account_link(second, ExistingAccount("acc-jj"), desk.context(), desk.deps)
    person = (await desk.deps.store.load(Guest, second)).state.person_ref
    await merge(desk, second, first)
    for query in (RegistrationsQuery("1001", person_ref=person), RegistrationsQuery("1001", "acc-jj")):
        found = await list_registrations(query, desk.deps, desk.feed)
        assert [each.guest_id for each in found] == [second, first]


async def erase(desk: Desk, guest_id: UUID) -> None:
    await erase_personal_data(guest_id, OPERATOR, desk.deps)


async def test_r18_r19_erasing_the_survivor_erases_the_person_s_other_records(
    desk: Desk, tmp_path: Path
) -> None:
    ledger = ErasureLedger(tmp_path / "ledger.jsonl")
    desk.deps = replace(desk.deps, erasure_ledger=ledger)
    first, second = await desk.register(), await second_record(desk)
    await merge(desk, second, first)
    await erase(desk, first)
    for guest_id in (first, second):
        shown = await desk.show(guest_id)
        assert (shown.status, shown.details, shown.merged_into, shown.merged_from) == (
            "erased",
            None,
            None,
            [],
        )
        assert await desk.deps.data_keys.get(guest_id) is None
    assert isinstance(desk.log, InMemoryEventLog)
    assert list(desk.log.rows("registrations")) == []
    assert (tmp_path / "ledger.jsonl").read_text().count(str(second)) == 1
    assert await desk.register(SECOND_CARD) not in {first, second}


async def test_r18_r19_erasing_the_signpost_leaves_the_survivor_without_a_second_list(desk: Desk) -> None:
    first, second = await desk.register(), await second_record(desk)
    await merge(desk, second, first)
    await erase(desk, second)
    survivor, signpost = await desk.show(first), await desk.show(second)
    assert (survivor.status, survivor.details, survivor.merged_from) == ("valid", JAN, [])
    assert (signpost.status, signpost.merged_into) == ("erased", None)
    with pytest.raises(MergedWithErased):
        await merge(desk, first, second)
    with pytest.raises(GuestErased):
        await unlink_login_account(second, "vergissing", desk.context(), desk.deps)
    third = await second_record(desk, THIRD_CARD)
    await merge(desk, first, third)
    assert [each.guest_id for each in (await desk.show(third)).merged_from] == [first]
