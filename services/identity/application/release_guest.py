"""Let go of a guest's login account (I3, R21)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from identity.application.accounts import AccountAtHand
from identity.application.ports import Identity
from identity.domain.account_history import login_account_stream
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.login_account import LoginAccount


async def release_guest(link: GuestLink, identity: Identity, now: datetime) -> Sequence[AccountAtHand]:
    """Release the guest and the account it was linked to; both are free then. What is to be saved along."""
    former = link.answer
    link.release(now)
    if not isinstance(former, Linked):
        return []
    account = await identity.store.load(LoginAccount, login_account_stream(former.account_id))
    account.release(link.id, now)
    return [AccountAtHand(account)]
