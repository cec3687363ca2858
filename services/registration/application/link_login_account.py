"""Request the link of a login account, take a wrong one off, repair one that came too late (R17, R21, I6)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from registration.application.account_choice import card_numbers_of, verify_choice
from registration.application.dependencies import ActorMerge, Context, Dependencies, no_side_rows
from registration.application.repository import (
    account_rows,
    change_guest,
    encrypt_link_request,
    key_for,
    load_guest,
    save_guest,
)
from registration.domain.errors import ActorMergeBlocked, NotTooLate
from registration.domain.guest import Guest
from registration.domain.login_link import LinkState, LoginAccountChoice
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
        key, key_rows = key_for(guest, deps)
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


async def show_actor_merge(guest_id: UUID, organisation: str, deps: Dependencies) -> ActorMerge:
    """Show what a merge of the two actors behind a link that is too late would do (I6). Writes nothing.

    Raises GuestNotFound, NotTooLate, LoginAccountsUnavailable.
    """
    link = (await load_guest(guest_id, organisation, deps)).state.link
    if link.state is not LinkState.TOO_LATE or link.account_id is None:
        raise NotTooLate
    merge = await deps.login_accounts.actor_merge(link.account_id, guest_id)
    if merge is None:  # merged before, and identity's message about it is on its way
        raise NotTooLate
    return merge


async def merge_login_actors(
    guest_id: UUID, reason: str, context: Context, deps: Dependencies
) -> CommandResult:
    """Merge the two actors at identity; then the link is no longer too late (I6).

    Who asked for it, and why, is recorded before identity is asked: its reply may get lost. Raises
    GuestNotFound, NotTooLate, ActorMergeBlocked, LoginAccountsUnavailable.
    """
    merge = await show_actor_merge(guest_id, context.organisation, deps)
    if merge.blocked is not None:
        raise ActorMergeBlocked(merge.blocked)

    def request(guest: Guest) -> None:
        guest.request_actor_merge(reason, now=deps.clock.now())

    def confirm(guest: Guest) -> None:
        # Identity's message says the same, perhaps earlier: the second of them changes nothing.
        if account_id := guest.state.link.account_id:
            guest.confirm_link(account_id, too_late=False, now=deps.clock.now())

    # The row of the Idempotency-Key comes with the end: until then a repeated request must go on.
    await change_guest(guest_id, request, replace(context, side_rows=no_side_rows), deps)
    await deps.login_accounts.merge_actors(merge, context.metadata.correlation_id)
    return await change_guest(guest_id, confirm, context, deps)
