"""Merge two actors that are the same person (I6)."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from eventsourcing.domain import Aggregate

from identity.application.dependencies import BirthDates, Context, Dependencies
from identity.application.one_actor import merge_into
from identity.application.repository import accounts_of, save
from identity.application.show_login_account import ShownActor, show_actor
from identity.domain.errors import DifferentBirthDates, MergeBlocked
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
    changed: list[Aggregate] = []
    if actor.merged_into != into.id:
        _may_be_merged(shown, other, await _birth_dates(shown, other, deps))
        accounts = await accounts_of(actor, deps)
        changed += await merge_into(into, actor, accounts, deps, now)
    rows = context.side_rows(actor.id)
    position = await save(deps, *changed, metadata=context.metadata, side_rows=rows)
    return CommandResult(actor.id, position)


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
