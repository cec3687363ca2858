"""Take over login accounts from a list: first all of it is checked, then it is written.

What is taken over already is passed over, so an import that was broken off is simply run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from identity.application.dependencies import AccountDetails, Context, Dependencies
from identity.application.repository import find_account, new_account, person_of, save
from identity.application.usernames import username_key
from identity.domain.errors import UsernameTaken
from shared.event_log import VersionConflict

T = TypeVar("T")
Progress = Callable[[int], None]
"""Called with how many lines were dealt with since the last call."""

AT_ONCE = 200
MOST_MISTAKES = 20


@dataclass(frozen=True, slots=True)
class AccountLine:
    """One account of the list, and the number of its line."""

    number: int
    details: AccountDetails


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a line."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    """How many lines were looked at, and the first mistakes."""

    lines: int
    mistakes: Sequence[Mistake]


@dataclass(frozen=True, slots=True)
class Imported:
    """How many accounts were opened, and how many were known already."""

    opened: int
    known: int


async def check_accounts(
    lines: Iterable[AccountLine | Mistake], deps: Dependencies, progress: Progress
) -> Checked:
    """Find the mistakes of the whole list, at most MOST_MISTAKES; with none it can be imported."""
    count = 0
    mistakes: list[Mistake] = []
    seen = _Seen({}, {})
    for batch in _batches(lines):
        mistakes += [each for each in batch if isinstance(each, Mistake)]
        accounts = [each for each in batch if isinstance(each, AccountLine)]
        mistakes += await _conflicts(accounts, seen, deps)
        count += len(batch)
        progress(len(batch))
        if len(mistakes) >= MOST_MISTAKES:
            break
    in_order = sorted(mistakes, key=lambda mistake: mistake.number)
    return Checked(count, in_order[:MOST_MISTAKES])


async def import_accounts(
    lines: Iterable[AccountLine | Mistake], context: Context, deps: Dependencies, progress: Progress
) -> Imported:
    """Open the accounts of a list that was checked. Raises UsernameTaken when one was taken since."""
    opened = known = 0
    for batch in _batches(line for line in lines if isinstance(line, AccountLine)):
        fresh = await asyncio.gather(*(_import(line.details, context, deps) for line in batch))
        opened += sum(fresh)
        known += len(fresh) - sum(fresh)
        progress(len(batch))
    return Imported(opened, known)


@dataclass(frozen=True, slots=True)
class _Seen:
    """On which line an account id or a username came first."""

    account_ids: dict[str, int]
    username_keys: dict[str, int]


async def _conflicts(lines: Sequence[AccountLine], seen: _Seen, deps: Dependencies) -> Sequence[Mistake]:
    keys = {line.number: _key(line.details, deps) for line in lines}
    ids = {line.details.account_id for line in lines}
    holders = await deps.usernames.holders(set(keys.values()), ids)
    key_held = {account_id: key for key, account_id in holders.items()}
    mistakes = []
    for line in lines:
        account_id, key = line.details.account_id, keys[line.number]
        if seen.account_ids.setdefault(account_id, line.number) != line.number:
            mistakes.append(Mistake(line.number, f"account_id stands on line {seen.account_ids[account_id]}"))
        elif seen.username_keys.setdefault(key, line.number) != line.number:
            mistakes.append(Mistake(line.number, f"username stands on line {seen.username_keys[key]}"))
        elif holders.get(key, account_id) != account_id:
            mistakes.append(Mistake(line.number, "username is taken by another account"))
        elif key_held.get(account_id, key) != key:
            mistakes.append(Mistake(line.number, "account_id is known with another username"))
    return mistakes


async def _import(details: AccountDetails, context: Context, deps: Dependencies) -> bool:
    """Open one account; whether it was not there yet."""
    if await find_account(details.account_id, deps) is not None:
        return False
    person = person_of(details, deps)
    loaded = await new_account(details, deps, person=person, username_must_be_free=True)
    try:
        await save(deps, *loaded.aggregates, metadata=context.metadata, side_rows=loaded.side_rows)
    except VersionConflict:
        if await find_account(details.account_id, deps) is None:
            raise UsernameTaken from None
        return False
    return True


def _key(details: AccountDetails, deps: Dependencies) -> str:
    return username_key(details.username, details.home_isil, deps)


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, AT_ONCE)):
        yield batch
