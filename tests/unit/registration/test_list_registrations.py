"""What identity is told when it asks for a person's registrations (ADR 0004, I4)."""

from __future__ import annotations

from uuid import UUID

import pytest

from registration.application.answer_identity import RegistrationsQuery, list_registrations
from registration.domain.login_link import ExistingAccount
from shared.kernel.library_card import person_ref
from tests.support.registration import CARD, GRONINGEN, Desk, make_desk, member

OLD_CARD = "0990139362"
JAN = ExistingAccount("acc-jan")


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def ref(desk: Desk, card: str) -> str:
    return person_ref(desk.deps.person_ref_key, GRONINGEN, card)


async def asked(desk: Desk, query: RegistrationsQuery) -> list[UUID]:
    return [found.guest_id for found in await list_registrations(query, desk.deps, desk.feed)]


async def test_i4_a_registration_is_found_by_account_and_by_person_each_once(desk: Desk) -> None:
    guest_id = await desk.register(account=JAN)
    await desk.register(account=JAN, organisation="2002")
    person = ref(desk, CARD)
    assert await asked(desk, RegistrationsQuery("1001", account_id="acc-jan")) == [guest_id]
    assert await asked(desk, RegistrationsQuery("1001", person_ref=person)) == [guest_id]
    assert await asked(desk, RegistrationsQuery("1001", "acc-jan", person)) == [guest_id]


async def test_i4_nobody_else_is_found(desk: Desk) -> None:
    await desk.register(account=JAN)
    assert await asked(desk, RegistrationsQuery("1001", "acc-x", ref(desk, "1"))) == []
    assert await asked(desk, RegistrationsQuery("3003", "acc-jan", ref(desk, CARD))) == []


async def test_i4_a_person_is_found_by_a_replaced_number_too(desk: Desk) -> None:
    desk.says(member(CARD), card=OLD_CARD)
    guest_id = await desk.register(OLD_CARD)
    for card in (CARD, OLD_CARD):
        assert await asked(desk, RegistrationsQuery("1001", person_ref=ref(desk, card))) == [guest_id]


async def test_a6_every_message_of_the_guest_comes_along_from_the_first(desk: Desk) -> None:
    guest_id = await desk.register(account=JAN)
    [found] = await list_registrations(RegistrationsQuery("1001", "acc-jan"), desk.deps, desk.feed)
    assert [(each.subject, each.stream_version, each.type) for each in found.messages] == [
        (guest_id, 1, "guest-registered.v1"),
        (guest_id, 2, "lending-strips-granted.v1"),
    ]
