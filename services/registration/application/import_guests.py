"""Import the guests of before from another system: all that can be, and never twice (R29, ADR 0025)."""

from __future__ import annotations

import asyncio
import hmac
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

import orjson

from registration.application.dependencies import REGISTRATION_TAKEN, Context, Dependencies, Organisation
from registration.application.guest_row import COLUMNS, NEEDED_COLUMNS, GuestRow, read_row
from registration.application.membership import current_isil, is_library_of, references_of
from registration.application.repository import Card, account_rows, encrypt_card, encrypt_details, person_row
from registration.domain.errors import UnknownOrganisation
from registration.domain.guest import Guest, ImportedGuest
from registration.domain.term import is_on_offer
from registration.domain.verdict import PatronDetails
from shared.event_log import (
    DataKey,
    SideRow,
    SideRowConflict,
    VersionConflict,
    retry_on_conflict,
    set_data_key,
)
from shared.kernel.amsterdam import day_of
from shared.kernel.library_card import Isil, MalformedIsil, isil_base
from shared.platform.secrets import derived_key

__all__ = ["COLUMNS", "NEEDED_COLUMNS", "ImportGuests", "Line", "import_guests"]

BATCH = 200
"""So many guests are written in one transaction. Counters wait for the log no longer than that takes."""

UNDER_WAY = 2
"""Batches. One is read and encrypted while the database writes the one before: they share no guest, because a
line with a card, key or account of an earlier line is a mistake."""

PURPOSE_OF_IDS = "registration: ids of imported guests"
PURPOSE_OF_ROWS = "registration: rows of imported guests"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the file: its fields, or what is wrong with it."""

    number: int
    fields: Mapping[str, Any] | None = None
    mistakes: tuple[str, ...] = ()


class Finding(NamedTuple):
    """What an operator must know of a line. Only a mistake stops an import; no text holds personal data."""

    line: int
    kind: Literal["mistake", "differs", "already-here", "erased"]
    text: str


@dataclass(slots=True)
class Counts:
    """How many lines of which kind. `imported`: written, or to be written when only checked."""

    lines: int = 0
    imported: int = 0
    unchanged: int = 0
    differs: int = 0
    already_here: int = 0
    erased: int = 0
    mistakes: int = 0
    position: int = field(default=0, repr=False)

    def count(self, finding: Finding) -> None:
        """Count the line of a finding."""
        name = {"mistake": "mistakes", "already-here": "already_here"}.get(finding.kind, finding.kind)
        setattr(self, name, getattr(self, name) + 1)

    def add(self, lines: int, written: _Written) -> None:
        """Add a batch of so many lines, but for its findings."""
        self.lines += lines
        self.imported += written.imported
        self.unchanged += written.unchanged
        self.position = max(self.position, written.position)


class SeenInFile(Protocol):
    """What earlier lines of the file had, on the disk: a file may have any number of lines."""

    def first_line(self, what: str, line: int) -> int:
        """Return the first line with this text; this line, if no earlier one had it."""


class ImportedGuests(Protocol):
    """What the database knows of a batch, in one question each."""

    async def known(self, guest_ids: Sequence[UUID]) -> Mapping[UUID, bytes | None]:
        """Return those of the guests that exist, with the hash of the row that was imported.

        None: the guest was erased since.
        """

    async def found(self, organisation: str, refs: Sequence[str]) -> Mapping[str, UUID]:
        """Return those of the references that find a guest here, each with one guest (R10)."""

    async def asking(self, organisation: str, account_ids: Sequence[str]) -> Mapping[str, Sequence[UUID]]:
        """Return those of the login accounts that were ever asked for, with the guests who did."""


@dataclass(frozen=True, slots=True)
class ImportGuests:
    """The guests in `lines` come from the system `source`. `write` False: they are only checked."""

    source: str
    lines: Iterable[Line]
    write: bool


class _Arrival(NamedTuple):
    """A row that can be imported, unless the database knows the guest.

    `refs`: canonical number first. `known_as`: the ISIL bases that they are of (I10).
    """

    line: int
    row: GuestRow
    guest_id: UUID
    row_hash: bytes
    home: Isil
    refs: Sequence[str]
    known_as: str


async def import_guests(
    command: ImportGuests,
    context: Context,
    imported: ImportedGuests,
    seen: SeenInFile,
    deps: Dependencies,
    *,
    report: Callable[[Finding], None],
    on_progress: Callable[[int], None] = lambda _: None,
) -> Counts:
    """Import, or only check, all lines; return how many of which kind.

    Lines with a mistake, and guests who are known here already, are reported and left out. The guest's id
    follows from organisation, source and key, and each batch is one transaction: after an interruption the
    same file is imported to the same end. No home library is asked. Raises UnknownOrganisation.
    """
    organisation = deps.organisations.get(context.organisation)
    if organisation is None:
        raise UnknownOrganisation
    deps = replace(deps, isil_aliases=dict(deps.isil_aliases))  # the index follows a change by itself (I10)
    counts, reader = Counts(), _Reader(organisation, command.source, seen, deps)

    def found(finding: Finding) -> None:
        counts.count(finding)
        report(finding)

    def attempts() -> Iterator[tuple[int, _Attempt]]:
        for batch in _batches(command.lines):
            arrivals = [arrival for line in batch if (arrival := reader.read(line, found)) is not None]
            yield len(batch), partial(_batch, arrivals, command, context, imported, deps)

    async with aclosing(_in_turn(attempts())) as decided:
        async for lines, written in decided:
            for finding in written.findings:
                found(finding)
            counts.add(lines, written)
            on_progress(lines)
    return counts


async def _in_turn(attempts: Iterable[tuple[int, _Attempt]]) -> AsyncGenerator[tuple[int, _Written], None]:
    """Have UNDER_WAY attempts made at once. Yield the lines and the result of each, in their order."""
    under_way: deque[tuple[int, asyncio.Task[_Written]]] = deque()
    try:
        for lines, attempt in attempts:
            under_way.append((lines, asyncio.create_task(retry_on_conflict(attempt))))
            if len(under_way) == UNDER_WAY:
                first, task = under_way.popleft()
                yield first, await task
        while under_way:
            first, task = under_way.popleft()
            yield first, await task
    finally:
        for _, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    rest = iter(lines)
    while batch := list(itertools.islice(rest, BATCH)):
        yield batch


class _Reader:
    """Reads lines: what can be known of a row from the file and the settings alone."""

    def __init__(self, organisation: Organisation, source: str, seen: SeenInFile, deps: Dependencies) -> None:
        self._organisation = organisation
        self._source = source
        self._seen = seen
        self._deps = deps
        self._today: date = day_of(deps.clock.now())
        self._id_key = derived_key(deps.person_ref_key, PURPOSE_OF_IDS)
        self._row_key = derived_key(deps.person_ref_key, PURPOSE_OF_ROWS)

    def read(self, line: Line, report: Callable[[Finding], None]) -> _Arrival | None:
        """Return the row as it can be imported; None after its mistakes were reported, in one text."""
        row, mistakes = None, line.mistakes
        if line.fields is not None:
            row, mistakes = read_row(line.fields, self._today)
            mistakes += tuple(self._unknown(line.fields))
        arrival = None if row is None else self._arrival(line.number, row)
        if arrival is not None:
            mistakes += tuple(self._twice(arrival))
        if mistakes:
            report(Finding(line.number, "mistake", "; ".join(mistakes)))
            return None
        return arrival

    def _arrival(self, line: int, row: GuestRow) -> _Arrival:
        home = current_isil(row.home_isil, self._deps)
        references = references_of(home, _card(row).numbers, self._deps)
        row_hash = hmac.digest(self._row_key, row.model_dump_json().encode(), "sha256")
        refs = tuple(dict.fromkeys(references.refs))
        return _Arrival(line, row, self._guest_id(row), row_hash, home, refs, references.known_as)

    def _unknown(self, fields: Mapping[str, Any]) -> Iterator[str]:
        """Yield what the settings do not know, also of a row with other mistakes: all are reported."""
        isil, branch, code = (fields.get(name) for name in ("home_isil", "branch", "subscription"))
        with suppress(MalformedIsil):
            home = current_isil(isil if isinstance(isil, str) else "", self._deps)
            if home.base not in self._deps.home_library_names:
                yield "home_isil: this home library is not in the settings"
            if is_library_of(home, self._organisation, self._deps):
                yield "home_isil: it is a library of the organisation itself"
        if isinstance(branch, str) and branch not in self._organisation.branches:
            yield "branch: the organisation has no such branch"
        if isinstance(code, str) and not is_on_offer(code):
            yield "subscription: there is no such subscription"

    def _twice(self, arrival: _Arrival) -> Iterator[str]:
        line, row = arrival.line, arrival.row
        for ref in arrival.refs:
            if (first := self._seen.first_line(f"card|{ref}", line)) != line:
                yield f"card_number: line {first} has this number too"
                break
        first = self._seen.first_line(f"guest|{arrival.guest_id}", line)
        if first != line and row.key is not None:
            yield f"key: line {first} has it too"
        account = row.login_account_id
        if account is not None and (first := self._seen.first_line(f"account|{account}", line)) != line:
            yield f"login_account_id: line {first} has it too"

    def _guest_id(self, row: GuestRow) -> UUID:
        """Return the id that this row always gets. It shows nothing of the key (ADR 0025)."""
        base = isil_base(row.home_isil)  # as in the file: no merger of libraries makes it another guest
        key = ("card", base, row.card_number) if row.key is None else ("key", row.key)
        named = orjson.dumps([self._organisation.code, self._source, *key])
        digest = bytearray(hmac.digest(self._id_key, named, "sha256")[:16])
        digest[6] = digest[6] & 0x0F | 0x80  # a UUID of version 8 (RFC 9562)
        digest[8] = digest[8] & 0x3F | 0x80
        return UUID(bytes=bytes(digest))


class _Written(NamedTuple):
    findings: Sequence[Finding]
    imported: int
    unchanged: int
    position: int


_Attempt = Callable[[], Awaitable[_Written]]


async def _batch(
    arrivals: Sequence[_Arrival],
    command: ImportGuests,
    context: Context,
    imported: ImportedGuests,
    deps: Dependencies,
) -> _Written:
    """Write the guests of a batch who are not known here. Raises VersionConflict: then decide again."""
    known = await imported.known([arrival.guest_id for arrival in arrivals])
    findings = [
        finding
        for arrival in arrivals
        if arrival.guest_id in known and (finding := _known(arrival, known)) is not None
    ]
    new = [arrival for arrival in arrivals if arrival.guest_id not in known]
    unchanged = len(arrivals) - len(new) - len(findings)
    here = await imported.found(context.organisation, [ref for arrival in new for ref in arrival.refs])
    accounts = await _accounts_in_use(new, context.organisation, imported, deps)
    arriving = []
    for arrival in new:
        guest_id = next((here[ref] for ref in arrival.refs if ref in here), None)
        user = accounts.get(arrival.row.login_account_id or "")
        if arrival.guest_id in {guest_id, user}:  # another process has imported it since `known` was read
            raise VersionConflict(arrival.guest_id)
        if guest_id is not None:
            findings.append(Finding(arrival.line, "already-here", f"the card is that of guest {guest_id}"))
        elif user is not None:
            findings.append(
                Finding(arrival.line, "mistake", f"login_account_id: guest {user} has this login account")
            )
        else:
            arriving.append(arrival)
    position = await _write(arriving, command.source, context, deps) if command.write and arriving else 0
    return _Written(sorted(findings), len(arriving), unchanged, position)


def _known(arrival: _Arrival, known: Mapping[UUID, bytes | None]) -> Finding | None:
    """Return what must be reported of a guest who exists; None if the same row was imported before."""
    row_hash = known[arrival.guest_id]
    if row_hash is None:
        text = f"guest {arrival.guest_id} was imported before, and erased since"
        return Finding(arrival.line, "erased", text)
    if hmac.compare_digest(row_hash, arrival.row_hash):
        return None
    text = f"guest {arrival.guest_id} was imported with other values, which stay"
    return Finding(arrival.line, "differs", text)


async def _accounts_in_use(
    arrivals: Sequence[_Arrival], organisation: str, imported: ImportedGuests, deps: Dependencies
) -> Mapping[str, UUID]:
    """Return the login accounts that another guest of the organisation has, or is getting (I3)."""
    rows = [arrival.row for arrival in arrivals]
    wanted = [row.login_account_id for row in rows if row.login_account_id]
    in_use: dict[str, UUID] = {}
    for account_id, guest_ids in (await imported.asking(organisation, wanted)).items():
        for guest_id in guest_ids:
            guest = await deps.store.find(Guest, guest_id)
            if guest is not None and guest.state.link.account_id == account_id and guest.state.link.is_wanted:
                in_use[account_id] = guest_id
    return in_use


async def _write(arrivals: Sequence[_Arrival], source: str, context: Context, deps: Dependencies) -> int:
    """Write new guests in one transaction; return the position of the last event."""
    guests, rows = [], list[SideRow]()
    for arrival in arrivals:
        key, key_row = deps.data_keys.create(arrival.guest_id)
        values = _values(arrival, source, context.organisation, key)
        guest = Guest.take_over(arrival.guest_id, values, now=deps.clock.now())
        set_data_key(guest, key)
        guests.append(guest)
        bases, account_id = arrival.known_as, arrival.row.login_account_id
        rows += [key_row, SideRow("imported_guests", {"guest_id": guest.id, "row_hash": arrival.row_hash})]
        rows += [person_row(context.organisation, ref, guest.id, bases) for ref in arrival.refs]
        rows += account_rows(context.organisation, account_id, guest.id)
    try:
        return await deps.store.save(*guests, metadata=context.metadata, side_rows=rows)
    except SideRowConflict as conflict:
        if conflict.constraint in {REGISTRATION_TAKEN, *KEYS_OF_NEW_GUEST}:
            raise VersionConflict(conflict.constraint) from conflict
        raise


def _values(arrival: _Arrival, source: str, organisation: str, key: DataKey) -> ImportedGuest:
    row = arrival.row
    return ImportedGuest(
        organisation=organisation,
        branch=row.branch,
        home_isil=str(arrival.home),
        person_ref=arrival.refs[0],
        card_has_chip=row.card_has_chip,
        subscription_code=row.subscription,
        source=source,
        registered_on=row.registered_on,
        rows=row.rows,
        strips_granted=row.strips_granted,
        login_account_id=row.login_account_id,
        sealed_card=encrypt_card(_card(row), key),
        sealed_details=encrypt_details(PatronDetails(row.name, row.birth_date, row.address, row.email), key),
    )


KEYS_OF_NEW_GUEST = ("data_keys_pkey", "imported_guests_pkey")
"""A conflict on one of them: another process imports the same guest."""


def _card(row: GuestRow) -> Card:
    return Card.answered(row.card_number, *row.card_aliases)
