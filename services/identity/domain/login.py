"""How a login is decided: rule I4, in its own order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from identity.domain.errors import LinkRequired
from identity.domain.guest_link import GuestLink
from identity.domain.login_account import GuestOfAccount, LoginAccount


@dataclass(frozen=True, slots=True)
class Recognised:
    """This is a known person: log in as this actor; `guest` when they are registered there."""

    actor_id: UUID
    guest: GuestOfAccount | None


def recognised_without_asking(
    account: LoginAccount, organisation: str, *, at_home: bool
) -> Recognised | None:
    """I4.1 and I4.2: what the account's own stream decides. None: registration must be asked.

    `at_home`: the organisation is the account's own home library.
    """
    if guest := account.guest_at(organisation):
        return Recognised(guest.actor_id, guest)
    if own_actor := account.own_actor_at(organisation):
        return Recognised(own_actor, None)
    return Recognised(account.actor_id, None) if at_home else None


def require_no_registration(
    account_id: str, of_person: Iterable[GuestLink], asked: Iterable[GuestLink]
) -> None:
    """I4.4, once all of these were applied and the account still has no link there. Raises LinkRequired.

    `of_person`: the person's own registrations there, whoever's account they have. `asked`: those for which
    this account was ever asked; they count while it is the one last asked for, which was refused then. So
    does the guest into whom one of them was merged that had this account until then (R18).
    """
    asked = tuple(asked)
    merged_into = {link.merged_into for link in asked if link.merged_account == account_id}
    if any(link.registered for link in of_person):
        raise LinkRequired
    if any(link.registered and (link.concerns(account_id) or link.id in merged_into) for link in asked):
        raise LinkRequired


def actor_seen_before(account: LoginAccount, organisation: str) -> Recognised | None:
    """Before I4.6: whom a link that is gone let in there once, is not split in two now."""
    first = account.first_logins.get(organisation)
    return None if first is None else Recognised(first.actor_id, None)
