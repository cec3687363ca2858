"""The command `identity accounts check-directory`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from time import perf_counter
from uuid import uuid4

from typer import BadParameter

from identity.application.dependencies import (
    AccountDetails,
    AccountDirectory,
    AccountReference,
    ById,
    ByUsername,
    DirectoryUnavailable,
)
from identity.application.repository import plain_username
from identity.domain.errors import MalformedUsername
from shared.cli.console import echo, show_json, show_table
from shared.kernel.library_card import Isil, MalformedIsil

_ADVICE = "Compare the file with docs/connect-an-account-directory.md."


@dataclass(frozen=True, slots=True)
class CheckedStep:
    """One question to the directory. `found` has no personal data but the account's id."""

    step: str
    ok: bool
    milliseconds: int
    found: str


class _Wrong(Exception):
    """The directory replied, and not as it must."""


async def check_directory(directory: AccountDirectory, wanted: ByUsername, *, as_json: bool) -> bool:
    """Ask the directory about an account; print every step; return whether all of them succeeded."""
    steps = await _steps(directory, wanted)
    if as_json:
        show_json([asdict(step) for step in steps])
    else:
        rows = [
            [step.step, "ok" if step.ok else "WRONG", f"{step.milliseconds} ms", step.found] for step in steps
        ]
        show_table(["question", "", "time", "found"], rows)
        if not all(step.ok for step in steps):
            echo(_ADVICE)
    return all(step.ok for step in steps)


def wanted_account(username: str, home_isil: str) -> ByUsername:
    """Return the account that an operator typed. Raises BadParameter."""
    try:
        return ByUsername(plain_username(username), str(Isil.parse(home_isil)))
    except MalformedUsername:
        raise BadParameter("1 to 200 characters", param_hint="USERNAME") from None
    except MalformedIsil:
        raise BadParameter("NL- and six digits, as in NL-070288", param_hint="HOME_ISIL") from None


async def _steps(directory: AccountDirectory, wanted: ByUsername) -> list[CheckedStep]:
    """Ask one question after the other; what needs an account ends when there is none."""
    account: AccountDetails | None = None

    async def by_username() -> str:
        nonlocal account
        account = await directory.by_username(wanted.username, wanted.home_isil)
        if account is None:
            raise _Wrong("no active account, or several; the username is compared here, as it is seen")
        return _described(account)

    async def by_id(found: AccountDetails) -> str:
        if await directory.by_id(found.account_id) != found:
            raise _Wrong("another account, or none: is the attribute `account_id` right?")
        return "the same account"

    async def nobody() -> str:
        unknown = ByUsername(f"nobody-{uuid4().hex}", wanted.home_isil)
        if await directory.by_username(unknown.username, unknown.home_isil) is not None:
            raise _Wrong("an account for a username that nobody has")
        return "none, as it must be"

    async def several(found: AccountDetails) -> str:
        unknown = ById(f"nobody-{uuid4().hex}")
        expected: Mapping[AccountReference, AccountDetails | None]
        expected = {wanted: found, ById(found.account_id): found, unknown: None}
        if await directory.find_many(list(expected)) != expected:
            raise _Wrong("not the same accounts as one by one")
        return "the same accounts"

    steps = [await _asked("by username", by_username), await _asked("nobody's username", nobody)]
    if (known := account) is not None:
        steps.append(await _asked("by id", lambda: by_id(known)))
        steps.append(await _asked("several at once", lambda: several(known)))
    return steps


def _described(account: AccountDetails) -> str:
    card = len(account.home_card_number or "")
    address = "an e-mail address" if account.email else "no e-mail address"
    return f"{account.account_id}: library {account.home_isil}, a card number of {card} characters, {address}"


async def _asked(step: str, ask: Callable[[], Awaitable[str]]) -> CheckedStep:
    began = perf_counter()
    try:
        ok, found = True, await ask()
    except (DirectoryUnavailable, _Wrong) as failure:
        ok, found = False, str(failure)
    return CheckedStep(step, ok, round(1000 * (perf_counter() - began)), found)
