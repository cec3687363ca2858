"""Erase login accounts that no guest uses and that did not log in for long (I9)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID, uuid4

from identity.application.dependencies import Dependencies
from identity.application.repository import accounts_of, load_actor, save
from identity.domain.login_account import LoginAccount
from shared.event_log import Metadata, erasure_row, retry_on_conflict
from shared.event_log.retention import BY_ITSELF, EndedSubjects, Retention, erase_ended, find_ended
from shared.kernel.amsterdam import day_of


async def apply_retention(
    retention_days: int, unused: EndedSubjects, deps: Dependencies, by: str = BY_ITSELF
) -> Retention:
    """Erase the accounts that were not used for more than so many days.

    An account is checked again in the transaction that erases: one that was linked or logged in meanwhile
    stays. `by` is who asked for it. Raises OSError when the erasure ledger cannot be written.
    """
    before, metadata = _first_day_kept(retention_days, deps), Metadata(by, uuid4())

    async def attempt(account_stream: UUID) -> Sequence[UUID]:
        account = await _find_unused(account_stream, before, deps)
        if account is None:
            return ()
        account.erase(deps.clock.now())
        await save(deps, account, metadata=metadata, side_rows=[erasure_row(account.id)])
        return (account.id,)

    async def erase(account_stream: UUID) -> bool:
        erased = await retry_on_conflict(lambda: attempt(account_stream))
        await deps.erasure_ledger.note(erased)
        return bool(erased)

    return await erase_ended(unused, before, erase)


async def preview_retention(retention_days: int, unused: EndedSubjects, deps: Dependencies) -> Retention:
    """Return what `apply_retention` would erase now; change nothing."""
    before = _first_day_kept(retention_days, deps)

    async def would_erase(account_stream: UUID) -> bool:
        return await _find_unused(account_stream, before, deps) is not None

    return await find_ended(unused, before, would_erase)


def _first_day_kept(retention_days: int, deps: Dependencies) -> date:
    return day_of(deps.clock.now()) - timedelta(days=retention_days)


async def _find_unused(account_stream: UUID, before: date, deps: Dependencies) -> LoginAccount | None:
    """Find the account; None if it is in use, or another account whose logins have the same actor is."""
    account = await deps.store.find(LoginAccount, account_stream)
    if account is None or not _is_unused(account, before):
        return None
    for actor_id in {account.actor_id, *(login.actor_id for login in account.first_logins.values())}:
        others = await accounts_of(await load_actor(actor_id, deps), deps)
        if not all(_is_unused(other, before) for other in others):
            return None
    return account


def _is_unused(account: LoginAccount, before: date) -> bool:
    return account.last_use is not None and day_of(account.last_use) < before
