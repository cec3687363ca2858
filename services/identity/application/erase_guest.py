"""Forget a guest whose personal data registration destroyed (I9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID

from identity.application.dependencies import Dependencies
from identity.application.link_guest import release_guest
from identity.application.repository import LoadedAccount, find_account, save
from identity.domain.guest_link import GuestLink
from identity.domain.login_account import LoginAccount
from shared.event_log import Metadata, brought_back, erased_by, erasure_row, retry_on_conflict


async def erase_guest(link: GuestLink, deps: Dependencies, now: datetime) -> Sequence[LoadedAccount]:
    """Let go of the account and destroy it, unless another guest uses it. What is to be saved along.

    So too with an account that was taken off the guest before and is the same person's: it was opened for
    them, and nobody else will ask for it to go. Another's, such as a parent's, stays then.
    """
    released = await release_guest(link, deps, now)
    link.change_guest_status(link.guest_status.erased(), now)
    linked = {each.account.account_id for each in released}
    former = [await find_account(each, deps) for each in link.accounts if each not in linked]
    own = [each for each in former if each and each.account.person_ref == link.person_ref]
    return [_erased(each, now) for each in (*released, *own)]


def _erased(loaded: LoadedAccount, now: datetime) -> LoadedAccount:
    if not loaded.account.erase(now):
        return loaded
    return replace(loaded, side_rows=(*loaded.side_rows, erasure_row(loaded.account.id)))


async def apply_erasures(metadata: Metadata, deps: Dependencies) -> int:
    """Erase whomever the ledger knows as erased and a restored backup brought back; answer how many."""
    subjects = await brought_back(deps.store.log, deps.erasure_ledger)
    for subject_id in subjects:
        await retry_on_conflict(partial(_erase_again, subject_id, metadata, deps))
    return len(subjects)


async def _erase_again(subject_id: UUID, metadata: Metadata, deps: Dependencies) -> None:
    """A guest, or an account; its own row is written in any case, for that destroys the key."""
    now = deps.clock.now()
    link = await deps.store.find(GuestLink, subject_id)
    account = await deps.store.find(LoginAccount, subject_id)
    changed = [] if link is None else await erase_guest(link, deps, now)
    if account is not None and not account.erased:
        changed = [_erased(LoadedAccount(account), now)]
    rows = [erasure_row(subject_id), *(row for each in changed for row in each.side_rows)]
    await save(
        deps,
        *([] if link is None else [link]),
        *(each.account for each in changed),
        metadata=metadata,
        side_rows=rows,
    )
    await deps.erasure_ledger.note(erased_by(rows))
