"""Reading the file: each line checked as it comes, whatever is wrong refused by its number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any
from uuid import UUID

import orjson

from shared.event_log.transfer.chain import Chain
from shared.event_log.transfer.entries import Entry, EventEntry, RowEntry, event_entry, row_entry
from shared.event_log.transfer.errors import EXPORT_AGAIN, FileRefused
from shared.event_log.transfer.terms import FORMAT, FORMAT_VERSION, Terms, Transferred

LONGEST_LINE = 64 * 1024 * 1024
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)
CHANGED = "it was changed, or a line before it is missing, added or in another place"
OTHER_KEY = "it was changed, or sealed under a master key that is not in the key file"


@dataclass(frozen=True, slots=True)
class Header:
    """What the file says of itself."""

    log_id: UUID
    events: int
    rows: int


class LogFile:
    """A file on its way in: first `header`, then `entries`. Both raise FileRefused."""

    def __init__(self, file: IO[bytes], terms: Terms) -> None:
        self._file = file
        self._terms = terms
        self._tables = {table.name for table in terms.tables}
        self._line = 0
        self._events = 0
        self._rows: Counter[str] = Counter()

    def header(self) -> Header:
        """Read line 1, and refuse what is no export of this service's log."""
        line = self._next_line()
        content = self._read(line)
        self._must_be_ours(content)
        self._chain = self._chain_of(line)
        try:
            self._header = Header(UUID(content["log_id"]), int(content["position"]), int(content["rows"]))
        except UNREADABLE:
            raise self._refusal("it is no header") from None
        return self._header

    def entries(self) -> Iterator[Entry]:
        """Read on to the footer, which must count what came before it, and end the file."""
        while True:
            line = self._next_sealed_line()
            content = self._read(line)
            kind = content.get("kind")
            if kind == "footer":
                break
            yield self._event(content) if kind == "event" else self._row(content, line)
        self._no_event_may_be_missing()
        if content.get("events") != self._events or Counter(content.get("rows")) != self._rows:
            raise self._refusal("the footer counts other lines than there are")
        if self._file.read(1):
            self._line += 1
            raise self._refusal("there is more behind the footer")

    def done(self) -> Transferred:
        """What was read."""
        rows = {table.name: self._rows[table.name] for table in self._terms.tables}
        return Transferred(self._header.log_id, self._events, rows)

    def _must_be_ours(self, content: Mapping[str, Any]) -> None:
        # Before the seal is checked: it would fail as well, and say less.
        service, version = content.get("service"), content.get("version")
        if content.get("format") != FORMAT:
            raise self._refusal("it is not the export of an event log", "name another file")
        if version != FORMAT_VERSION:
            reason = f"format version {version} is unknown here, which reads version {FORMAT_VERSION}"
            raise self._refusal(reason, "use the release that wrote it")
        if service != self._terms.service:
            raise self._refusal(f"it is the log of {service}", f"use `{service} events import`")
        if content.get("decrypted"):
            raise self._refusal("it is decrypted, for reading only", "export without --decrypt")

    def _chain_of(self, line: bytes) -> Chain:
        """Find the key under which the file was sealed: it may be older than the newest master key."""
        for key in self._terms.sealing_keys:
            chain = Chain(key)
            if chain.follows(line):
                return chain
        raise self._refusal(OTHER_KEY, "add that key to the key file, or export the log again")

    def _next_line(self) -> bytes:
        self._line += 1
        line = self._file.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise self._refusal("the file is cut off here")
        return line

    def _next_sealed_line(self) -> bytes:
        line = self._next_line()
        if not self._chain.follows(line):
            raise self._refusal(CHANGED)
        return line

    def _read(self, line: bytes) -> Mapping[str, Any]:
        try:
            content: Mapping[str, Any] = orjson.loads(line)
            return {**content}
        except UNREADABLE:
            raise self._refusal("it is not a JSON object") from None

    def _event(self, content: Mapping[str, Any]) -> EventEntry:
        try:
            entry = event_entry(self._line, content)
        except UNREADABLE:
            raise self._refusal("the event cannot be read") from None
        expected = self._events + 1
        if entry.position != expected:
            wrong = "comes again" if entry.position < expected else f"stands where {expected} must be"
            raise self._refusal(f"position {entry.position} {wrong}")
        self._events = expected
        return entry

    def _row(self, content: Mapping[str, Any], line: bytes) -> RowEntry:
        self._no_event_may_be_missing()
        try:
            entry = row_entry(self._line, content, line)
        except UNREADABLE:
            raise self._refusal("it is neither an event nor a row") from None
        if entry.target[0] not in self._tables:
            raise self._refusal(f"there is no table {entry.target[0]} here", "use the release that wrote it")
        self._rows[entry.target[0]] += 1
        return entry

    def _no_event_may_be_missing(self) -> None:
        if self._events != self._header.events:
            raise self._refusal(f"there are {self._events} events, not {self._header.events} as line 1 says")

    def _refusal(self, reason: str, advice: str = EXPORT_AGAIN) -> FileRefused:
        return FileRefused(self._line, reason, advice)
