"""The schema: made once, by the process that comes first; and what the tables are for."""

import asyncio
import os
from uuid import uuid4

import asyncpg
import pytest

from shared.event_log import (
    SCHEMA,
    DecryptionFailed,
    LogCorrupt,
    MasterKeys,
    PostgresDataKeys,
    PostgresEventLog,
    SideRow,
    SubjectFailures,
)
from shared.platform.postgres import Script, open_pool
from tests.support.event_log import in_postgres, new_event
from tests.support.servers import Databases, as_owner, migrated, owner_url


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database without any schema."""
    return databases()


async def test_many_migrate_at_once_and_each_script_runs_once(database: str) -> None:
    done = await asyncio.gather(*(migrated(database, SCHEMA) for _ in range(5)))

    assert sorted(name for names in done for name in names) == sorted(script.name for script in SCHEMA)
    assert await migrated(database, SCHEMA) == []


async def test_a_script_that_fails_leaves_nothing_and_can_be_tried_again(database: str) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await migrated(
            database,
            [Script("one", "CREATE TABLE one ()"), Script("two", "CREATE TABLE two (); CREATE nonsense")],
        )

    assert await migrated(database, [Script("one", "-"), Script("two", "CREATE TABLE two ()")]) == ["two"]


async def test_a_log_keeps_its_id_and_no_two_have_the_same(databases: Databases) -> None:
    one, other = databases(), databases()
    async with in_postgres(one) as first, in_postgres(one) as again, in_postgres(other) as different:
        assert first.log.log_id == again.log.log_id
        assert first.log.log_id != different.log.log_id


async def test_a_lost_position_is_noticed_and_not_skipped(database: str) -> None:
    async with in_postgres(database) as under_test:
        for _ in range(3):
            await under_test.log.append([new_event(uuid4(), 1)])
        async with as_owner(database) as owner:
            await owner.execute("DELETE FROM stored_events WHERE notification_id = 2")

        with pytest.raises(LogCorrupt):
            await under_test.log.read(0, 10)


async def test_all_keys_are_wrapped_again_when_the_master_key_is_replaced(database: str) -> None:
    await migrated(database, SCHEMA)
    old, new = os.urandom(32), os.urandom(32)
    owner = owner_url(database)
    async with await open_pool(owner, min_size=3, max_size=4) as pool, PostgresEventLog(pool) as log:
        before = PostgresDataKeys(pool, MasterKeys([old]))
        created = [before.create(uuid4()) for _ in range(3)]
        await log.append([], [row for _, row in created])

        assert await PostgresDataKeys(pool, MasterKeys([new, old])).rewrap(SubjectFailures("test")) == 3
        assert await PostgresDataKeys(pool, MasterKeys([new, old])).rewrap(SubjectFailures("test")) == 0

        after = PostgresDataKeys(pool, MasterKeys([new]))
        for key, _ in created:
            assert await after.get(key.subject_id) == key
            with pytest.raises(DecryptionFailed):
                await before.get(key.subject_id)


async def test_r19_a_key_without_its_master_key_is_named_and_all_others_are_wrapped_again(
    database: str,
) -> None:
    await migrated(database, SCHEMA)
    lost, old, new = os.urandom(32), os.urandom(32), os.urandom(32)
    owner = owner_url(database)
    async with await open_pool(owner, min_size=3, max_size=4) as pool, PostgresEventLog(pool) as log:
        made = [MasterKeys([key]).create(uuid4()) for key in (old, lost, old)]
        changed = SideRow("data_keys", {"subject_id": uuid4(), "wrapped": made[0][1].values["wrapped"]})
        await log.append([], [*(row for _, row in made), changed])
        keys, failures = PostgresDataKeys(pool, MasterKeys([new, old])), SubjectFailures("test")

        assert await keys.rewrap(failures) == 2

        bad = {made[1][0].subject_id, changed.values["subject_id"]}
        assert failures.by_subject == dict.fromkeys(bad, "DecryptionFailed")
        subjects = [key.subject_id for key, _ in made]
        assert set(await keys.get_all(subjects, failures)) == {subjects[0], subjects[2]}
