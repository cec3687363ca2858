"""The steps of rule I4, which decides a login."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from identity.domain.errors import LinkRequired
from identity.domain.guest_link import GuestLink
from identity.domain.login_account import GuestOfAccount, LoginAccount


@dataclass(frozen=True, slots=True)
class Recognised:
    """A known person logs in as this actor. `guest` None: the person is not registered there."""

    actor_id: UUID
    guest: GuestOfAccount | None


def recognised_without_asking(
    account: LoginAccount, organisation: str, *, at_home: bool
) -> Recognised | None:
    """Decide a login from the account alone (I4, steps 1 and 2). None: registration must be asked.

    `at_home`: the account's own home library belongs to the organisation.
    """
    if guest := account.guest_at(organisation):
        return Recognised(guest.actor_id, guest)
    if own_actor := account.own_actor_at(organisation):
        return Recognised(own_actor, None)
    return Recognised(account.actor_id, None) if at_home else None


def require_no_registration(
    account_id: str, of_person: Iterable[GuestLink], asked: Iterable[GuestLink]
) -> None:
    """Check that no registration there needs a link to this account first (I4, step 4).

    Call this after all messages of these guests were applied and the account still has no link there.
    `of_person`: the guests of this person there, linked to any account or to none. One that is registered is
    enough. `asked`: the guests for which a clerk ever asked for this account. One of them counts if this
    account is still the last one asked for, so the link was refused. It also counts if it is the survivor of
    a guest that had this account until the merge (R18). Raises LinkRequired.
    """
    asked = tuple(asked)
    merged_into = {link.merged_into for link in asked if link.merged_account == account_id}
    if any(link.registered for link in of_person):
        raise LinkRequired
    if any(link.registered and (link.concerns(account_id) or link.id in merged_into) for link in asked):
        raise LinkRequired


def actor_seen_before(account: LoginAccount, organisation: str) -> Recognised | None:
    """Return the actor of an earlier login there through a link that is gone (I4, between steps 5 and 6).

    So the person is not split into two actors now. None: the account never logged in there.
    """
    first = account.first_logins.get(organisation)
    return None if first is None else Recognised(first.actor_id, None)
