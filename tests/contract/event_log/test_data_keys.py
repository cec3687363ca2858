"""The keys of persons (ADR 0005): they exist once appended; what they encrypted is gone with them (R19)."""

import os
from collections.abc import AsyncIterator
from datetime import date
from uuid import uuid4

import pytest

from shared.event_log import (
    DataKeys,
    InMemoryDataKeys,
    InMemoryEventLog,
    MasterKeys,
    PostgresDataKeys,
    erasure_row,
)
from shared.platform.postgres import open_pool
from tests.support.event_log import LogUnderTest


@pytest.fixture
async def keys(under_test: LogUnderTest, request: pytest.FixtureRequest) -> AsyncIterator[DataKeys]:
    if isinstance(under_test.log, InMemoryEventLog):
        yield InMemoryDataKeys(under_test.log)
    else:
        async with await open_pool(request.getfixturevalue("database"), min_size=1, max_size=2) as pool:
            yield PostgresDataKeys(pool, MasterKeys([os.urandom(32)]))


async def test_a_key_exists_once_its_row_was_appended(under_test: LogUnderTest, keys: DataKeys) -> None:
    guest_id = uuid4()
    key, row = keys.create(guest_id)
    assert await keys.get(guest_id) is None

    await under_test.log.append([], [row])

    assert await keys.get(guest_id) == key


async def test_what_was_encrypted_is_decrypted_later(under_test: LogUnderTest, keys: DataKeys) -> None:
    guest_id = uuid4()
    key, row = keys.create(guest_id)
    details = {"name": "J. Jansen", "birth_date": date(1980, 2, 29), "lines": ["Dorpsstraat 1", None]}
    encrypted = key.encrypt(details)
    await under_test.log.append([], [row])

    again = await keys.get(guest_id)

    assert again is not None
    assert again.decrypt(encrypted) == details
    assert b"Jansen" not in encrypted


async def test_r19_the_row_of_an_erasure_leaves_nothing_to_open_with(
    under_test: LogUnderTest, keys: DataKeys
) -> None:
    guest_id, other_id = uuid4(), uuid4()
    await under_test.log.append([], [keys.create(guest_id)[1], keys.create(other_id)[1]])

    await under_test.log.append([], [erasure_row(guest_id)])

    assert await keys.get(guest_id) is None
    assert await keys.get(other_id) is not None
    assert str(guest_id) not in str(await under_test.rows("data_keys"))
