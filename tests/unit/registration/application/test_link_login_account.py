"""A login account is asked for and unlinked (R17, R21), through the use cases."""

from __future__ import annotations

import pytest

from registration.application.link_login_account import request_account_link, unlink_login_account
from registration.domain.errors import AlreadyLinked, NotLinked
from registration.domain.guest import Guest
from registration.domain.login_link import ExistingAccount
from tests.support.registration import RegistrationUseCases


async def test_r17_a_link_is_asked_for_and_indexed_in_the_same_append(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    await request_account_link(
        guest_id, ExistingAccount("acc-jan"), in_memory_registration.context(), in_memory_registration.deps
    )
    assert (await in_memory_registration.show(guest_id)).login_link.state == "pending"
    assert await in_memory_registration.deps.registrations.guests_asking_for("1001", "acc-jan") == [guest_id]


async def test_r21_unlinking_needs_a_link(in_memory_registration: RegistrationUseCases) -> None:
    guest_id = await in_memory_registration.register(account=ExistingAccount("acc-jan"))
    await unlink_login_account(
        guest_id, "account van moeder", in_memory_registration.context(), in_memory_registration.deps
    )
    assert (await in_memory_registration.show(guest_id)).login_link.state == "none"
    with pytest.raises(NotLinked):
        await unlink_login_account(
            guest_id, "nogmaals", in_memory_registration.context(), in_memory_registration.deps
        )


async def test_r17_a_tied_guest_gets_no_other_account(in_memory_registration: RegistrationUseCases) -> None:
    guest_id = await in_memory_registration.register(account=ExistingAccount("acc-jan"))
    guest = await in_memory_registration.deps.store.load(Guest, guest_id)
    guest.confirm_link("acc-jan", too_late=False, now=in_memory_registration.clock.now())
    await in_memory_registration.deps.store.save(guest, metadata=in_memory_registration.context().metadata)
    with pytest.raises(AlreadyLinked):
        await request_account_link(
            guest_id, ExistingAccount("acc-x"), in_memory_registration.context(), in_memory_registration.deps
        )
