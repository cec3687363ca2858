"""An actor and its merges (I6): given these events, when this command, then these events or this error."""

from __future__ import annotations

from uuid import UUID

import pytest

from identity.domain.actor import Actor
from identity.domain.errors import MergedBefore, MergedIntoMergedRecord, MergedWithItself
from shared.kernel.errors import RuleBroken
from tests.support.scenario import NOW, STREAM_ID, Event, begun, given
from tests.unit.identity.login_events import (
    ACCOUNT_STREAM,
    HERE,
    OTHER_ACTOR,
    THIRD_ACTOR,
    actor_event,
    actor_opened,
)

MERGED = actor_event(Actor.Merged, into=OTHER_ACTOR)
DUPLICATE_MERGED = actor_event(Actor.DuplicateMerged, actor_id=OTHER_ACTOR)


@pytest.mark.parametrize("organisation", [None, HERE])
def test_i4_an_actor_is_opened_with_its_account_or_by_a_first_login(organisation: str | None) -> None:
    actor = Actor.open(STREAM_ID, account_stream=ACCOUNT_STREAM, organisation=organisation, now=NOW)
    begun(actor).then(actor_opened(organisation))


def test_i6_a_merged_record_points_to_the_survivor_and_to_no_merged_record() -> None:
    scenario = given(actor_opened(), DUPLICATE_MERGED)
    actor = scenario.when(lambda actor: actor.merge_into(THIRD_ACTOR, NOW)).then(
        actor_event(Actor.Merged, into=THIRD_ACTOR)
    )
    assert (actor.merged_into, actor.merged_from) == (THIRD_ACTOR, [])


def test_i6_the_survivor_absorbs_the_merged_record() -> None:
    actor = given(actor_opened()).when(lambda actor: actor.absorb(OTHER_ACTOR, NOW)).then(DUPLICATE_MERGED)
    assert (actor.merged_into, actor.merged_from) == (None, [OTHER_ACTOR])


def another(*past: Event[Actor], actor_id: UUID = THIRD_ACTOR) -> Actor:
    """The survivor of a merge, to which these events happened."""
    actor = Actor.open(actor_id, account_stream=ACCOUNT_STREAM, organisation=None, now=NOW)
    for event in past:
        actor = event.after(actor)
    return actor


@pytest.mark.parametrize(
    ("past", "into", "error"),
    [
        ([], another(actor_id=STREAM_ID), MergedWithItself),
        ([MERGED], another(), MergedBefore),
        ([], another(MERGED), MergedIntoMergedRecord),
    ],
    ids=["itself", "merged before", "into a merged record"],
)
def test_i6_what_cannot_be_merged_is_refused(
    past: list[Event[Actor]], into: Actor, error: type[RuleBroken]
) -> None:
    given(actor_opened(), *past).when(lambda actor: actor.may_be_merged(into)).refused(error)


def test_i6_two_actors_that_were_never_merged_may_be() -> None:
    given(actor_opened()).when(lambda actor: actor.may_be_merged(another())).then_nothing()
