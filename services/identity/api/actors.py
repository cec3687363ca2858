"""Routes of actors: show one, merge two (I6)."""

from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from identity.api.dependencies import ACCOUNTS, DependenciesDep, IdempotentWriteDep, MetadataDep
from identity.api.problems import MERGE_OBSTACLES, PROBLEM_TYPES
from identity.api.schemas import ActorJson, Merging, actor_json
from identity.application.dependencies import Context, RegistrationUnavailable
from identity.application.merge_actors import ActorMerge, MergeActors, merge_actors, show_actor_merge
from identity.application.show_login_account import show_actor
from identity.domain import errors
from shared.kernel.errors import english_sentence
from shared.web.problem_handlers import problem_responses
from shared.web.problems import wants_english

router = APIRouter(prefix="/v1/actors", tags=["actors"], dependencies=[Depends(ACCOUNTS)])


@router.get(
    "/{actor_id}",
    operation_id="showActor",
    summary="An actor with its links and logins",
    responses=problem_responses(PROBLEM_TYPES, errors.ActorNotFound),
)
async def show(actor_id: UUID, deps: DependenciesDep) -> ActorJson:
    """Return an actor. The reply includes all events that were acknowledged before."""
    return actor_json(await show_actor(actor_id, deps))


class BlockedJson(BaseModel):
    """Why these two actors cannot be merged: `reason` for programs, `detail` for people."""

    reason: str
    detail: str


class ActorMergeJson(BaseModel):
    """Both actors as they are now. `merged` true: `actor` is a merged record that points to `into`.

    `birth_dates`: how the birth dates of their guests compare. `blocked`: why they cannot be merged, or null.
    """

    merged: bool
    actor: ActorJson
    into: ActorJson
    birth_dates: Literal["same", "different", "unknown"]
    blocked: BlockedJson | None


@router.post(
    "/{actor_id}/merge",
    operation_id="mergeActors",
    summary="Merge two actors of the same person, or see what that would do",
    responses=problem_responses(
        PROBLEM_TYPES, errors.ActorNotFound, errors.MergeBlocked, RegistrationUnavailable
    ),
)
async def merge(
    *,
    actor_id: UUID,
    body: Merging,
    request: Request,
    metadata: MetadataDep,
    write: IdempotentWriteDep,
    deps: DependenciesDep,
) -> ActorMergeJson:
    """Merge an actor into another one if `confirm` is true; otherwise only show what would happen.

    All later logins use the actor `into`. Different birth dates block a merge.
    """
    # I6
    command = MergeActors(actor_id, body.into)
    if body.confirm:
        await write(lambda rows: merge_actors(command, Context(metadata, rows), deps))
    return _json(await show_actor_merge(command, deps), english=wants_english(request))


def _json(merge: ActorMerge, *, english: bool) -> ActorMergeJson:
    return ActorMergeJson(
        merged=merge.merged,
        actor=actor_json(merge.actor),
        into=actor_json(merge.into),
        birth_dates=merge.birth_dates.value,
        blocked=_blocked(merge.blocked, english=english) if merge.blocked else None,
    )


def _blocked(error: errors.MergeBlocked, *, english: bool) -> BlockedJson:
    kind = type(error)
    detail = english_sentence(kind) if english else MERGE_OBSTACLES[kind]
    return BlockedJson(reason=kind.reason, detail=detail)
