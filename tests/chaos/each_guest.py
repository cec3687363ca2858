"""Each guest is there once, linked once, with one actor: in what the API shows and in both logs."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import httpx2

from tests.chaos.load import Acknowledged, Login
from tests.support.stack import RunningStack


async def has_that_one_link_and_one_actor(
    operator: httpx2.AsyncClient, guest: Acknowledged, logins: Sequence[Login]
) -> None:
    account = (await operator.get(f"/v1/login-accounts/{guest.account_id}")).raise_for_status().json()
    assert [(link["guest_id"], link["state"]) for link in account["links"]] == [(guest.guest_id, "linked")]
    answers = (*logins, *account["links"], *account["logins"])
    assert {each["actor_id"] for each in answers} == {account["actor_id"]}


async def the_logs_have_each_once(stack: RunningStack, guest_ids: set[UUID]) -> None:
    """No gap in the positions; one registration and one link of each guest, of no other; none is parked."""
    urls = stack.description["database_urls"]
    async with connected(urls["registration"]) as registration, connected(urls["identity"]) as identity:
        for log in (registration, identity):
            assert await log.fetchval("SELECT max(notification_id) - count(*) FROM stored_events") == 0
            assert await log.fetchval("SELECT count(*) FROM held_messages") == 0
        once = dict.fromkeys(guest_ids, 1)
        assert await happened(registration, "registration.guest-registered") == once
        assert await happened(registration, "registration.login-account-link-confirmed") == once
        assert await happened(identity, "identity.login-account-linked") == once
        accounts = await happened(identity, "identity.login-account-guest-linked")
        assert sorted(accounts.values()) == sorted(once.values())


async def happened(log: asyncpg.Connection, topic: str) -> Counter[UUID]:
    """How often this happened, by stream."""
    rows = await log.fetch("SELECT originator_id FROM stored_events WHERE topic = $1", topic)
    return Counter(row["originator_id"] for row in rows)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
