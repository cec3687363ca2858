"""Open a login account at the request of an operator."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from identity.application.dependencies import AccountDetails, Context, Dependencies
from identity.application.repository import (
    find_account,
    new_account,
    person_of,
    plain_username,
    require_new_username,
    save,
    username_keys,
    username_taken,
)
from identity.domain.errors import AccountIdTaken, UsernameTaken
from shared.event_log import CommandResult, retry_on_conflict
from shared.kernel.library_card import Isil, canonical_card_number


@dataclass(frozen=True, slots=True)
class OpenLoginAccount:
    """The details of the account as an operator typed them. `account_id` None: an id is created."""

    account_id: str | None
    username: str
    email: str
    home_isil: str
    home_card_number: str

    def details(self) -> AccountDetails:
        """Return the details, checked and trimmed.

        Raises MalformedIsil, MalformedCardNumber, MalformedUsername.
        """
        return AccountDetails(
            account_id=self.account_id or f"acc-{uuid4().hex}",
            username=plain_username(self.username),
            email=self.email.strip(),
            home_isil=str(Isil.parse(self.home_isil)),
            home_card_number=canonical_card_number(self.home_card_number),
        )


async def open_login_account(
    command: OpenLoginAccount, context: Context, deps: Dependencies
) -> CommandResult:
    """Open an account with an actor of its own.

    Raises MalformedIsil, MalformedCardNumber, MalformedUsername, UsernameTaken, AccountIdTaken,
    DirectoryUnavailable; nothing is written then.
    """
    details = command.details()
    require_new_username(details.username)
    return await retry_on_conflict(lambda: _open(details, context, deps))


async def _of_another(details: AccountDetails, deps: Dependencies) -> bool:
    """Return whether the directory has this id for an account of another person or with another username.

    The account would otherwise be linked to the guest of one person and used by another one at a login.
    """
    listed = await deps.directory.by_id(details.account_id)
    if listed is None:
        return False
    one, other = (
        (person_of(account, deps), username_keys(account.username, account.home_isil, deps)[0])
        for account in (listed, details)
    )
    return one != other


async def _open(details: AccountDetails, context: Context, deps: Dependencies) -> CommandResult:
    account_id = details.account_id
    if await username_taken(details.username, details.home_isil, account_id, deps):
        raise UsernameTaken
    if await find_account(account_id, deps) is not None or await _of_another(details, deps):
        raise AccountIdTaken
    person = person_of(details, deps)
    loaded = await new_account(details, deps, person=person, username_must_be_free=True)
    position = await save(
        deps,
        *loaded.aggregates,
        metadata=context.metadata,
        side_rows=[*context.side_rows(loaded.account.id), *loaded.side_rows],
    )
    return CommandResult(loaded.account.id, position)
