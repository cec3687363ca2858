"""The index of usernames. The append that opens an account also writes its row (I1, I2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import asyncpg


class PostgresUsernames:
    """The table `usernames`: committed state, not a view that may lag."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def account_of(self, username_key: str) -> str | None:
        """See `Usernames.account_of`."""
        holder: str | None = await self._pool.fetchval(
            "SELECT account_id FROM usernames WHERE username_key = $1", username_key
        )
        return holder

    async def holders(
        self, username_keys: Collection[str], account_ids: Collection[str]
    ) -> Mapping[str, str]:
        """See `Usernames.holders`."""
        rows = await self._pool.fetch(
            """
            SELECT username_key, account_id FROM usernames WHERE username_key = ANY ($1)
            UNION SELECT username_key, account_id FROM usernames WHERE account_id = ANY ($2)
            """,
            list(username_keys),
            list(account_ids),
        )
        return {row["username_key"]: row["account_id"] for row in rows}
