"""Load and save login accounts and actors; retry when another command was first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from eventsourcing.domain import Aggregate

from identity.application.dependencies import AccountDetails, Dependencies
from identity.application.usernames import username_key
from identity.domain.actor import Actor
from identity.domain.login_account import LoginAccount, login_account_stream, next_stream
from shared.event_log import Metadata, SideRow, SideRowConflict, VersionConflict, create_id
from shared.kernel.library_card import isil_base, person_ref

# Written along only by what a decision opens. Held by another: the decision was made on an old state.
_OURS = frozenset({"data_keys_pkey", "usernames_pkey"})


async def save(
    deps: Dependencies, *aggregates: Aggregate, metadata: Metadata, side_rows: Sequence[SideRow]
) -> int:
    """Save all or nothing; the log's position. Raises VersionConflict: decide again."""
    try:
        return await deps.store.save(*aggregates, metadata=metadata, side_rows=side_rows)
    except SideRowConflict as conflict:
        if conflict.constraint in _OURS:
            raise VersionConflict(conflict.constraint) from conflict
        raise


@dataclass(frozen=True, slots=True)
class LoadedAccount:
    """An account, with what must be written along when it is new: its actor, key and username."""

    account: LoginAccount
    actor: Actor | None = None
    side_rows: tuple[SideRow, ...] = ()

    @property
    def aggregates(self) -> Sequence[Aggregate]:
        """All that has to be saved together; the account last, so that the position is that of its stream."""
        return [self.account] if self.actor is None else [self.actor, self.account]


async def find_account(account_id: str, deps: Dependencies) -> LoadedAccount | None:
    """The account from our own store: one indexed read, and one more for each time that it was erased."""
    _, account = await _last(account_id, deps)
    return None if account is None else LoadedAccount(account)


async def _last(account_id: str, deps: Dependencies) -> tuple[UUID, LoginAccount | None]:
    """The stream of the account as it is now, after all erasures (I9), and what is in it."""
    stream = login_account_stream(account_id)
    account = await deps.store.find(LoginAccount, stream)
    while account is not None and account.erased:
        stream = next_stream(stream)
        account = await deps.store.find(LoginAccount, stream)
    return stream, account


async def get_or_import(account_id: str, deps: Dependencies) -> LoadedAccount | None:
    """The account from our own store, else from the directory. Raises DirectoryUnavailable.

    A directory's account is known by its id, so it is opened also when its username is held here (I1).
    """
    if known := await find_account(account_id, deps):
        return known
    listed = await deps.directory.by_id(account_id)
    if listed is None:
        return None
    reference = person_of(listed, deps)
    return await new_account(listed, deps, person=reference, username_must_be_free=False)


def person_of(details: AccountDetails, deps: Dependencies) -> str:
    """The reference of the person whose home card this is."""
    card = details.home_card_number or ""
    return person_ref(deps.person_ref_key, isil_base(details.home_isil), card)


async def new_account(
    details: AccountDetails, deps: Dependencies, *, person: str, username_must_be_free: bool
) -> LoadedAccount:
    """Open an account with an actor of its own and what is personal sealed (A8)."""
    now = deps.clock.now()
    stream, _ = await _last(details.account_id, deps)
    key, key_row = deps.data_keys.create(stream)
    actor = Actor.open(create_id(), account_id=details.account_id, organisation=None, now=now)
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
    username_row = SideRow(
        "usernames",
        {
            "username_key": username_key(details.username, details.home_isil, deps),
            "account_id": details.account_id,
            "subject_id": stream,
        },
        or_ignore=not username_must_be_free,
    )
    return LoadedAccount(account, actor, (key_row, username_row))


async def details_of(account: LoginAccount, deps: Dependencies) -> AccountDetails | None:
    """What is sealed, opened; None when it was erased."""
    key = await deps.data_keys.get(account.id)
    if key is None:
        return None
    opened = key.decrypt(account.details)
    return AccountDetails(
        account_id=account.account_id,
        username=opened["username"],
        email=opened["email"],
        home_isil=account.home_isil,
        home_card_number=opened["home_card_number"],
    )
