"""The first login of every account at every organisation."""

from __future__ import annotations

from collections.abc import Sequence

from identity.read_models.accounts import ACCOUNT_TOPICS, fold_account
from shared.event_log import DataKey
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """One row for each organisation that the account logged in at; none once it was erased (I9)."""
    account = fold_account(events)
    if account.erased:
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
)
