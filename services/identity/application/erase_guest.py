"""Erase a guest whose personal data registration destroyed (I9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID

from identity.application.dependencies import Dependencies
from identity.application.repository import LoadedAccount, find_account, release_guest, save
from identity.domain.guest_link import GuestLink
from identity.domain.login_account import LoginAccount
from shared.event_log import (
    ErasedAgain,
    Metadata,
    RecordUnreadable,
    erase_again,
    erased_by,
    erasure_row,
    retry_on_conflict,
)


async def erase_guest(link: GuestLink, deps: Dependencies, now: datetime) -> Sequence[LoadedAccount]:
    """Release the guest's account and erase it, unless another guest uses it. Returns the accounts to save.

    Accounts that were unlinked from the guest earlier are erased too if they belong to the same person:
    nothing else would ever erase them. An unlinked account of another person, such as a parent, stays.
    """
    released = await release_guest(link, deps, now)
    link.change_guest_status(link.guest_status.erased(), now)
    released_ids = {loaded.account.account_id for loaded in released}
    former = [
        await find_account(former_id, deps) for former_id in link.accounts if former_id not in released_ids
    ]
    own = [loaded for loaded in former if loaded and loaded.account.person_ref == link.person_ref]
    return [_erase_account(loaded, now) for loaded in (*released, *own)]


def _erase_account(loaded: LoadedAccount, now: datetime) -> LoadedAccount:
    """Erase the account and add its erasure row, unless a guest still uses it."""
    if not loaded.account.erase(now):
        return loaded
    return replace(loaded, side_rows=(*loaded.side_rows, erasure_row(loaded.account.id)))


async def apply_erasures(metadata: Metadata, deps: Dependencies) -> ErasedAgain:
    """Erase again the subjects of the erasure ledger that a restored backup brought back."""

    async def erase(subject_id: UUID) -> None:
        try:
            await retry_on_conflict(partial(_erase_subject, subject_id, metadata, deps))
        except RecordUnreadable:  # the row destroys the key all the same
            await deps.store.log.append([], [erasure_row(subject_id)])

    return await erase_again(deps.store.log, deps.erasure_ledger, erase)


async def _erase_subject(subject_id: UUID, metadata: Metadata, deps: Dependencies) -> None:
    """Erase a guest or an account. The erasure row is always written, because it destroys the data key."""
    now = deps.clock.now()
    link = await deps.store.find(GuestLink, subject_id)
    account = await deps.store.find(LoginAccount, subject_id)
    changed = [] if link is None else await erase_guest(link, deps, now)
    if account is not None and not account.erased:
        changed = [_erase_account(LoadedAccount(account), now)]
    rows = [erasure_row(subject_id), *(row for loaded in changed for row in loaded.side_rows)]
    await save(
        deps,
        *([] if link is None else [link]),
        *(loaded.account for loaded in changed),
        metadata=metadata,
        side_rows=rows,
    )
    await deps.erasure_ledger.note(erased_by(rows))
