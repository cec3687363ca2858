"""Forget a guest whose personal data registration destroyed (I9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID

from identity.application.dependencies import Identity
from identity.application.link_guest import release_guest
from identity.application.repository import AccountAtHand, decided_again, own_account, save
from identity.domain.guest_link import GuestLink
from identity.domain.login_account import LoginAccount
from shared.event_log import Metadata, brought_back, erased_by, erasure_row


async def erase_guest(link: GuestLink, identity: Identity, now: datetime) -> Sequence[AccountAtHand]:
    """Let go of the account and destroy it, unless another guest uses it. What is to be saved along.

    So too with an account that was taken off the guest before and is the same person's: it was opened for
    them, and nobody else will ask for it to go. Another's, such as a parent's, stays then.
    """
    released = await release_guest(link, identity, now)
    link.change_standing(link.standing.erased(), now)
    linked = {each.account.account_id for each in released}
    former = [await own_account(each, identity) for each in link.accounts if each not in linked]
    own = [each for each in former if each and each.account.person_ref == link.person_ref]
    return [_erased(each, now) for each in (*released, *own)]


def _erased(at_hand: AccountAtHand, now: datetime) -> AccountAtHand:
    if not at_hand.account.erase(now):
        return at_hand
    return replace(at_hand, side_rows=(*at_hand.side_rows, erasure_row(at_hand.account.id)))


async def apply_erasures(metadata: Metadata, identity: Identity) -> int:
    """Erase whomever the ledger knows as erased and a restored backup brought back; answer how many."""
    subjects = await brought_back(identity.store.log, identity.erasure_ledger)
    for subject_id in subjects:
        await decided_again(partial(_erase_again, subject_id, metadata, identity))
    return len(subjects)


async def _erase_again(subject_id: UUID, metadata: Metadata, identity: Identity) -> None:
    """A guest, or an account; its own row is written in any case, for that destroys the key."""
    now = identity.clock.now()
    link = await identity.store.find(GuestLink, subject_id)
    account = await identity.store.find(LoginAccount, subject_id)
    changed = [] if link is None else await erase_guest(link, identity, now)
    if account is not None and not account.erased:
        changed = [_erased(AccountAtHand(account), now)]
    rows = [erasure_row(subject_id), *(row for each in changed for row in each.side_rows)]
    await save(
        identity,
        *([] if link is None else [link]),
        *(each.account for each in changed),
        metadata=metadata,
        side_rows=rows,
    )
    await identity.erasure_ledger.note(erased_by(rows))
