"""Registration, the account directory and the index of usernames in memory, for tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from identity.application.dependencies import (
    AccountDetails,
    AccountDirectory,
    BirthDates,
    DirectoryUnavailable,
    NewAccount,
    RegisteredGuest,
    RegistrationUnavailable,
)
from shared.event_log import InMemoryEventLog, SubjectColumns, UniqueKeys
from shared.kernel.library_card import isil_base
from shared.kernel.text import comparable
from shared.messaging.envelope import Message

UNIQUE_KEYS: UniqueKeys = {"usernames_pkey": ("usernames", ("username_key",))}
"""The unique keys of the schema, for `InMemoryEventLog(UNIQUE_KEYS, SUBJECT_COLUMNS)`."""

SUBJECT_COLUMNS: SubjectColumns = {"usernames": "subject_id"}
"""The tables whose rows an erasure deletes, with the column of the subject (R19, I9)."""


@dataclass
class InMemoryRegistration:
    """The committed state of registration. `unplugged`: it cannot be asked. `asked` counts the questions.

    `index_is_behind`: it does not know all references of people yet (I10). `own_libraries`: organisation ->
    the ISIL bases of its libraries.
    """

    messages: dict[UUID, list[Message]] = field(default_factory=dict)
    by_account: dict[tuple[str, str], list[UUID]] = field(default_factory=dict)
    by_person: dict[tuple[str, str], list[UUID]] = field(default_factory=dict)
    new_accounts: dict[tuple[UUID, str], NewAccount] = field(default_factory=dict)
    home_libraries: dict[UUID, str] = field(default_factory=dict)
    birth_dates: dict[UUID, date] = field(default_factory=dict)
    own_libraries: dict[str, Collection[str]] = field(default_factory=dict)
    index_is_behind: bool = False
    unplugged: bool = False
    asked: int = 0

    async def registrations(
        self,
        organisation: str,
        *,
        account_id: str | None = None,
        person_ref: str | None = None,
        home_isil: str | None = None,  # noqa: ARG002
    ) -> Sequence[RegisteredGuest]:
        """See `RegistrationFeed.registrations`."""
        self._ask(of_libraries=person_ref is not None)
        found = [
            *([] if person_ref is None else self.by_person.get((organisation, person_ref), [])),
            *([] if account_id is None else self.by_account.get((organisation, account_id), [])),
        ]
        return [RegisteredGuest(guest, tuple(self.messages[guest])) for guest in dict.fromkeys(found)]

    async def new_account(self, guest_id: UUID, account_id: str) -> NewAccount | None:
        """See `RegistrationFeed.new_account`."""
        self._ask()
        return self.new_accounts.get((guest_id, account_id))

    async def is_home_library(self, guest_id: UUID, isil: str) -> bool:
        """See `RegistrationFeed.is_home_library`."""
        self._ask(of_libraries=True)
        if guest_id not in self.home_libraries:
            raise RegistrationUnavailable("no such guest")
        return isil_base(self.home_libraries[guest_id]) == isil_base(isil)

    async def is_own_library(self, organisation: str, isil: str) -> bool:
        """See `RegistrationFeed.is_own_library`."""
        self._ask(of_libraries=True)
        return isil_base(isil) in self.own_libraries.get(organisation, ())

    async def compare_birth_dates(self, one: Sequence[UUID], other: Sequence[UUID]) -> BirthDates:
        """See `RegistrationFeed.compare_birth_dates`."""
        self._ask()
        pairs = {
            self.birth_dates[first] == self.birth_dates[second]
            for first in one
            for second in other
            if first in self.birth_dates and second in self.birth_dates
        }
        if not pairs:
            return BirthDates.UNKNOWN
        return BirthDates.SAME if pairs == {True} else BirthDates.DIFFERENT

    def _ask(self, *, of_libraries: bool = False) -> None:
        self.asked += 1
        if self.unplugged:
            raise RegistrationUnavailable("unplugged")
        if of_libraries and self.index_is_behind:
            raise RegistrationUnavailable("references-incomplete")


@dataclass
class InMemoryAccountDirectory(AccountDirectory):
    """A list of accounts. `unplugged`: it cannot be asked. `asked` counts the questions."""

    accounts: list[AccountDetails] = field(default_factory=list)
    unplugged: bool = False
    asked: int = 0

    async def by_id(self, account_id: str) -> AccountDetails | None:
        """See `AccountDirectory.by_id`."""
        self._ask()
        return next((account for account in self.accounts if account.account_id == account_id), None)

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:
        """See `AccountDirectory.by_username`."""
        self._ask()
        wanted = (comparable(username), isil_base(home_isil))
        found = [
            account
            for account in self.accounts
            if (comparable(account.username), isil_base(account.home_isil)) == wanted
        ]
        return found[0] if len(found) == 1 else None

    def _ask(self) -> None:
        self.asked += 1
        if self.unplugged:
            raise DirectoryUnavailable("unplugged")


class InMemoryUsernames:
    """The index of usernames in the side rows of an in-memory log. Make that log with `UNIQUE_KEYS`."""

    def __init__(self, log: InMemoryEventLog) -> None:
        self._rows = log.rows("usernames")

    async def account_of(self, username_key: str) -> str | None:
        """See `Usernames.account_of`."""
        return next((row["account_id"] for row in self._rows if row["username_key"] == username_key), None)

    async def holders(
        self, username_keys: Collection[str], account_ids: Collection[str]
    ) -> Mapping[str, str]:
        """See `Usernames.holders`."""
        return {
            row["username_key"]: row["account_id"]
            for row in self._rows
            if row["username_key"] in username_keys or row["account_id"] in account_ids
        }
