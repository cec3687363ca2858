"""Let go of a guest's login account (I3, R21)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from identity.application.accounts import AccountAtHand, own_account
from identity.application.ports import Identity
from identity.domain.guest_link import GuestLink, Linked


async def release_guest(link: GuestLink, identity: Identity, now: datetime) -> Sequence[AccountAtHand]:
    """Release the guest and the account it was linked to; both are free then. What is to be saved along."""
    former = link.answer
    link.release(now)
    if not isinstance(former, Linked):
        return []
    at_hand = await own_account(former.account_id, identity)
    if at_hand is None:
        return []
    at_hand.account.release(link.id, now)
    return [at_hand]
