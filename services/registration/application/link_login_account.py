"""Request the link of a login account, or take a wrong one off (R17, R21)."""

from __future__ import annotations

from uuid import UUID

from registration.application.account_choice import card_numbers_of, verify_choice
from registration.application.dependencies import Context, Dependencies
from registration.application.repository import (
    account_rows,
    change_guest,
    encrypt_link_request,
    key_for,
    load_guest,
    save_guest,
)
from registration.domain.guest import Guest
from registration.domain.login_link import LoginAccountChoice
from shared.event_log import CommandResult, retry_on_conflict, set_data_key


async def request_account_link(
    guest_id: UUID, choice: LoginAccountChoice, context: Context, deps: Dependencies
) -> CommandResult:
    """Request the link of a login account; it is pending until identity replies (R17).

    Raises GuestNotFound, AlreadyLinked, NoLongerRegistered, GuestMerged, GuestErased, and what
    `verify_choice` raises.
    """
    guest = await load_guest(guest_id, context.organisation, deps)
    guest.may_request_link()
    numbers = await card_numbers_of((guest_id, *guest.state.merged_from), deps)
    verified = await verify_choice(choice, guest.state.home_isil, numbers, context, deps)

    async def attempt() -> CommandResult:
        guest = await load_guest(guest_id, context.organisation, deps)
        key, key_rows = await key_for(guest_id, deps)
        set_data_key(guest, key)
        link_request = encrypt_link_request(verified, key)
        guest.request_link(link_request, now=deps.clock.now())
        accounts = account_rows(context.organisation, link_request.account_id, guest_id)
        return await save_guest(guest, context, deps, *key_rows, *accounts)

    return await retry_on_conflict(attempt)


async def unlink_login_account(
    guest_id: UUID, reason: str, context: Context, deps: Dependencies
) -> CommandResult:
    """Unlink the login account, with the reason (R21). Raises GuestNotFound, NotLinked, GuestErased."""

    def unlink(guest: Guest) -> None:
        guest.unlink(reason, now=deps.clock.now())

    return await change_guest(guest_id, unlink, context, deps)
