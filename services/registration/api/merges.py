"""Merge two records of the same person: ontdubbelen (R18)."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from registration.api.dependencies import CLERK, ClerkDep, DependenciesDep, IdempotentWriteDep
from registration.api.problems import MERGE_OBSTACLES, PROBLEM_TYPES
from registration.api.schemas import GuestJson, Merging, guest_json
from registration.application.merge_guests import Merge, MergeGuests, merge_guests, show_merge
from registration.domain import errors
from registration.domain.merge import MergeBlocked
from shared.kernel.errors import english_sentence
from shared.web.problem_handlers import problem_responses
from shared.web.problems import wants_english

router = APIRouter(prefix="/v1/guests", tags=["guests"], dependencies=[CLERK])


SameBy = TypeAliasType("SameBy", Literal["home-card", "surname-birth-date-address"])


class BlockedJson(BaseModel):
    """Why these two cannot be merged: `reason` for programs, `detail` for people."""

    reason: str
    detail: str


class MergeJson(BaseModel):
    """Both records as they are now. A merge makes `guest` a merged record that points to `into`.

    `merged`: the merge is done. `same_by`: what shows that both are one person. `kept_account`: the login
    account that `into` keeps. `released_account`: the login account that a merge would release.
    """

    merged: bool
    guest: GuestJson
    into: GuestJson
    same_by: SameBy | None
    blocked: BlockedJson | None
    kept_account: str | None
    released_account: str | None


@router.post(
    "/{guest_id}/merge",
    operation_id="mergeGuests",
    summary="Merge two records of the same person, or see what that would do",
    responses=problem_responses(PROBLEM_TYPES, errors.GuestNotFound, MergeBlocked),
)
async def merge(
    *,
    guest_id: UUID,
    body: Merging,
    request: Request,
    clerk: ClerkDep,
    write: IdempotentWriteDep,
    deps: DependenciesDep,
) -> MergeJson:  # R18
    """Merge with `confirm`; without it, show what a merge would do and write nothing.

    The records need the same home card, or the same surname, birth date and address. Different birth dates
    block a merge.
    """
    command = MergeGuests(guest_id, body.into)
    if body.confirm:
        await write(lambda rows: merge_guests(command, clerk.context(rows), deps))
    shown = await show_merge(command, clerk.organisation, deps)
    return _json(shown, english=wants_english(request))


def _json(merge: Merge, *, english: bool) -> MergeJson:
    return MergeJson(
        merged=merge.merged,
        guest=guest_json(merge.guest),
        into=guest_json(merge.into),
        same_by=merge.same_by.value if merge.same_by else None,
        blocked=_blocked(merge.blocked, english=english) if merge.blocked else None,
        kept_account=merge.kept_account,
        released_account=merge.released_account,
    )


def _blocked(error: MergeBlocked, *, english: bool) -> BlockedJson:
    kind = type(error)
    detail = english_sentence(kind) if english else MERGE_OBSTACLES[kind]
    return BlockedJson(reason=kind.reason, detail=detail)
