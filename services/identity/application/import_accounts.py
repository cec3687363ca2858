"""Import login accounts from a list: `check_accounts` checks the whole list, `import_accounts` opens them.

Accounts that are known already are skipped, so an import that was stopped can be run again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar
from uuid import UUID

from identity.application.dependencies import AccountDetails, Context, Dependencies
from identity.application.repository import find_account, new_account, person_of, save, username_keys
from identity.domain.errors import UsernameTaken
from identity.domain.login_account import login_account_stream
from shared.event_log import SubjectFailures, VersionConflict

T = TypeVar("T")
Progress = Callable[[int], None]
"""Called with the number of lines processed since the last call."""

BATCH_LINES = 200
MAX_MISTAKES = 20


@dataclass(frozen=True, slots=True)
class AccountLine:
    """One account of the list, with its line number."""

    number: int
    details: AccountDetails


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with one line. An operator reads `text`."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The number of lines that were checked, and the first mistakes in the order of the lines."""

    lines: int
    mistakes: Sequence[Mistake]


@dataclass(frozen=True, slots=True)
class Imported:
    """The number of accounts that were opened, and of those that were known already.

    `failed`: stream of an account that was skipped -> kind of error.
    """

    opened: int
    known: int
    failed: Mapping[UUID, str]


async def check_accounts(
    lines: Iterable[AccountLine | Mistake], deps: Dependencies, progress: Progress
) -> Checked:
    """Find the mistakes in the list, at most MAX_MISTAKES. A list without mistakes can be imported."""
    count = 0
    mistakes: list[Mistake] = []
    seen = _Seen({}, {})
    for batch in _batches(lines):
        mistakes += [line for line in batch if isinstance(line, Mistake)]
        accounts = [line for line in batch if isinstance(line, AccountLine)]
        mistakes += await _conflicts(accounts, seen, deps)
        count += len(batch)
        progress(len(batch))
        if len(mistakes) >= MAX_MISTAKES:
            break
    in_order = sorted(mistakes, key=lambda mistake: mistake.number)
    return Checked(count, in_order[:MAX_MISTAKES])


async def import_accounts(
    lines: Iterable[AccountLine | Mistake], context: Context, deps: Dependencies, progress: Progress
) -> Imported:
    """Open the accounts of a list that was checked.

    An account is skipped when its stream cannot be read, or when another command took its username after the
    check (UsernameTaken).
    """
    failures, results = SubjectFailures("import of accounts"), Counter[bool | None]()
    for batch in _batches(line for line in lines if isinstance(line, AccountLine)):
        results.update(
            await asyncio.gather(*(_import_or_skip(line.details, context, deps, failures) for line in batch))
        )
        progress(len(batch))
    return Imported(results[True], results[False], failures.by_subject)


async def _import_or_skip(
    details: AccountDetails, context: Context, deps: Dependencies, failures: SubjectFailures
) -> bool | None:
    with failures.skip(login_account_stream(details.account_id)):
        return await _import(details, context, deps)
    return None


@dataclass(frozen=True, slots=True)
class _Seen:
    """The line on which an account id or a username was first seen."""

    account_ids: dict[str, int]
    username_keys: dict[str, int]


async def _conflicts(lines: Sequence[AccountLine], seen: _Seen, deps: Dependencies) -> Sequence[Mistake]:
    keys = {line.number: _keys(line.details, deps) for line in lines}
    ids = {line.details.account_id for line in lines}
    holders = await deps.usernames.holders({key for both in keys.values() for key in both}, ids)
    key_of_account = {account_id: key for key, account_id in holders.items()}
    mistakes = []
    for line in lines:
        account_id, known, key = line.details.account_id, keys[line.number], keys[line.number][0]
        if seen.account_ids.setdefault(account_id, line.number) != line.number:
            mistakes.append(
                Mistake(line.number, f"account_id is on line {seen.account_ids[account_id]} already")
            )
        elif seen.username_keys.setdefault(key, line.number) != line.number:
            mistakes.append(Mistake(line.number, f"username is on line {seen.username_keys[key]} already"))
        elif any(holders.get(key, account_id) != account_id for key in known):
            mistakes.append(Mistake(line.number, "username is taken by another account"))
        elif key_of_account.get(account_id, key) not in known:
            mistakes.append(Mistake(line.number, "account_id is known with another username"))
    return mistakes


async def _import(details: AccountDetails, context: Context, deps: Dependencies) -> bool:
    """Open one account and return True, or return False when it is known already."""
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


def _keys(details: AccountDetails, deps: Dependencies) -> Sequence[str]:
    return username_keys(details.username, details.home_isil, deps)


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH_LINES)):
        yield batch
