"""What a login account remembers: of each guest, and of each first login."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from identity.domain.standing import Standing

_ACCOUNTS = UUID("6f0c8d1e-52a7-5d0b-9a37-0f3f6f0f5b11")


def login_account_stream(account_id: str) -> UUID:
    """The stream of an account, which is known by its id alone (I1)."""
    return uuid5(_ACCOUNTS, account_id)


def stream_after(erased: UUID) -> UUID:
    """The stream in which an account begins anew once this one was erased (I9): its key never comes back."""
    return uuid5(erased, "after the erasure")


@dataclass(frozen=True, slots=True)
class GuestOfAccount:
    """A guest that the account is linked to, with the actor under which logins there go on."""

    guest_id: UUID
    organisation: str
    standing: Standing
    actor_id: UUID
    too_late: bool


@dataclass(frozen=True, slots=True)
class FirstLogin:
    """The first login at an organisation. `new_actor`: it made an actor of its own (I4.6)."""

    organisation: str
    actor_id: UUID
    new_actor: bool
    at: datetime
