"""Encrypt personal data for events, and decrypt it for those who may see it (R19, ADR 0005)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from registration.application.dependencies import Dependencies
from registration.domain.events import Encrypted
from registration.domain.guest import Guest
from registration.domain.login_link import (
    NO_ACCOUNT,
    ExistingAccount,
    LinkRequest,
    LoginAccountChoice,
    NewLoginAccount,
    NoAccount,
)
from registration.domain.verdict import PatronDetails
from shared.event_log import DataKey, SideRow, create_id


@dataclass(frozen=True, slots=True)
class Card:
    """The canonical card number, and other numbers of the same person (R10)."""

    number: str
    aliases: tuple[str, ...] = ()

    @classmethod
    def answered(cls, canonical: str, *others: str) -> Card:
        """Return the card for the number in the home library's reply, and the numbers that it had before."""
        return cls(canonical, tuple(dict.fromkeys(other for other in others if other != canonical)))


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What is known about the person of a guest."""

    card: Card
    details: PatronDetails


async def key_for(guest_id: UUID | None, deps: Dependencies) -> tuple[DataKey, Sequence[SideRow]]:
    """Return the guest's key; if there is none, a new key with the row that stores it.

    `guest_id` None means a guest that does not exist yet: the new key's subject is the id for it.
    """
    if guest_id is not None and (key := await deps.data_keys.get(guest_id)) is not None:
        return key, ()
    key, row = deps.data_keys.create(guest_id or create_id())
    return key, (row,)


def encrypt_card(card: Card, key: DataKey) -> Encrypted:
    """Encrypt the card numbers."""
    return Encrypted(key.encrypt({"number": card.number, "aliases": list(card.aliases)}))


def encrypt_details(details: PatronDetails, key: DataKey) -> Encrypted:
    """Encrypt the home library's details of the person."""
    return Encrypted(
        key.encrypt(
            {
                "name": details.name,
                "birth_date": details.birth_date,
                "address": details.address,
                "email": details.email,
            }
        )
    )


def encrypt_link_request(choice: LoginAccountChoice, key: DataKey) -> LinkRequest:
    """Return the clerk's choice as events store it; the id of a new account is created here (R17)."""
    match choice:
        case ExistingAccount(account_id):
            return LinkRequest("existing", account_id)
        case NewLoginAccount(username, email):
            sealed = Encrypted(key.encrypt({"username": username, "email": email}))
            return LinkRequest("new", f"acc-{uuid4().hex}", sealed)
        case NoAccount():
            return NO_ACCOUNT


def decrypt_card(sealed_card: Encrypted, key: DataKey) -> Card:
    """Decrypt the card numbers."""
    card = key.decrypt(sealed_card)
    return Card(card["number"], tuple(card["aliases"]))


async def decrypt_personal_data(guest: Guest, deps: Dependencies) -> PersonalData | None:
    """Decrypt what is known about the person; return None after its erasure."""
    key = await deps.data_keys.get(guest.id)
    if key is None:
        return None
    details = key.decrypt(guest.state.sealed_details)
    return PersonalData(decrypt_card(guest.state.sealed_card, key), PatronDetails(**details))
