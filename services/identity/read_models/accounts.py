"""Login accounts, and how much they are used; nothing personal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventsourcing.utils import get_topic

from identity.domain.login_account import LoginAccount
from shared.event_log import DataKey
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable

ACCOUNT_TOPICS = frozenset(get_topic(kind) for kind in LoginAccount.Event.__subclasses__())


def fold_account(events: Sequence[RecordedDomainEvent]) -> LoginAccount:
    """The account after its events."""
    account: Any = None
    for happened in events:
        account = happened.event.mutate(account)
    if not isinstance(account, LoginAccount):
        raise TypeError("this stream is no login account")
    return account


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """One row for each account; none once it was erased (I9)."""
    account = fold_account(events)
    if account.erased:
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
)
