"""A file that is not the whole, unchanged export of this log is refused by its line; nothing is written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from shared.event_log import MasterKeys
from shared.event_log.export import Decrypter, FileRefused
from shared.platform.postgres import Connection
from tests.support.event_log import (
    MASTER_KEY,
    TERMS,
    connected,
    edited,
    exported,
    imported,
    is_empty,
    put_event,
    resealed,
)

ONE, OTHER = UUID(int=1), UUID(int=2)
Lines = list[bytes]


@pytest.fixture
async def here(database: str) -> AsyncIterator[Connection]:
    """An empty log."""
    async with connected(database) as connection:
        yield connection


@pytest.fixture
async def lines(here: Connection) -> Lines:
    """A file: the header on line 1, four events on 2 to 5, two rows on 6 and 7, the footer on 8."""
    for position, (stream, version) in enumerate([(ONE, 1), (OTHER, 1), (ONE, 2), (ONE, 3)], start=1):
        await put_event(here, position, stream, version)
    await here.execute("INSERT INTO inbox VALUES ($1, 1, $1), ($2, 1, $2)", ONE, OTHER)
    file = await exported(here)
    await here.execute("DELETE FROM stored_events")
    await here.execute("DELETE FROM inbox")
    return file.splitlines(keepends=True)


async def refused(here: Connection, file: bytes) -> FileRefused:
    """How a file is refused; nothing may have been written."""
    log_id = await here.fetchval("SELECT log_id FROM event_log_identity")
    with pytest.raises(FileRefused) as refusal:
        await imported(here, file)
    assert await is_empty(here)
    assert await here.fetchval("SELECT log_id FROM event_log_identity") == log_id
    return refusal.value


def changed(number: int) -> Callable[[Lines], Lines]:
    """One letter of a line is another."""

    def change(lines: Lines) -> Lines:
        line = lines[number - 1]
        middle = len(line) // 3
        letter = b"x" if line[middle : middle + 1] != b"x" else b"y"
        return [*lines[: number - 1], line[:middle] + letter + line[middle + 1 :], *lines[number:]]

    return change


TAMPERED: list[tuple[str, Callable[[Lines], Lines], int]] = [
    *((f"line {number} changed", changed(number), number) for number in range(1, 9)),
    ("a line missing", lambda lines: [*lines[:3], *lines[4:]], 4),
    ("a row missing", lambda lines: [*lines[:5], *lines[6:]], 6),
    ("a line twice", lambda lines: [*lines[:3], lines[2], *lines[3:]], 4),
    ("two lines swapped", lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], 4),
    ("cut off behind an event", lambda lines: lines[:4], 5),
    ("cut off before the footer", lambda lines: lines[:7], 8),
    ("cut off within a line", lambda lines: [*lines[:4], lines[4][:-9]], 5),
    ("more behind the footer", lambda lines: [*lines, lines[-1]], 9),
    ("an empty line", lambda lines: [*lines[:2], b"\n", *lines[2:]], 3),
    ("no JSON", lambda lines: [lines[0], b"nonsense\n", *lines[1:]], 2),
    ("an empty file", lambda lines: [], 1),
]


@pytest.mark.parametrize(
    ("tampered", "line"), [case[1:] for case in TAMPERED], ids=[case[0] for case in TAMPERED]
)
async def test_whatever_is_done_to_a_file_shows_at_its_line(
    here: Connection, lines: Lines, tampered: Callable[[Lines], Lines], line: int
) -> None:
    refusal = await refused(here, b"".join(tampered(lines)))
    assert refusal.line == line
    assert str(refusal).startswith(f"line {line}: ")


async def test_lines_of_an_older_export_do_not_fit_into_a_newer_one(here: Connection, lines: Lines) -> None:
    """The chain begins with the header, which names the position."""
    await imported(here, b"".join(lines))
    await put_event(here, 5, OTHER, 2)
    newer = (await exported(here)).splitlines(keepends=True)
    for table in ("stored_events", "inbox"):
        await here.execute(f"DELETE FROM {table}")  # noqa: S608
    assert (await refused(here, b"".join([*newer[:3], *lines[3:]]))).line == 4


# What follows has good seals, as a mistaken (not a malicious) writer who has the key would make them.
MISTAKEN: list[tuple[str, Callable[[Lines], Lines], int, str]] = [
    (
        "a position missing",
        lambda lines: [*lines[:3], *lines[4:]],
        4,
        "position 4 comes where position 3 must be",
    ),
    ("a position twice", lambda lines: [*lines[:4], lines[3], *lines[4:]], 5, "position 3 comes again"),
    ("the last position missing", lambda lines: [*lines[:4], *lines[5:]], 5, "there are 3 events, not 4"),
    (
        "a version missing",
        lambda lines: [*lines[:3], edited(lines[3], version=3), *lines[4:]],
        4,
        "version 3 of stream 00000000-0000-0000-0000-000000000001 does not follow 1",
    ),
    (
        "a version twice",
        lambda lines: [*lines[:4], edited(lines[4], version=2), *lines[5:]],
        5,
        "version 2 of stream 00000000-0000-0000-0000-000000000001 comes again",
    ),
    (
        "a stream that begins in its middle",
        lambda lines: [*lines[:2], edited(lines[2], version=2), *lines[3:]],
        3,
        "does not follow 0",
    ),
    ("no stream", lambda lines: [lines[0], edited(lines[1], stream="x"), *lines[2:]], 2, "cannot be read"),
    (
        "a topic that is no text",
        lambda lines: [lines[0], edited(lines[1], topic=["x"]), *lines[2:]],
        2,
        "the event cannot be read",
    ),
    (
        "a letter that no database takes",
        lambda lines: [lines[0], edited(lines[1], topic="x\0"), *lines[2:]],
        2,
        "the database refuses it, or a line up to 5",
    ),
    (
        "an unknown table",
        lambda lines: [*lines[:5], edited(lines[5], table="leases"), *lines[6:]],
        6,
        "there is no table leases here",
    ),
    (
        "an unknown column",
        lambda lines: [*lines[:5], edited(lines[5], values={"x": 1}), *lines[6:]],
        6,
        "the database refuses it",
    ),
    (
        "a row twice",
        lambda lines: [*lines[:6], lines[5], lines[7]],
        6,
        "the database refuses it, or a line up to 7",
    ),
    ("an unknown kind", lambda lines: [*lines[:5], edited(lines[5], kind="x", table=1), *lines[6:]], 6, ""),
    (
        "an event among the rows",
        lambda lines: [*lines[:6], lines[4], *lines[6:]],
        7,
        "position 4 comes again",
    ),
    ("a wrong count", lambda lines: [*lines[:7], edited(lines[7], events=3)], 8, "the footer counts"),
    ("a wrong count of rows", lambda lines: [*lines[:6], lines[7]], 7, "the footer counts"),
]


@pytest.mark.parametrize(
    ("mistaken", "line", "reason"), [case[1:] for case in MISTAKEN], ids=[case[0] for case in MISTAKEN]
)
async def test_a_log_that_cannot_have_been_is_refused_although_its_seals_are_good(
    here: Connection, lines: Lines, mistaken: Callable[[Lines], Lines], line: int, reason: str
) -> None:
    refusal = await refused(here, resealed(mistaken(lines)))
    assert refusal.line == line
    assert reason in str(refusal)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "another"}, "it is not the export of an event log"),
        ({"version": 2}, "format version 2 is unknown here"),
        ({"service": "museum"}, "it is the log of museum: use `museum events import`"),
        ({"decrypted": True}, "it is decrypted, for reading only: export without --decrypt"),
        ({"log_id": "x"}, "it is not a header"),
    ],
)
async def test_a_header_of_something_else_is_refused_in_clear_words(
    here: Connection, lines: Lines, changes: dict[str, object], reason: str
) -> None:
    refusal = await refused(here, resealed([edited(lines[0], **changes), *lines[1:]]))
    assert refusal.line == 1
    assert reason in str(refusal)


async def test_a_file_under_a_master_key_that_is_gone_is_refused(here: Connection, lines: Lines) -> None:
    refusal = await refused(here, resealed(lines, bytes(32)))
    assert "a master key that is not in the key file" in str(refusal)


async def test_a_decrypted_export_is_refused(here: Connection) -> None:
    await put_event(here, 1, uuid4(), 1)
    file = await exported(here, Decrypter(MasterKeys([MASTER_KEY])))
    await here.execute("DELETE FROM stored_events")
    assert "decrypted" in str(await refused(here, file))


async def test_another_services_export_is_refused(here: Connection) -> None:
    file = await exported(here, terms=replace(TERMS, service="museum"))
    assert "museum" in str(await refused(here, file))
