"""The first login of every account at every organisation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import asyncpg

from identity.read_models.accounts import ACCOUNT_TOPICS, fold_account
from shared.event_log import DataKey
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable


def fold(events: Sequence[RecordedDomainEvent], key: DataKey | None) -> Rows:
    """Return a row for each organisation at which the account logged in; none after its erasure (I9)."""
    account = fold_account(events)
    if account.erased or key is None:
        return [[]]
    return [
        [
            (account.id, login.organisation, account.account_id, login.actor_id, login.new_actor, login.at)
            for login in account.first_logins.values()
        ]
    ]


VIEW = View(
    name="logins",
    about="the first login of every account at every organisation",
    topics=ACCOUNT_TOPICS,
    tables=(
        ViewTable(
            name="logins",
            columns="""
                organisation text NOT NULL, account_id text NOT NULL, actor_id uuid NOT NULL,
                new_actor boolean NOT NULL, at timestamptz NOT NULL
            """,
            key="stream_id, organisation",
            indexes=("(organisation, at)",),
        ),
    ),
    fold=fold,
    decrypts=True,
)

COUNTED = """
SELECT organisation, count(*) AS first_logins, count(*) FILTER (WHERE new_actor) AS new_actors,
       min(at) AS first_at, max(at) AS last_at
  FROM logins WHERE at >= $1 GROUP BY organisation ORDER BY organisation
"""


async def count_first_logins(pool: asyncpg.Pool, since: date) -> list[asyncpg.Record]:
    """Count the first logins since a day (UTC), by organisation, and how many of them made a new actor."""
    found: list[asyncpg.Record] = await pool.fetch(COUNTED, since)
    return found
