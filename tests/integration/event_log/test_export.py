"""A log goes into a file and comes out of it as it was, whatever is in it (ADR 0005)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import tracemalloc
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.event_log import MasterKeys
from shared.event_log.aggregate_store import make_transcoder
from shared.event_log.export import Decrypter, LogNotEmpty, export_log, import_log
from shared.platform.leases import Leases
from shared.platform.postgres import Connection, open_pool
from tests.support.event_log import (
    CARDS,
    MASTER_KEY,
    SEALING_KEY,
    TABLES,
    TERMS,
    Counted,
    connected,
    emptied,
    exported,
    imported,
    put_event,
)
from tests.support.eventually import eventually
from tests.support.servers import Databases

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
states = (
    st.dictionaries(text, json_values, max_size=4).map(orjson.dumps)
    | st.dictionaries(text, json_values, max_size=3).map(lambda state: json.dumps(state).encode())
    | st.binary(max_size=20)
)


def _is_something(value: object) -> bool:
    """No table of ours has a bare JSON null, which in JSON is the same as no value."""
    return value is not None


streams = st.lists(st.lists(states, min_size=1, max_size=4), max_size=4)
moments = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
cards = st.lists(
    st.tuples(
        text,
        text,
        st.none() | text,
        st.none() | st.uuids(),
        st.none() | st.binary(max_size=9),
        st.none() | json_values.filter(_is_something).map(json.dumps),
        st.none() | st.dates(date(1900, 1, 1), date(2100, 1, 1)),
        st.none() | moments,
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.booleans(),
    ),
    max_size=5,
    unique_by=lambda card: card[:2],
)


async def fill(connection: Connection, contents: list[list[bytes]], side: list[tuple[Any, ...]]) -> None:
    """Streams side by side, and rows of every type of column."""
    position = 0
    ids = [uuid4() for _ in contents]
    for version in range(4):
        for stream, events in zip(ids, contents, strict=True):
            if version < len(events):
                position += 1
                await put_event(connection, position, stream, version + 1, events[version], by="é“\n")
    if side:  # asyncpg leaves a transaction open behind an executemany of nothing
        await connection.executemany(
            "INSERT INTO cards VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10)", side
        )


@given(contents=streams, side=cards)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_exported_and_imported_is_exported_again_byte_for_byte(
    two_for_all_examples: tuple[asyncio.Runner, list[Connection]],
    contents: list[list[bytes]],
    side: list[tuple[Any, ...]],
) -> None:
    async def there_and_out_again() -> None:
        one, other = [await emptied(connection) for connection in places]
        await fill(one, contents, side)
        file = await exported(one)
        await imported(other, file)
        assert await exported(other) == file
        for rows in ("stored_events ORDER BY notification_id", f"cards ORDER BY {CARDS.order}"):
            query = f"SELECT * FROM {rows}"  # noqa: S608
            assert await other.fetch(query) == await one.fetch(query)

    runner, places = two_for_all_examples
    runner.run(there_and_out_again())


@pytest.fixture
def two(databases: Databases) -> tuple[str, str]:
    """Two databases."""
    return databases(), databases()


@pytest.fixture
def two_for_all_examples(two: tuple[str, str]) -> Iterator[tuple[asyncio.Runner, list[Connection]]]:
    """Connections to both, and the loop in which they live."""
    with asyncio.Runner() as runner:
        opened = AsyncExitStack()
        places = [runner.run(opened.enter_async_context(connected(url))) for url in two]
        yield runner, places
        runner.run(opened.aclose())


@pytest.fixture
async def here(two: tuple[str, str]) -> AsyncIterator[Connection]:
    """Where the log is."""
    async with connected(two[0]) as connection:
        yield connection


@pytest.fixture
async def there(two: tuple[str, str]) -> AsyncIterator[Connection]:
    """Where it goes."""
    async with connected(two[1]) as connection:
        yield connection


async def test_everything_beside_the_log_goes_along(here: Connection, there: Connection) -> None:
    guest, event = uuid4(), uuid4()
    await put_event(here, 1, guest, 1)
    await put_event(here, 2, uuid4(), 1)
    await here.execute("INSERT INTO inbox VALUES ($1, 1, $2), ($1, 2, NULL)", guest, event)
    await here.execute(
        "INSERT INTO held_guests VALUES ($1, 'parked', 'x', $2, now(), 3, now())", guest, event
    )
    message = '{"type": "t", "number": 1.10}'
    await here.execute("INSERT INTO held_messages VALUES ($1, 3, $2, $3::jsonb)", guest, event, message)
    await here.execute(
        "INSERT INTO discarded_messages VALUES ($1, 2, $2, $3::jsonb, 'why', 'who')", guest, event, message
    )
    await here.execute("INSERT INTO unreadable_messages (body, reason) VALUES ('\\xff00', 'a'), ('', 'b')")
    await here.execute("DELETE FROM unreadable_messages WHERE id = 1")
    await here.execute("INSERT INTO idempotency_keys VALUES ('s', 'r', 'k', '\\x01', $1)", guest)
    await put_event(
        here, 3, guest, 2
    )  # after the key was kept, which must not come out as the newer position
    await imported(there, await exported(here))

    for table in TABLES:
        assert await there.fetch(table.read) == await here.fetch(table.read), table.name
    assert await there.fetchval("SELECT position FROM idempotency_keys") == 1
    assert await there.fetchval("SELECT log_id FROM event_log_identity") == await here.fetchval(
        "SELECT log_id FROM event_log_identity"
    )
    await there.execute("INSERT INTO unreadable_messages (body, reason) VALUES ('', 'c')")
    assert await there.fetchval("SELECT max(id) FROM unreadable_messages") == 3
    await there.execute("INSERT INTO idempotency_keys VALUES ('s', 'r', 'l', '\\x01', $1)", guest)
    assert await there.fetchval("SELECT position FROM idempotency_keys WHERE key = 'l'") == 3


async def test_checkpoints_go_along_but_not_a_leaders_epoch_nor_that_of_a_view(
    here: Connection, there: Connection, two: tuple[str, str]
) -> None:
    """With its old epoch a checkpoint could be moved by no leader of the new database."""
    await here.execute("INSERT INTO checkpoints VALUES ('relay', 7, 12), ('sweep', 9, 3), ('guests', 5, 1)")
    await imported(there, await exported(here))
    assert [tuple(row) for row in await there.fetch("SELECT * FROM checkpoints ORDER BY name")] == [
        ("relay", 7, 0),
        ("sweep", 9, 0),
    ]
    async with await open_pool(two[1], min_size=1, max_size=1) as pool:
        leases = Leases(pool)
        lease = await leases.take("relay")
        assert lease is not None
        assert await leases.move_checkpoint(lease, 8)
        await leases.release(lease)


async def test_a_log_that_is_not_empty_takes_nothing(here: Connection, there: Connection) -> None:
    await put_event(here, 1, uuid4(), 1)
    file = await exported(here)
    with pytest.raises(LogNotEmpty, match="stored_events"):
        await imported(here, file)
    await there.execute("INSERT INTO checkpoints VALUES ('sweep', 9, 3)")
    with pytest.raises(LogNotEmpty, match="checkpoints"):
        await imported(there, file)


async def test_an_export_is_one_moment_of_the_log(here: Connection, two: tuple[str, str]) -> None:
    """What is appended meanwhile is in neither the events nor the rows."""
    for position in range(1, 4):
        await put_event(here, position, uuid4(), 1)
    pieces: list[bytes] = []

    async with connected(two[0]) as second:
        await second.execute("INSERT INTO inbox VALUES ($1, 1, $1)", uuid4())

        class Meddling:
            def expect(self, total: int) -> None:
                self.meddle = asyncio.ensure_future(self._meddle())

            async def _meddle(self) -> None:
                await put_event(second, 4, uuid4(), 1)
                await second.execute("INSERT INTO inbox VALUES ($1, 1, $1)", uuid4())

            def __call__(self, more: int) -> None:
                pass

        meddling = Meddling()
        done = await export_log(here, TERMS, pieces.append, meddling)
        await meddling.meddle
    assert (done.events, done.rows["inbox"]) == (3, 1)
    problem_types = [orjson.loads(line)["kind"] for line in b"".join(pieces).splitlines()]
    assert problem_types == ["header", "event", "event", "event", "row", "footer"]


async def test_while_importing_nobody_appends(
    here: Connection, there: Connection, two: tuple[str, str]
) -> None:
    """An append waits for the log's lock, so that it cannot take position 1 from under the import."""
    await put_event(here, 1, uuid4(), 1)
    file = await exported(here)
    append = (
        "SELECT append_events(ARRAY[gen_random_uuid()], ARRAY[1::bigint], ARRAY['t'],"
        " ARRAY[''::bytea], ARRAY[gen_random_uuid()], ARRAY['c'], ARRAY[gen_random_uuid()],"
        " ARRAY[NULL::uuid], '{}', '{}', NULL)"
    )
    async with connected(two[1]) as second, connected(two[1]) as watching:
        async with there.transaction():
            await imported(there, file)
            appending = asyncio.ensure_future(second.fetchval(append))
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            await eventually(lambda: watching.fetchval(waiting))
            assert not appending.done()
        assert await appending == 2


async def test_a_rotated_master_key_still_reads_its_old_files(here: Connection, there: Connection) -> None:
    await put_event(here, 1, uuid4(), 1)
    rotated = replace(TERMS, sealing_keys=[hmac.digest(b"newer", b"", hashlib.sha256), SEALING_KEY])
    assert (await imported(there, await exported(here), rotated)).events == 1


async def test_r19_a_decrypted_export_is_readable_but_for_the_erased(
    here: Connection, two: tuple[str, str]
) -> None:
    master_keys, transcoder = MasterKeys([MASTER_KEY]), make_transcoder()
    jan, erased = uuid4(), uuid4()
    for position, guest in enumerate((jan, erased), start=1):
        key, row = master_keys.create(guest)
        encrypted = key.encrypt({"name": "J. Jansen", "birth_date": date(1980, 2, 3)})
        state = transcoder.encode({"on": date(2025, 9, 11), "sealed_details": encrypted})
        await put_event(here, position, guest, 1, state)
        if guest == jan:
            await here.execute("INSERT INTO data_keys VALUES ($1, $2)", guest, row.values["wrapped"])

    readable, sealed_file = await exported(here, Decrypter(master_keys)), await exported(here)

    header, *events = [orjson.loads(line) for line in readable.splitlines()][:3]
    assert header["decrypted"]
    details = {"name": "J. Jansen", "birth_date": "1980-02-03"}
    assert [event["state"] for event in events] == [
        {"on": "2025-09-11", "sealed_details": details},
        {"on": "2025-09-11", "sealed_details": "encrypted"},
    ]
    assert b"Jansen" not in sealed_file


async def test_ten_times_the_log_takes_no_more_memory(
    here: Connection, there: Connection, tmp_path: Path
) -> None:
    out, back = [], []
    for size in (2_000, 20_000):
        await _many_events(await emptied(here), size)
        file = tmp_path / f"{size}.jsonl"
        with file.open("wb") as written:
            out.append(await _peak(export_log(here, TERMS, written.write, Counted())))
        with file.open("rb") as read:
            back.append(await _peak(import_log(await emptied(there), TERMS, read, Counted())))
    assert out[1] < 1.3 * out[0]
    assert back[1] < 1.3 * back[0]


async def _many_events(connection: Connection, count: int) -> None:
    await connection.execute(
        f"""
        INSERT INTO stored_events
        SELECT md5((n / 4)::text)::uuid, n % 4 + 1, n + 1, gen_random_uuid(), gen_random_uuid(), NULL, now(),
               'library.something-happened', 'clerk', '{{"text":"{"x" * 200}"}}'
          FROM generate_series(0, {count - 1}) AS n;
        INSERT INTO inbox SELECT gen_random_uuid(), 1, gen_random_uuid() FROM generate_series(1, {count});
        """  # noqa: S608
    )


async def _peak(work: Coroutine[Any, Any, object]) -> int:
    """The most memory that was in use at once, in bytes."""
    tracemalloc.start()
    try:
        await work
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
