"""Databases that were there before a script are brought up to date by it."""

import asyncpg

from identity.adapters.tables import SCHEMA
from identity.domain.login_account import login_account_stream
from tests.support.servers import Databases, migrated

LATER = {
    *("event_log_0003_erasures", "idempotency_0002_erasures", "identity_0002_erasures"),
    "identity_0004_orphans",
    *("messaging-0003", "messaging-0006"),
    "event_log_0004_vacuum",
    "event_log_0005_deleted_by_the_owner",
}
OPENED = """
INSERT INTO stored_events VALUES ($1, 1, $2, gen_random_uuid(), gen_random_uuid(), null, now(),
    'identity.login-account-opened', 'tests', convert_to($3, 'UTF8'))
"""


async def test_i9_a_username_from_before_goes_with_its_account(databases: Databases) -> None:
    database = databases()
    await migrated(database, [script for script in SCHEMA if script.name not in LATER])
    connection = await asyncpg.connect(database)
    streams = {name: login_account_stream(name) for name in ("acc-jan", "acc-piet")}
    for number, (name, stream) in enumerate(streams.items(), start=1):
        await connection.execute(OPENED, stream, number, f'{{"account_id":"{name}"}}')
        await connection.execute("INSERT INTO usernames VALUES ($1, $2)", f"key-{number}", name)

    await migrated(database, SCHEMA)
    await connection.execute("INSERT INTO erasures (subject_id) VALUES ($1)", streams["acc-jan"])
    left = await connection.fetch("SELECT account_id, subject_id FROM usernames")
    await connection.close()
    assert [tuple(row) for row in left] == [("acc-piet", streams["acc-piet"])]
