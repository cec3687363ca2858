"""What identity asks: a person's registrations (ADR 0004, I4), and a requested account (R17, R19)."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from registration.application.answer_identity import (
    NewAccount,
    RegistrationsQuery,
    list_registrations,
    new_account,
)
from registration.application.link_login_account import request_account_link
from registration.domain.errors import GuestNotFound
from registration.domain.login_link import ExistingAccount, NewLoginAccount
from shared.event_log import erasure_row
from shared.kernel.library_card import person_ref
from tests.support.registration import CARD, GRONINGEN, MERGED, RegistrationUseCases, member

OLD_CARD = "0990139362"
JAN = ExistingAccount("acc-jan")


def ref(in_memory_registration: RegistrationUseCases, card: str) -> str:
    return person_ref(in_memory_registration.deps.person_ref_key, GRONINGEN, card)


async def asked(in_memory_registration: RegistrationUseCases, query: RegistrationsQuery) -> list[UUID]:
    return [
        found.guest_id
        for found in await list_registrations(query, in_memory_registration.deps, in_memory_registration.feed)
    ]


async def test_i4_a_registration_is_found_by_account_and_by_person_each_once(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register(account=JAN)
    await in_memory_registration.register(account=JAN, organisation="2002")
    person = ref(in_memory_registration, CARD)
    assert await asked(in_memory_registration, RegistrationsQuery("1001", account_id="acc-jan")) == [guest_id]
    assert await asked(in_memory_registration, RegistrationsQuery("1001", person_ref=person)) == [guest_id]
    assert await asked(in_memory_registration, RegistrationsQuery("1001", "acc-jan", person)) == [guest_id]


async def test_i4_nobody_else_is_found(in_memory_registration: RegistrationUseCases) -> None:
    await in_memory_registration.register(account=JAN)
    assert (
        await asked(
            in_memory_registration, RegistrationsQuery("1001", "acc-x", ref(in_memory_registration, "1"))
        )
        == []
    )
    assert (
        await asked(
            in_memory_registration, RegistrationsQuery("3003", "acc-jan", ref(in_memory_registration, CARD))
        )
        == []
    )


async def test_i4_a_person_is_found_by_a_replaced_number_too(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.says(member(CARD), card=OLD_CARD)
    guest_id = await in_memory_registration.register(OLD_CARD)
    for card in (CARD, OLD_CARD):
        assert await asked(
            in_memory_registration, RegistrationsQuery("1001", person_ref=ref(in_memory_registration, card))
        ) == [guest_id]


async def test_every_message_of_the_guest_comes_along_from_the_first(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register(account=JAN)
    [found] = await list_registrations(
        RegistrationsQuery("1001", "acc-jan"), in_memory_registration.deps, in_memory_registration.feed
    )
    assert [(each.subject, each.stream_version, each.type) for each in found.messages] == [
        (guest_id, 1, "guest-registered.v1"),
        (guest_id, 2, "lending-strips-granted.v1"),
    ]


""""""


async def test_r17_identity_gets_the_data_of_a_requested_account_by_its_id(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    account_id = (await in_memory_registration.show(guest_id)).login_link.account_id
    assert account_id is not None
    again = NewLoginAccount("jan.jansen.2", "jan@example.org")
    await request_account_link(guest_id, again, in_memory_registration.context(), in_memory_registration.deps)
    first = await new_account(guest_id, account_id, in_memory_registration.deps)
    assert first == NewAccount(account_id, GRONINGEN, "jan.jansen", "jan@example.org", [MERGED])
    last = await new_account(guest_id, None, in_memory_registration.deps)
    assert last is not None
    assert last.username == "jan.jansen.2"


async def test_r19_the_data_of_a_requested_account_is_gone_with_the_key(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    await in_memory_registration.log.append([], [erasure_row(guest_id)])
    assert await new_account(guest_id, None, in_memory_registration.deps) is None
    guest = await in_memory_registration.show(guest_id)
    assert (guest.card_number, guest.details, guest.header) == (None, None, "Normaal December 2025")


async def test_there_is_no_data_when_no_account_was_requested(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register(account=ExistingAccount("acc-jan"))
    assert await new_account(guest_id, None, in_memory_registration.deps) is None
    assert await new_account(guest_id, "acc-jan", in_memory_registration.deps) is None
    with pytest.raises(GuestNotFound):
        await new_account(uuid4(), None, in_memory_registration.deps)
