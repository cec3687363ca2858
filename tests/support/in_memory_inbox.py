"""The tables of the inbox without PostgreSQL: the real `Inbox` runs in memory, paused at each statement.

It knows the inbox's own statements by their text, and no others: who changes one is told here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from shared.event_log import InMemoryEventLog
from shared.messaging import inbox, other_log, parked, signing

Row = dict[str, Any]

INBOX_KEY = {"inbox_pkey": ("inbox", ("guest_id", "stream_version"))}
"""The unique key of the inbox, for `InMemoryEventLog`."""


class InMemoryInboxTables:
    """Stands in for the pool of one database: its inbox rows are the side rows of an in-memory log.

    `pause` is awaited before each statement, and before a transaction: others may be first.
    """

    def __init__(self, log: InMemoryEventLog, pause: Callable[[], Awaitable[None]]) -> None:
        self.inbox: list[Mapping[str, Any]] = log.rows("inbox")
        self.held_guests: dict[UUID, str] = {}
        self.held_messages: list[Row] = []
        self.sources: dict[str, str] = {}
        self.received: list[int] = []
        self.lost_end: tuple[int, int] | None = None
        self._pause = pause

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        await self._pause()
        return list(self._run(sql, arguments))

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        await self._pause()
        return next(iter(self._run(sql, arguments)), None)

    async def execute(self, sql: str, *arguments: Any) -> None:
        await self._pause()
        self._run(sql, arguments)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[_Connection]:
        await self._pause()
        yield _Connection(self)

    def _run(self, sql: str, arguments: Sequence[Any]) -> Sequence[Any]:
        statement = _STATEMENTS.get(_plain(sql))
        assert statement is not None, f"the inbox has a statement that {__name__} does not know: {sql}"
        return statement(self, *arguments)

    def versions(self, guest_id: UUID) -> list[int]:
        return [row["stream_version"] for row in self.inbox if row["guest_id"] == guest_id]

    def _says_the_same(self, guest_id: UUID, version: int, event_id: UUID, content: bytes) -> bool:
        return any(
            (row["guest_id"], row["stream_version"]) == (guest_id, version)
            and (row["event_id"] == event_id or row["content"] == content)
            for row in self.inbox
        )

    def _cursors(
        self, guests: list[UUID], versions: list[int], ids: list[UUID], contents: list[bytes]
    ) -> list[Row]:
        return [
            {
                "last_version": max(self.versions(guest), default=None),
                "is_parked": guest in self.held_guests,
                "is_known": self._says_the_same(guest, version, event_id, content),
                "read_up_to": None,  # nobody polls a feed here
            }
            for guest, version, event_id, content in zip(guests, versions, ids, contents, strict=True)
        ]

    def _last_version(self, guest_id: UUID) -> list[int]:
        return [max(known)] if (known := self.versions(guest_id)) else []

    def _is_applied(self, guest_id: UUID, version: int, event_id: UUID, content: bytes) -> list[bool]:
        return [True] if self._says_the_same(guest_id, version, event_id, content) else []

    def _park(self, guest_id: UUID, state: parked.State, *_: Any) -> list[Any]:
        self.held_guests[guest_id] = state.value
        return []

    def _queue(self, guest_id: UUID, version: int, event_id: UUID, message: str) -> list[Any]:
        if guest_id not in self.held_guests:
            raise asyncpg.ForeignKeyViolationError("held_messages")
        row = {"guest_id": guest_id, "stream_version": version, "event_id": event_id, "message": message}
        if not any(_key(row) == _key(other) for other in self.held_messages):
            self.held_messages.append(row)
        return []

    def _messages(self, guest_id: UUID) -> list[Row]:
        found = [row for row in self.held_messages if row["guest_id"] == guest_id]
        return sorted(found, key=lambda row: int(row["stream_version"]))

    def _forget_applied(self, guest_id: UUID) -> list[Any]:
        applied = {_key(row) for row in self.inbox}
        self.held_messages[:] = [
            row for row in self.held_messages if row["guest_id"] != guest_id or _key(row) not in applied
        ]
        return []

    def _unpark(self, guest_id: UUID) -> list[Any]:
        if self._messages(guest_id):
            raise asyncpg.ForeignKeyViolationError("held_messages")
        self.held_guests.pop(guest_id, None)
        return []

    def _due(self, limit: int, _: float) -> list[Row]:
        """Everybody who waits is due: when that is, the machine chooses."""
        applied = {_key(row) for row in self.inbox}
        return [
            {"guest_id": guest_id}
            for guest_id, state in self.held_guests.items()
            if state == "waiting" or all(_key(row) in applied for row in self._messages(guest_id))
        ][:limit]

    def _follow(self, service: str, source: str) -> list[Any]:
        self.sources.setdefault(service, source)
        return []

    def _followed(self, service: str) -> list[str]:
        return [self.sources[service]] if service in self.sources else []

    def _store_highest(self, position: int) -> list[Any]:
        self.received = [max([position, *self.received])]
        return []

    def _highest(self) -> list[int]:
        return self.received

    def _note_lost_end(self, _: str, seen: int, head: int) -> list[int]:
        before = self.lost_end
        self.lost_end = (max(seen, before[0]), min(head, before[1])) if before else (seen, head)
        return [1] if before is None or head < before[1] else []


class _Connection:
    """A connection: what it does in a transaction, others see at once or not at all."""

    def __init__(self, tables: InMemoryInboxTables) -> None:
        self._tables = tables

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        guests, messages = dict(self._tables.held_guests), list(self._tables.held_messages)
        try:
            yield
        except BaseException:
            self._tables.held_guests, self._tables.held_messages = guests, messages
            raise

    async def execute(self, sql: str, *arguments: Any) -> None:
        self._tables._run(sql, arguments)

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self._tables._run(sql, row)


def _key(row: Mapping[str, Any]) -> tuple[UUID, int, UUID]:
    return row["guest_id"], row["stream_version"], row["event_id"]


def _plain(sql: str) -> str:
    return " ".join(sql.split())


_BY_TEXT: Mapping[str, Callable[..., Sequence[Any]]] = {
    inbox._READ_CURSORS: InMemoryInboxTables._cursors,
    inbox._LAST_VERSION: InMemoryInboxTables._last_version,
    inbox._IS_APPLIED: InMemoryInboxTables._is_applied,
    parked._PARK: InMemoryInboxTables._park,
    parked._QUEUE: InMemoryInboxTables._queue,
    parked._MESSAGES: InMemoryInboxTables._messages,
    parked._FORGET_APPLIED: InMemoryInboxTables._forget_applied,
    parked._UNPARK: InMemoryInboxTables._unpark,
    parked._DUE: InMemoryInboxTables._due,
    signing._FOLLOW_THE_FIRST: InMemoryInboxTables._follow,
    signing._FOLLOWED: InMemoryInboxTables._followed,
    other_log._STORE: InMemoryInboxTables._store_highest,
    other_log._HIGHEST: InMemoryInboxTables._highest,
    other_log._NOTE: InMemoryInboxTables._note_lost_end,
}

_STATEMENTS = {_plain(sql): statement for sql, statement in _BY_TEXT.items()}
