"""Request the link of a login account, or take a wrong one off (R17, R21)."""

from __future__ import annotations

from uuid import UUID

from registration.application.dependencies import Context, Registration, Written
from registration.application.personal_data import key_for, seal_wish
from registration.application.repository import account_rows, change_guest, decided, load_guest, save_guest
from registration.domain.guest import Guest
from registration.domain.login_link import LoginAccountChoice


async def request_account_link(
    guest_id: UUID, choice: LoginAccountChoice, context: Context, registration: Registration
) -> Written:
    """Ask for a link; it is pending until identity answers.

    Raises GuestNotFound, AlreadyLinked, NoLongerRegistered, GuestErased.
    """

    async def attempt() -> Written:
        guest = await load_guest(guest_id, context.organisation, registration)
        key, key_rows = await key_for(guest_id, registration)
        wish = seal_wish(choice, key)
        guest.request_link(wish, now=registration.clock.now())
        accounts = account_rows(context.organisation, wish.account_id, guest_id)
        return await save_guest(guest, context, registration, *key_rows, *accounts)

    return await decided(attempt)


async def unlink_login_account(
    guest_id: UUID, reason: str, context: Context, registration: Registration
) -> Written:
    """Unlink, with the reason. Raises GuestNotFound, NotLinked, GuestErased."""

    def unlink(guest: Guest) -> None:
        guest.unlink(reason, now=registration.clock.now())

    return await change_guest(guest_id, unlink, context, registration)
