"""Make two actors one: the part of a merge that decides nothing (I6, I13)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from eventsourcing.domain import Aggregate

from identity.application.dependencies import Dependencies
from identity.application.repository import LoadedAccount, accounts_of, load_actor
from identity.domain.actor import Actor
from identity.domain.errors import MergeBlocked
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.login_account import LoginAccount


async def merge_into(
    into: Actor, actor: Actor, accounts: Iterable[LoginAccount], deps: Dependencies, now: datetime
) -> list[Aggregate]:
    """Make `actor` a merged record of `into`, in both actors, their accounts and links. Returns all of them.

    The actors that were merged into this one point to `into` too: there are no chains (ADR 0015). The actor
    comes last: its Idempotency-Key stores the position of the last event of its stream.
    """
    merged_actors = [*[await load_actor(merged_id, deps) for merged_id in actor.merged_from], actor]
    for merged in merged_actors:
        merged.merge_into(into.id, now)
        into.absorb(merged.id, now)
    changed: list[Aggregate] = []
    for account in accounts:
        changed += [account, *await _replace_actor(account, actor.id, into.id, deps, now)]
    return [*changed, into, *merged_actors]


async def _replace_actor(
    account: LoginAccount, actor_id: UUID, by: UUID, deps: Dependencies, now: datetime
) -> Sequence[GuestLink]:
    """Replace the actor of the account, and return the links that changed with it."""
    before = dict(account.guests)
    account.replace_actor(actor_id, by, now)
    links = []
    for guest in account.guests.values():
        if guest != before[guest.guest_id]:
            link = await deps.store.load(GuestLink, guest.guest_id)
            link.confirm(Linked(account.account_id, guest.actor_id, guest.too_late), now)
            links.append(link)
    return links


async def with_one_actor(
    loaded: LoadedAccount, organisation: str, deps: Dependencies, now: datetime
) -> LoadedAccount:
    """Return the account after the actor that its first login there made became its own one (I13).

    That login came before a link was known here that existed already. With the link it would have been a
    login of the account's own actor, so both actors are the one person behind this account. No first login is
    written. Where the actors cannot be merged, nothing changes, and the link will be too late (I6).
    """
    account = loaded.account
    actor_id = account.own_actor_at(organisation)
    if actor_id is None or actor_id == account.actor_id or account.guest_at(organisation) is not None:
        return loaded
    actor, into = await load_actor(actor_id, deps), await load_actor(account.actor_id, deps)
    try:
        actor.may_be_merged(into)
    except MergeBlocked:
        return loaded
    others = [other for other in await accounts_of(actor, deps) if other.id != account.id]
    changed = await merge_into(into, actor, [account, *others], deps, now)
    return replace(loaded, beside=tuple(aggregate for aggregate in changed if aggregate is not account))
