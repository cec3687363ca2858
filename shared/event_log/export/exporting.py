"""Export a log to a file: one snapshot, read page by page, so that a large log needs no more memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from uuid import UUID

import asyncpg
import orjson

from shared.event_log.export.format import (
    Chain,
    Progress,
    Terms,
    Transferred,
    event_line,
    footer_line,
    header_line,
    row_line,
    stored_state,
)
from shared.event_log.notifier import POSITION
from shared.event_log.readable import Decrypter
from shared.event_log.reading import LOG_ID
from shared.platform.postgres import Connection

PAGE = 1000
EVENTS = """
SELECT notification_id, originator_id, originator_version, topic, state, event_id, recorded_at,
       caused_by, correlation_id, causation_id,
       (SELECT wrapped FROM data_keys WHERE subject_id = originator_id) AS wrapped
  FROM stored_events ORDER BY notification_id
"""

Write = Callable[[bytes], object]


async def export_log(
    connection: Connection,
    terms: Terms,
    write: Write,
    progress: Progress,
    opener: Decrypter | None = None,
) -> Transferred:
    """Write the whole log as it is at this moment; return what was written.

    With an `opener`, encrypted fields become readable. `write` receives whole lines, many at a time.
    """
    chain = Chain(terms.sealing_keys[0])
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL timezone TO 'UTC'")  # the same text for a moment everywhere
        here = await _what_is_here(connection, terms)
        progress.expect(here.events + sum(here.rows.values()))
        write(chain.seal(header_line(terms.service, here, decrypted=opener is not None)))
        async for lines in _lines(connection, terms, opener):
            write(b"".join(map(chain.seal, lines)))
            progress(len(lines))
        write(chain.seal(footer_line(here)))
    return here


async def _what_is_here(connection: Connection, terms: Terms) -> Transferred:
    log_id = UUID(str(await connection.fetchval(LOG_ID)))
    events = int(await connection.fetchval(POSITION))
    rows = {table.name: int(await connection.fetchval(table.count)) for table in terms.tables}
    return Transferred(log_id, events, rows)


async def _lines(
    connection: Connection, terms: Terms, opener: Decrypter | None
) -> AsyncIterator[list[bytes]]:
    async for page in _pages(connection, EVENTS):
        yield [event_line(row, _state(row, opener)) for row in page]
    for table in terms.tables:
        async for page in _pages(connection, table.read):
            yield [row_line(table.name, values) for (values,) in page]


async def _pages(connection: Connection, query: str) -> AsyncIterator[list[asyncpg.Record]]:
    cursor = await connection.cursor(query)
    while page := await cursor.fetch(PAGE):
        yield page


def _state(row: asyncpg.Record, opener: Decrypter | None) -> Mapping[str, object]:
    if opener is None:
        return stored_state(row["state"])
    return {"state": orjson.Fragment(opener.opened(row["originator_id"], row["state"], row["wrapped"]))}
