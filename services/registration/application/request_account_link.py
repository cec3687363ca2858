"""Ask identity to link a login account to a guest: koppelen (R17)."""

from __future__ import annotations

from uuid import UUID

from registration.application.guests import decided, load_guest, save_guest
from registration.application.index_rows import account_rows
from registration.application.personal_data import key_for, seal_wish
from registration.application.ports import Context, Registration, Written
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
