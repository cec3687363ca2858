"""Merge two actors that are the same person (I6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from identity.application.dependencies import BirthDates, Context, Dependencies
from identity.application.repository import accounts_of, load_actor, save
from identity.application.show_login_account import ShownActor, show_actor
from identity.domain.actor import Actor
from identity.domain.errors import DifferentBirthDates, MergeBlocked
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.login_account import LoginAccount
from shared.event_log import CommandResult, retry_on_conflict


@dataclass(frozen=True, slots=True)
class MergeActors:
    """Make `actor_id` a merged record that points to the actor `into`."""

    actor_id: UUID
    into: UUID


@dataclass(frozen=True, slots=True)
class ActorMerge:
    """Both actors as they are now. `merged`: the merge is done. `blocked`: why it cannot be done."""

    actor: ShownActor
    into: ShownActor
    merged: bool
    birth_dates: BirthDates
    blocked: MergeBlocked | None = None


async def show_actor_merge(command: MergeActors, deps: Dependencies) -> ActorMerge:
    """Show what a merge would do, or what it did. Writes nothing.

    Raises ActorNotFound, RegistrationUnavailable.
    """
    actor = await show_actor(command.actor_id, deps)
    into = await show_actor(command.into, deps)
    born = await _birth_dates(actor, into, deps)
    merged = actor.actor.merged_into == into.actor.id
    try:
        if not merged:
            _may_be_merged(actor, into, born)
    except MergeBlocked as blocked:
        return ActorMerge(actor, into, merged=False, birth_dates=born, blocked=blocked)
    return ActorMerge(actor, into, merged=merged, birth_dates=born)


async def merge_actors(command: MergeActors, context: Context, deps: Dependencies) -> CommandResult:
    """Merge two actors. A repeated merge changes nothing.

    From now on all logins of the merged actor go on as `into`, and a link that was too late is a normal link.
    Actors, accounts and links change in one append. Raises ActorNotFound, MergeBlocked,
    RegistrationUnavailable.
    """
    return await retry_on_conflict(lambda: _merge(command, context, deps))


async def _merge(command: MergeActors, context: Context, deps: Dependencies) -> CommandResult:
    shown = await show_actor(command.actor_id, deps)
    other = await show_actor(command.into, deps)
    actor, into, now = shown.actor, other.actor, deps.clock.now()
    changed: list[Actor | LoginAccount | GuestLink] = []
    if actor.merged_into != into.id:
        _may_be_merged(shown, other, await _birth_dates(shown, other, deps))
        accounts = await accounts_of(actor, deps)
        # The actors that were merged into this one point to `into` too: there are no chains (ADR 0015).
        merged_actors = [*[await load_actor(merged_id, deps) for merged_id in actor.merged_from], actor]
        for merged in merged_actors:
            merged.merge_into(into.id, now)
            into.absorb(merged.id, now)
        for account in accounts:
            changed += [account, *await _replace_actor(account, actor.id, into.id, deps, now)]
        # The actor comes last: its Idempotency-Key stores the position of the last event of its stream.
        changed += [into, *merged_actors]
    rows = context.side_rows(actor.id)
    position = await save(deps, *changed, metadata=context.metadata, side_rows=rows)
    return CommandResult(actor.id, position)


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


def _may_be_merged(actor: ShownActor, into: ShownActor, born: BirthDates) -> None:
    actor.actor.may_be_merged(into.actor)
    if born is BirthDates.DIFFERENT:
        raise DifferentBirthDates


async def _birth_dates(actor: ShownActor, into: ShownActor, deps: Dependencies) -> BirthDates:
    """Ask registration to compare the birth dates of the guests of both; without guests they are unknown."""
    one, other = ([guest.guest_id for guest in shown.guests] for shown in (actor, into))
    if not one or not other:
        return BirthDates.UNKNOWN
    return await deps.registration.compare_birth_dates(one, other)
