"""A guest of another organisation does not exist, whatever the use case (R20)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from registration.application.check_term import check_term
from registration.application.deregister_guest import deregister_guest
from registration.application.link_login_account import request_account_link, unlink_login_account
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.domain.errors import GuestNotFound
from registration.domain.login_link import ExistingAccount
from tests.support.registration import RegistrationUseCases

Command = Callable[[RegistrationUseCases, UUID, str], Awaitable[object]]
COMMANDS: list[Command] = [
    lambda in_memory_registration, guest, of: in_memory_registration.show(guest, of),
    lambda in_memory_registration, guest, of: check_term(
        guest, in_memory_registration.context(of), in_memory_registration.deps
    ),
    lambda in_memory_registration, guest, of: reregister_guest(
        ReregisterGuest(guest, "04"), in_memory_registration.context(of), in_memory_registration.deps
    ),
    lambda in_memory_registration, guest, of: request_account_link(
        guest, ExistingAccount("acc-jan"), in_memory_registration.context(of), in_memory_registration.deps
    ),
    lambda in_memory_registration, guest, of: unlink_login_account(
        guest, "x", in_memory_registration.context(of), in_memory_registration.deps
    ),
    lambda in_memory_registration, guest, of: deregister_guest(
        guest, "x", in_memory_registration.context(of), in_memory_registration.deps
    ),
]


@pytest.mark.parametrize("command", COMMANDS)
async def test_r20_another_organisations_guest_does_not_exist(
    in_memory_registration: RegistrationUseCases, command: Command
) -> None:
    guest_id = await in_memory_registration.register(account=ExistingAccount("acc-jan"))
    position = await in_memory_registration.log.position()
    with pytest.raises(GuestNotFound):
        await command(in_memory_registration, guest_id, "2002")
    with pytest.raises(GuestNotFound):
        await command(in_memory_registration, uuid4(), "1001")
    assert await in_memory_registration.log.position() == position
