"""Open a login account by hand, at an operator's request."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

from identity.application.dependencies import AccountDetails, Context, Dependencies
from identity.application.repository import find_account, new_account, person_of, save
from identity.application.usernames import plain_username, username_taken
from identity.domain.errors import AccountIdTaken, UsernameTaken
from shared.event_log import retry_on_conflict
from shared.kernel.library_card import Isil, canonical_card_number


@dataclass(frozen=True, slots=True)
class OpenLoginAccount:
    """What the account is to be. `account_id` None: one is minted."""

    account_id: str | None
    username: str
    email: str
    home_isil: str
    home_card_number: str

    def details(self) -> AccountDetails:
        """Checked and trimmed. Raises MalformedIsil, MalformedCardNumber, MalformedUsername."""
        return AccountDetails(
            account_id=self.account_id or f"acc-{uuid4().hex}",
            username=plain_username(self.username),
            email=self.email.strip(),
            home_isil=str(Isil.parse(self.home_isil)),
            home_card_number=canonical_card_number(self.home_card_number),
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream of the account that was opened, and the log's position after it."""

    account_stream: UUID
    position: int


async def open_login_account(command: OpenLoginAccount, context: Context, deps: Dependencies) -> Opened:
    """Open an account with an actor of its own.

    Raises MalformedIsil, MalformedCardNumber, MalformedUsername, UsernameTaken, AccountIdTaken,
    DirectoryUnavailable; then nothing was written.
    """
    details = command.details()
    return await retry_on_conflict(lambda: _open(details, context, deps))


async def _open(details: AccountDetails, context: Context, deps: Dependencies) -> Opened:
    account_id = details.account_id
    if await username_taken(details.username, details.home_isil, account_id, deps):
        raise UsernameTaken
    if await find_account(account_id, deps) is not None:
        raise AccountIdTaken
    person = person_of(details, deps)
    loaded = await new_account(details, deps, person=person, username_must_be_free=True)
    position = await save(
        deps,
        *loaded.aggregates,
        metadata=context.metadata,
        side_rows=[*context.side_rows(loaded.account.id), *loaded.side_rows],
    )
    return Opened(loaded.account.id, position)
