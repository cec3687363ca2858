"""Login accounts that no guest uses, with the last day on which they may have been used (I9)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import asyncpg

from identity.read_models.accounts import ACCOUNT_TOPICS, fold_account
from shared.event_log import DataKey
from shared.kernel.amsterdam import day_of
from shared.platform import limits
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """Return the account with its last day; no row while a guest uses it, and none after its erasure."""
    account = fold_account(events)
    return [[] if account.last_use is None else [(account.id, day_of(account.last_use))]]


VIEW = View(
    name="unused_accounts",
    about="login accounts that no guest uses, to be erased after the retention period",
    topics=ACCOUNT_TOPICS,
    tables=(
        ViewTable(name="unused_accounts", columns="used_on date NOT NULL", indexes=("(used_on, stream_id)",)),
    ),
    fold=fold,
)

# Releases before this view noted no login but the first one. So an account counts as used on the day on which
# the view was made.
LONGEST_UNUSED = """
SELECT stream_id, used_on FROM unused_accounts
WHERE used_on < $1 AND (used_on, stream_id) > ($2, $3)
AND (SELECT applied_at < $1 FROM schema_migrations WHERE name = 'view_unused_accounts')
ORDER BY used_on, stream_id LIMIT $4
"""
FIRST = (date.min, UUID(int=0))
PAGE = 500


class UnusedAccounts:
    """See `shared.event_log.retention.EndedSubjects`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def before(self, day: date, after: tuple[date, UUID] = FIRST) -> Sequence[tuple[date, UUID]]:
        """See `EndedSubjects.before`."""
        rows = await self._pool.fetch(LONGEST_UNUSED, day, *after, PAGE, timeout=limits.BATCH)
        return [(row["used_on"], row["stream_id"]) for row in rows]
