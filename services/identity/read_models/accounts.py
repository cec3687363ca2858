"""Login accounts, and how much they are used; nothing personal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
from eventsourcing.utils import get_topic

from identity.domain.login_account import LoginAccount
from shared.event_log import DataKey
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable

ACCOUNT_TOPICS = frozenset(get_topic(kind) for kind in LoginAccount.Event.__subclasses__())


def fold_account(events: Sequence[RecordedDomainEvent]) -> LoginAccount:
    """Apply the events of one stream to an account."""
    account: Any = None
    for recorded in events:
        account = recorded.event.mutate(account)
    if not isinstance(account, LoginAccount):
        raise TypeError("this stream is no login account")
    return account


def fold(events: Sequence[RecordedDomainEvent], key: DataKey | None) -> Rows:
    """Return the row of an account; none after its erasure (I9)."""
    account = fold_account(events)
    if account.erased or key is None:
        return [[]]
    row = (
        *(account.id, account.account_id, account.actor_id, account.home_isil, events[0].recorded_at),
        *(len(account.guests), len(account.first_logins)),
    )
    return [[row]]


VIEW = View(
    name="accounts",
    about="login accounts, with the number of their guests and of the organisations they logged in at",
    topics=ACCOUNT_TOPICS,
    tables=(
        ViewTable(
            name="accounts",
            columns="""
                account_id text NOT NULL, actor_id uuid NOT NULL, home_isil text NOT NULL,
                opened_at timestamptz NOT NULL, guests integer NOT NULL, organisations integer NOT NULL
            """,
            indexes=("(account_id)", "(actor_id)"),
        ),
    ),
    fold=fold,
    decrypts=True,
)

LISTED = """
SELECT account_id, actor_id, home_isil, opened_at, guests, organisations FROM accounts
 WHERE guests = 0 OR NOT $1 ORDER BY opened_at DESC LIMIT $2
"""


async def list_accounts(pool: asyncpg.Pool, *, without_guests: bool, limit: int) -> list[asyncpg.Record]:
    """List at most `limit` accounts, the newest first; with `without_guests` only those without a link."""
    found: list[asyncpg.Record] = await pool.fetch(LISTED, without_guests, limit)
    return found
