"""Load and save guests with their index rows, personal data encrypted (R19, ADR 0005)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from registration.application.dependencies import (
    REGISTRATION_TAKEN,
    Context,
    Dependencies,
    no_side_rows,
)
from registration.application.membership import current_isil, references_of, refs_of
from registration.domain.errors import CardOfAnotherGuest, GuestNotFound
from registration.domain.events import Encrypted
from registration.domain.guest import Guest
from registration.domain.login_link import (
    NO_ACCOUNT,
    LinkRequest,
    NewLoginAccount,
    NoAccount,
    VerifiedAccount,
    VerifiedChoice,
)
from registration.domain.term_check import Status
from registration.domain.verdict import PatronDetails, Refused, Valid
from shared.event_log import (
    CommandResult,
    DataKey,
    SideRow,
    SideRowConflict,
    VersionConflict,
    create_id,
    data_key_of,
    retry_on_conflict,
)


@dataclass(frozen=True, slots=True)
class Card:
    """The canonical card number, and other numbers of the same person (R10)."""

    number: str
    aliases: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """The canonical number, then the others."""
        return (self.number, *self.aliases)

    @classmethod
    def answered(cls, canonical: str, *others: str) -> Card:
        """Return the card for the number in the home library's reply, and the numbers that it had before."""
        return cls(canonical, tuple(dict.fromkeys(other for other in others if other != canonical)))

    def followed_by(self, number: str | None) -> Card:
        """Return the card as a reply renews it (R24).

        Without zeros in front, or with other capitals, it is the same number as that library writes it: an
        alias, because others may know the person by that writing alone (I5).
        """
        if number is None or number == self.number:
            return self
        if _same_number(number, self.number):
            return Card.answered(self.number, *self.aliases, number)
        return Card.answered(number, self.number, *self.aliases)


def _same_number(one: str, other: str) -> bool:
    return one.lstrip("0").casefold() == other.lstrip("0").casefold()


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What is known about the person of a guest."""

    card: Card
    details: PatronDetails

    def followed_by(self, reply: Valid | Refused) -> PersonalData:
        """Return what is known after a reply about this person (R24)."""
        details = self.details
        if reply.details is not None:  # a refusal often says less of the person
            details = details.followed_by(reply.details, in_full=isinstance(reply, Valid))
        return PersonalData(self.card.followed_by(reply.canonical_card_number), details)


def key_for(guest: Guest | None, deps: Dependencies) -> tuple[DataKey, Sequence[SideRow]]:
    """Return the key of the guest, as it was loaded; if there is none, a new one with the row that stores it.

    Erased since then, nothing of the guest can be saved: the events would follow others than its last one.
    `guest` None means one that does not exist yet: the new key's subject is the id for it.
    """
    if guest is not None and (key := data_key_of(guest)) is not None:
        return key, ()
    key, row = deps.data_keys.create(create_id() if guest is None else guest.id)
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


def encrypt_link_request(choice: VerifiedChoice, key: DataKey) -> LinkRequest:
    """Return the clerk's choice as events store it; the id of a new account is created here (R17)."""
    match choice:
        case VerifiedAccount(account_id, reason):
            return LinkRequest("existing", account_id, reason=reason)
        case NewLoginAccount(username, email):
            sealed = Encrypted(key.encrypt({"username": username, "email": email}))
            return LinkRequest("new", f"acc-{uuid4().hex}", sealed)
        case NoAccount():
            return NO_ACCOUNT


def decrypt_card(sealed_card: Encrypted, key: DataKey) -> Card:
    """Decrypt the card numbers."""
    card = key.decrypt(sealed_card)
    return Card(card["number"], tuple(card["aliases"]))


def decrypt_details(sealed_details: Encrypted, key: DataKey) -> PatronDetails:
    """Decrypt the home library's details of the person."""
    return PatronDetails(**key.decrypt(sealed_details))


def decrypt_personal_data(guest: Guest) -> PersonalData | None:
    """Decrypt what is known about the person, as the guest was loaded; return None after its erasure."""
    key = data_key_of(guest)
    if key is None:
        return None
    card = decrypt_card(guest.state.sealed_card, key)
    return PersonalData(card, decrypt_details(guest.state.sealed_details, key))


async def load_guest(guest_id: UUID, organisation: str, deps: Dependencies) -> Guest:
    """Load a guest. Raises GuestNotFound, also for a guest of another organisation (R20)."""
    guest = await deps.store.find(Guest, guest_id)
    if guest is None or guest.state.organisation != organisation:
        raise GuestNotFound
    return guest


async def find_person(guest_id: UUID, deps: Dependencies) -> Guest | None:
    """Find a guest; for a merged record, the guest that it was merged into (R18)."""
    guest = await deps.store.find(Guest, guest_id)
    if guest is None or guest.state.status is Status.ERASED or guest.state.merged_into is None:
        return guest
    return await deps.store.find(Guest, guest.state.merged_into)


async def registered_guest(organisation: str, refs: Sequence[str], deps: Dependencies) -> Guest | None:
    """Find the guest registered under one of these references (R10), unless deregistered or erased."""
    for ref in refs:
        for guest_id in await deps.registrations.guests_of(organisation, ref):
            guest = await find_person(guest_id, deps)
            if guest is not None and guest.state.status not in {Status.DEREGISTERED, Status.ERASED}:
                return guest
    return None


async def save_guest(
    guest: Guest, context: Context, deps: Dependencies, *side_rows: SideRow
) -> CommandResult:
    """Save the new events of a guest, with the rows of the command and these rows.

    Raises VersionConflict when another command was first, also with registering this person (R10).
    """
    rows = (*context.side_rows(guest.id), *side_rows)
    try:
        position = await deps.store.save(guest, metadata=context.metadata, side_rows=rows)
    except SideRowConflict as conflict:
        if conflict.constraint == REGISTRATION_TAKEN:
            raise VersionConflict(conflict.constraint) from conflict
        raise
    return CommandResult(guest.id, position)


async def change_guest(
    guest_id: UUID, change: Callable[[Guest], None], context: Context, deps: Dependencies
) -> CommandResult:
    """Load a guest, change it and save it. Raises GuestNotFound and what `change` raises."""

    async def attempt() -> CommandResult:
        guest = await load_guest(guest_id, context.organisation, deps)
        change(guest)
        return await save_guest(guest, context, deps)

    return await retry_on_conflict(attempt)


def account_rows(organisation: str, account_id: str | None, guest_id: UUID) -> Sequence[SideRow]:
    """Return the row that finds a guest by a requested login account; no row when none was requested."""
    if account_id is None:
        return ()
    values = {"organisation": organisation, "account_id": account_id, "guest_id": guest_id}
    return (SideRow("registration_accounts", values, or_ignore=True),)


def person_row(organisation: str, person_ref: str, guest_id: UUID, known_as: str) -> SideRow:
    """Return the row that finds a guest by person. Its unique key allows one guest per person (R10).

    `known_as`: the ISIL bases for which the guest gets such rows now (I10).
    """
    values = {
        "organisation": organisation,
        "person_ref": person_ref,
        "guest_id": guest_id,
        "known_as": known_as,
    }
    return SideRow("registrations", values)


async def take_news(
    guest: Guest, known: PersonalData, now_known: PersonalData, deps: Dependencies
) -> Sequence[SideRow]:
    """Record another card number and other details as events of their own; the same as before is none (R24).

    Returns the rows that find the guest by the new number. Raises CardOfAnotherGuest, VersionConflict.
    """
    if known == now_known:
        return ()
    rows = await _new_number_rows(guest, known.card, now_known.card, deps)
    (key, key_rows), now = key_for(guest, deps), deps.clock.now()
    if now_known.card != known.card:
        home = current_isil(guest.state.home_isil, deps)
        person_ref = refs_of(home, now_known.card.number, deps)[0]
        guest.change_card_number(encrypt_card(now_known.card, key), person_ref, now=now)
    if now_known.details != known.details:
        guest.change_details(encrypt_details(now_known.details, key), now=now)
    return (*key_rows, *rows)


async def take_reply(
    guest: Guest, known: PersonalData, reply: Valid | Refused, deps: Dependencies
) -> tuple[PersonalData, Sequence[SideRow]]:
    """Record the news of a reply about the guest (R24). Returns what is known now, and the rows.

    Another writing of the number that is another guest's here stays with that guest. Raises
    CardOfAnotherGuest, VersionConflict.
    """
    now_known = known.followed_by(reply)
    try:
        return now_known, await take_news(guest, known, now_known, deps)
    except CardOfAnotherGuest:
        if now_known.card.number != known.card.number:
            raise
    now_known = replace(now_known, card=known.card)
    return now_known, await take_news(guest, known, now_known, deps)


async def _new_number_rows(guest: Guest, known: Card, new: Card, deps: Dependencies) -> Sequence[SideRow]:
    """Return the rows that the index lacks. A number of a record merged into the guest is the guest's (R18).

    Raises CardOfAnotherGuest, also for one who was deregistered: that record has the number (R10).
    """
    organisation, rows = guest.state.organisation, list[SideRow]()
    home = current_isil(guest.state.home_isil, deps)
    numbers = dict.fromkeys(number for number in (new.number, *new.aliases) if number not in known.numbers)
    if new.number != known.number:
        numbers |= {new.number: None}
    references = references_of(home, numbers, deps)
    for ref in references.refs:
        owner_ids = await deps.registrations.guests_of(organisation, ref)
        owners = [await find_person(owner_id, deps) for owner_id in owner_ids if owner_id != guest.id]
        others = [owner for owner in owners if owner is not None and owner.id != guest.id]
        if any(other.state.status is Status.ERASED for other in others):
            raise VersionConflict(guest.id)  # erased just now: the index no longer finds it (R19)
        if not owner_ids:
            rows.append(person_row(organisation, ref, guest.id, references.known_as))
        elif len(others) == len(owner_ids):
            raise CardOfAnotherGuest(others[0].id)
    return rows


async def keep_number(guest_id: UUID, number: str, context: Context, deps: Dependencies) -> None:
    """Keep another number of the guest's card as an alias, so that it finds the guest from now on (R10).

    A number that is another guest's here stays with that guest. Raises GuestNotFound.
    """
    alone = replace(context, side_rows=no_side_rows)  # the command itself may still be refused

    async def attempt() -> None:
        guest = await load_guest(guest_id, context.organisation, deps)
        known = decrypt_personal_data(guest)
        if known is None or number in known.card.numbers:
            return
        card = Card(known.card.number, (*known.card.aliases, number))
        try:
            rows = await take_news(guest, known, replace(known, card=card), deps)
        except CardOfAnotherGuest:
            return
        await save_guest(guest, alone, deps, *rows)

    await retry_on_conflict(attempt)
