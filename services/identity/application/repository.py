"""Load and save login accounts and actors; usernames and personal data stay encrypted."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from eventsourcing.domain import Aggregate

from identity.application.dependencies import AccountDetails, Dependencies
from identity.domain.actor import Actor
from identity.domain.errors import ActorNotFound, MalformedUsername
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.login_account import LoginAccount, login_account_stream, next_stream
from shared.event_log import (
    Metadata,
    SideRow,
    SideRowConflict,
    VersionConflict,
    data_key_of,
    set_data_key,
)
from shared.kernel.library_card import isil_base, person_ref
from shared.kernel.login_account import LONGEST_USERNAME, new_username
from shared.kernel.text import comparable, has_line_end, tidy


def plain_username(username: str) -> str:
    """Return the username as it is stored: trimmed and tidied. Raises MalformedUsername."""
    plain = tidy(username.strip()).strip()
    if not 0 < len(plain) <= LONGEST_USERNAME or has_line_end(username.strip()) or not comparable(plain):
        raise MalformedUsername
    return plain


def require_new_username(username: str) -> str:
    """Return the username of a new account as it is stored (R17). Raises MalformedUsername."""
    try:
        return new_username(username)
    except ValueError:
        raise MalformedUsername from None


def username_keys(username: str, home_isil: str, deps: Dependencies) -> Sequence[str]:
    """Return a username's keys in the index: HMAC-SHA-256 of ISIL base and username, 64 hexadecimal digits.

    Usernames that look alike have the same first key, which new rows get. A second key, which few usernames
    have, is that of rows from before look-alikes were compared. Raises MalformedIsil, MalformedUsername.
    """
    plain = plain_username(username)
    before = unicodedata.normalize("NFC", username.strip()).casefold()
    forms = dict.fromkeys((comparable(plain), before))
    return [_username_key(form, isil_base(home_isil), deps) for form in forms]


def _username_key(form: str, home_isil_base: str, deps: Dependencies) -> str:
    named = f"username|{home_isil_base}|{form}"
    return hmac.new(deps.person_ref_key, named.encode(), hashlib.sha256).hexdigest()


async def account_named(username: str, home_isil: str, deps: Dependencies) -> str | None:
    """Return the id of the account here that has this username. Raises MalformedIsil, MalformedUsername."""
    for key in username_keys(username, home_isil, deps):
        if (account_id := await deps.usernames.account_of(key)) is not None:
            return account_id
    return None


async def username_taken(username: str, home_isil: str, account_id: str, deps: Dependencies) -> bool:
    """Return whether an account here has the username, or another account in the directory has it.

    Raises DirectoryUnavailable.
    """
    if await account_named(username, home_isil, deps) is not None:
        return True
    listed = await deps.directory.by_username(username, home_isil)
    return listed is not None and listed.account_id != account_id


# Only a new account inserts rows under these keys. A conflict on them means: another command opened the same
# account, or took the username, after this command loaded its state.
_KEYS_OF_NEW_ACCOUNT = frozenset({"data_keys_pkey", "usernames_pkey"})


def _key_rows(aggregates: Sequence[Aggregate], deps: Dependencies) -> Sequence[SideRow]:
    """Create the data keys of links that have none, and return the rows that store them.

    A link that was noted by an earlier release has no key yet.
    """
    rows = []
    for link in aggregates:
        if isinstance(link, GuestLink) and link.pending_events and data_key_of(link) is None:
            key, row = deps.data_keys.create(link.id)
            set_data_key(link, key)
            rows.append(row)
    return rows


async def save(
    deps: Dependencies, *aggregates: Aggregate, metadata: Metadata, side_rows: Sequence[SideRow]
) -> int:
    """Save all or nothing, and return the position of the last event.

    Raises VersionConflict when another command was first: load and decide again.
    """
    rows = [*side_rows, *_key_rows(aggregates, deps)]
    try:
        return await deps.store.save(*aggregates, metadata=metadata, side_rows=rows)
    except SideRowConflict as conflict:
        if conflict.constraint in _KEYS_OF_NEW_ACCOUNT:
            raise VersionConflict(conflict.constraint) from conflict
        raise


@dataclass(frozen=True, slots=True)
class LoadedAccount:
    """An account, and what to save with it.

    A new account comes with its actor, its data key row and its username row. An erased one comes with its
    erasure row. `beside`: what changed with the account.
    """

    account: LoginAccount
    actor: Actor | None = None
    side_rows: tuple[SideRow, ...] = ()
    beside: tuple[Aggregate, ...] = ()

    @property
    def aggregates(self) -> Sequence[Aggregate]:
        """The aggregates to save together. The account is last, because `save` returns the last position."""
        return [*self.beside, *([] if self.actor is None else [self.actor]), self.account]


async def find_account(account_id: str, deps: Dependencies) -> LoadedAccount | None:
    """Load the account from identity's own store; None if it is unknown or erased.

    Costs one indexed read, and one more for each time that the account was erased.
    """
    _, account = await _current_stream(login_account_stream(account_id), deps)
    return None if account is None else LoadedAccount(account)


async def _current_stream(stream: UUID, deps: Dependencies) -> tuple[UUID, LoginAccount | None]:
    """Return the account's stream after all later erasures (I9), and the account in it if there is one."""
    account = await deps.store.find(LoginAccount, stream)
    while account is not None and account.erased:
        stream = next_stream(stream)
        account = await deps.store.find(LoginAccount, stream)
    return stream, account


async def get_or_import(account_id: str, deps: Dependencies) -> LoadedAccount | None:
    """Load the account from identity's own store, or open it with the details from the directory.

    Returns None if neither knows it. An account of the directory is known by its id (I1), so it is opened
    even if another account here has its username. Raises DirectoryUnavailable.
    """
    if loaded := await find_account(account_id, deps):
        return loaded
    listed = await deps.directory.by_id(account_id)
    if listed is None:
        return None
    return await new_account(listed, deps, person=person_of(listed, deps), username_must_be_free=False)


def person_of(details: AccountDetails, deps: Dependencies) -> str:
    """Return the person reference: HMAC of home ISIL base and card number, as hexadecimal digits."""
    card = details.home_card_number or ""
    return person_ref(deps.person_ref_key, isil_base(details.home_isil), card)


async def new_account(
    details: AccountDetails, deps: Dependencies, *, person: str, username_must_be_free: bool
) -> LoadedAccount:
    """Open an account with its own actor and with encrypted details (ADR 0005).

    `person` is its person reference. With `username_must_be_free`, saving the account raises VersionConflict
    when another account has the username.
    """
    now = deps.clock.now()
    stream, _ = await _current_stream(login_account_stream(details.account_id), deps)
    key, key_row = deps.data_keys.create(stream)
    actor = Actor.open(actor_id(stream, None, deps), account_stream=stream, organisation=None, now=now)
    account = LoginAccount.open(
        details.account_id,
        stream=stream,
        actor_id=actor.id,
        home_isil=details.home_isil,
        person_ref=person,
        details=key.encrypt(
            {
                "username": details.username,
                "email": details.email,
                "home_card_number": details.home_card_number,
            }
        ),
        now=now,
    )
    set_data_key(account, key)
    username_row = SideRow(
        "usernames",
        {
            "username_key": username_keys(details.username, details.home_isil, deps)[0],
            "account_id": details.account_id,
            "subject_id": stream,
        },
        or_ignore=not username_must_be_free,
    )
    return LoadedAccount(account, actor, (key_row, username_row))


def actor_id(account_stream: UUID, organisation: str | None, deps: Dependencies) -> UUID:
    """Return the id of the actor that is opened for an account, or by its first login at an organisation.

    It is derived, not drawn: those who logged in after the moment to which a database was restored become
    the same actors again. Keyed, so that it says nothing of the account. A UUID of version 8 (RFC 9562).
    """
    named = f"actor|{account_stream}|{organisation or ''}"
    digest = bytearray(hmac.digest(deps.person_ref_key, named.encode(), hashlib.sha256)[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return UUID(bytes=bytes(digest))


async def details_of(account: LoginAccount, deps: Dependencies) -> AccountDetails | None:
    """Decrypt the details of the account; None after its erasure."""
    key = await deps.data_keys.get(account.id)
    if key is None:
        return None
    decrypted = key.decrypt(account.details)
    return AccountDetails(
        account_id=account.account_id,
        username=decrypted["username"],
        email=decrypted["email"],
        home_isil=account.home_isil,
        home_card_number=decrypted["home_card_number"],
    )


async def release_guest(link: GuestLink, deps: Dependencies, now: datetime) -> Sequence[LoadedAccount]:
    """Release the guest and its account from each other (I3, R21). Returns the accounts to save."""
    former = link.answer
    link.release(now)
    if not isinstance(former, Linked):
        return []
    loaded = await find_account(former.account_id, deps)
    if loaded is None:
        return []
    loaded.account.release(link.id, now)
    return [loaded]


async def load_actor(actor_id: UUID, deps: Dependencies) -> Actor:
    """Load an actor. Raises ActorNotFound."""
    actor = await deps.store.find(Actor, actor_id)
    if actor is None:
        raise ActorNotFound
    return actor


async def account_of(actor: Actor, deps: Dependencies) -> LoginAccount | None:
    """Load the account for which the actor was opened, also when it was opened again after an erasure."""
    return (await _current_stream(actor.account_stream, deps))[1]


async def accounts_of(actor: Actor, deps: Dependencies) -> Sequence[LoginAccount]:
    """Load the accounts of this actor and of the actors that were merged into it, without erased accounts."""
    merged = [await deps.store.load(Actor, merged_id) for merged_id in actor.merged_from]
    found = [await account_of(record, deps) for record in (actor, *merged)]
    return list({account.id: account for account in found if account is not None}.values())
