"""Directories that list entries for a question: which attribute holds what, and whose entry it is (I1)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from identity.adapters.account_directory import (
    ListedAccount,
    UnusableAccount,
    only_account,
    only_account_named,
    seen,
)
from identity.application.dependencies import (
    AccountDetails,
    AccountDirectory,
    AccountReference,
    ById,
    ByUsername,
    ask_all,
)
from shared.kernel.library_card import Isil, MalformedIsil

_NAME = re.compile(r"[!-~]{1,200}")


def _attribute(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must be the name of an attribute: 1 to 200 characters without spaces")
    return name


def _isil(text: str) -> str:
    try:
        return str(Isil.parse(text))
    except MalformedIsil:
        raise ValueError("must be an ISIL, NL- and six digits") from None


Attribute = Annotated[str, AfterValidator(_attribute)]


class Entry(ABC):
    """An entry of a directory: how its attributes are read."""

    @abstractmethod
    def first(self, name: str) -> str | None:
        """Return the first value of an attribute. Raises UnusableAccount when it is no text."""

    @abstractmethod
    def flag(self, name: str) -> bool:
        """Return a value that is true or false; True when there is none. Raises UnusableAccount."""

    def text(self, name: str) -> str:
        """Return the first value of an attribute. Raises UnusableAccount when there is none."""
        if value := self.first(name):
            return value
        raise UnusableAccount(f"the account has no attribute {name}")


class AttributeMap(BaseModel):
    """Which attribute of an entry holds what.

    The home card is in two attributes, `home_isil` and `home_card_number`; or the library is the same for
    all, `library`; or one attribute `home_card` holds both, the ISIL first, and a `separator` between them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    account_id: Attribute
    username: Attribute
    email: Attribute
    active: Attribute | None = None
    home_isil: Attribute | None = None
    library: Annotated[str, AfterValidator(_isil)] | None = None
    home_card_number: Attribute | None = None
    home_card: Attribute | None = None
    separator: Annotated[str, Field(min_length=1, max_length=10)] = ":"

    @model_validator(mode="after")
    def _has_one_home_card(self) -> Self:
        libraries = [name for name in (self.home_isil, self.library, self.home_card) if name]
        if len(libraries) != 1 or (self.home_card is None) != (self.home_card_number is not None):
            raise ValueError(
                "must name home_isil and home_card_number, or library and home_card_number, or home_card"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes to ask for."""
        named = (
            *(self.account_id, self.username, self.email, self.active),
            *(self.home_isil, self.home_card_number, self.home_card),
        )
        return tuple(dict.fromkeys(name for name in named if name))

    def listed(self, entry: Entry) -> ListedAccount:
        """Return the account of an entry. Raises UnusableAccount, which names the wrong attribute only."""
        isil, card = self._home_card(entry)
        try:
            return ListedAccount(
                account_id=entry.text(self.account_id),
                username=entry.text(self.username),
                email=entry.first(self.email) or "",
                home_isil=isil,
                home_card_number=card,
                active=entry.flag(self.active) if self.active else True,
            )
        except ValueError as error:
            raise UnusableAccount("the account is malformed: its id, username or e-mail address") from error

    def _home_card(self, entry: Entry) -> tuple[str, str]:
        if self.home_card is None:
            isil = self.library or entry.text(self.home_isil or "")
            return isil, entry.text(self.home_card_number or "")
        isil, separator, card = entry.text(self.home_card).partition(self.separator)
        if not separator:
            raise UnusableAccount(f"the attribute {self.home_card} has no {self.separator!r}")
        return isil, card


class ListingDirectory(AccountDirectory):
    """A directory that lists the entries in which an attribute has one of some values.

    It may list more than was asked, or everybody: what it lists is compared here.
    """

    lists_many = True

    def __init__(self, attributes: AttributeMap) -> None:
        self._attributes = attributes

    @abstractmethod
    async def _entries(self, attribute: str, values: Sequence[str]) -> Sequence[Entry]:
        """Return the complete list of entries. Raises DirectoryUnavailable, also when there are more."""

    async def _most_values(self) -> int:
        """Return how many values one question may have."""
        return 1

    async def by_id(self, account_id: str) -> AccountDetails | None:
        """See `AccountDirectory.by_id`."""
        return self._one(await self._entries(self._attributes.account_id, [account_id]), ById(account_id))

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:
        """See `AccountDirectory.by_username`."""
        entries = await self._entries(self._attributes.username, [username])
        return self._one(entries, ByUsername(username, home_isil))

    async def find_many(
        self, references: Collection[AccountReference]
    ) -> Mapping[AccountReference, AccountDetails | None]:
        """See `AccountDirectory.find_many`.

        An account that a list of several does not have is asked for again by itself: a directory that reads
        only the first part of a filter must not make an account unknown.
        """
        if (most := await self._most_values()) < 2:
            return await super().find_many(references)
        groups = [
            kind[start : start + most]
            for _, of_kind in groupby(sorted(set(references), key=_kind), key=_kind)
            for kind in [list(of_kind)]
            for start in range(0, len(kind), most)
        ]
        found: dict[AccountReference, AccountDetails | None] = {}
        for some in await ask_all(self._some, groups):
            found |= some
        missing = [reference for reference, account in found.items() if account is None]
        return {**found, **await super().find_many(missing)}

    async def _some(
        self, references: Sequence[AccountReference]
    ) -> Mapping[AccountReference, AccountDetails | None]:
        by_id = isinstance(references[0], ById)
        attribute = self._attributes.account_id if by_id else self._attributes.username
        values = [_value(reference) for reference in references]
        entries = await self._entries(attribute, list(dict.fromkeys(values)))
        return {reference: self._one(entries, reference) for reference in references}

    def _one(self, entries: Sequence[Entry], wanted: AccountReference) -> AccountDetails | None:
        """Return the one account that is wanted. Entries of others are not read any further."""
        if isinstance(wanted, ById):
            name, whose = self._attributes.account_id, wanted.account_id
            return only_account(self._read(entry) for entry in entries if entry.text(name) == whose)
        name, whose = self._attributes.username, seen(wanted.username)
        listed = [self._read(entry) for entry in entries if seen(entry.text(name)) == whose]
        return only_account_named(listed, wanted)

    def _read(self, entry: Entry) -> ListedAccount:
        return self._attributes.listed(entry)


def _kind(reference: AccountReference) -> bool:
    return isinstance(reference, ById)


def _value(reference: AccountReference) -> str:
    return reference.account_id if isinstance(reference, ById) else reference.username
