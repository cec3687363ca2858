"""Personal data going into events sealed, and coming out (A8): only here and for the eyes that need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from registration.application.dependencies import Registration
from registration.domain.events import Sealed
from registration.domain.guest import Guest
from registration.domain.login_link import (
    NO_ACCOUNT,
    ExistingAccount,
    LinkWish,
    LoginAccountChoice,
    NewLoginAccount,
    NoAccount,
)
from registration.domain.verdict import PatronDetails
from shared.event_log import DataKey, SideRow, mint_id


@dataclass(frozen=True, slots=True)
class Card:
    """The canonical card number, and others that were scanned for the same person (R10)."""

    number: str
    aliases: tuple[str, ...] = ()

    @classmethod
    def answered(cls, canonical: str, *others: str) -> Card:
        """Make it of the number that home answered with, and numbers that it went under before."""
        return cls(canonical, tuple(dict.fromkeys(other for other in others if other != canonical)))


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What is known of a guest's person."""

    card: Card
    details: PatronDetails


async def key_for(guest_id: UUID | None, registration: Registration) -> tuple[DataKey, Sequence[SideRow]]:
    """Give the guest's key; when there is none, a new one with the row that keeps it.

    None stands for a guest who does not exist yet: the key's subject is then the id that it gets.
    """
    if guest_id is not None and (key := await registration.data_keys.get(guest_id)) is not None:
        return key, ()
    key, row = registration.data_keys.mint(guest_id or mint_id())
    return key, (row,)


def seal_card(card: Card, key: DataKey) -> Sealed:
    """Seal the card numbers."""
    return Sealed(key.seal({"number": card.number, "aliases": list(card.aliases)}))


def seal_details(details: PatronDetails, key: DataKey) -> Sealed:
    """Seal what home told of the person."""
    return Sealed(
        key.seal(
            {
                "name": details.name,
                "birth_date": details.birth_date,
                "address": details.address,
                "email": details.email,
            }
        )
    )


def seal_wish(choice: LoginAccountChoice, key: DataKey) -> LinkWish:
    """Turn the clerk's choice into what events keep; the id of a new account is minted here (R17)."""
    match choice:
        case ExistingAccount(account_id):
            return LinkWish("existing", account_id)
        case NewLoginAccount(username, email):
            sealed = Sealed(key.seal({"username": username, "email": email}))
            return LinkWish("new", f"acc-{uuid4().hex}", sealed)
        case NoAccount():
            return NO_ACCOUNT


def open_card(sealed_card: Sealed, key: DataKey) -> Card:
    """Open the card numbers alone."""
    card = key.open(sealed_card)
    return Card(card["number"], tuple(card["aliases"]))


async def open_personal_data(guest: Guest, registration: Registration) -> PersonalData | None:
    """Open what is known of the person; None once it was erased."""
    key = await registration.data_keys.get(guest.id)
    if key is None:
        return None
    details = key.open(guest.state.sealed_details)
    return PersonalData(open_card(guest.state.sealed_card, key), PatronDetails(**details))
