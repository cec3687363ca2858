"""Two records of the same person made one: ontdubbelen (R18)."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from registration.api.dependencies import COUNTER, ClerkDep, DependenciesDep, IdempotentRequestDep, KeysDep
from registration.api.problems import MERGE_OBSTACLES, PROBLEM_TYPES
from registration.api.schemas import GuestJson, Merging, guest_json
from registration.application.merge_guests import Merge, MergeGuests, merge_guests, show_merge
from registration.domain import errors
from registration.domain.merge import MergeBlocked
from shared.kernel.errors import english_sentence
from shared.web.idempotency import CommandResult, Rows
from shared.web.problem_handlers import problem_responses
from shared.web.problems import wants_english

router = APIRouter(prefix="/v1/guests", tags=["guests"], dependencies=[Depends(COUNTER)])


class BlockedJson(BaseModel):
    """Why these two cannot be merged: for programs, and for people."""

    reason: str
    detail: str


class MergeJson(BaseModel):
    """Both records as they are now: `guest` is or becomes a signpost to `into`. `merged`: it was done.

    `same_by`: what shows that they are one person. `kept_account` stays the login account of `into`,
    `released_account` would be released.
    """

    merged: bool
    guest: GuestJson
    into: GuestJson
    same_by: Literal["home-card", "surname-birth-date-address"] | None
    blocked: BlockedJson | None
    kept_account: str | None
    released_account: str | None


@router.post(
    "/{guest_id}/merge",
    summary="Merge two records of the same person, or see what that would do",
    responses=problem_responses(PROBLEM_TYPES, errors.GuestNotFound, MergeBlocked),
)
async def merge(
    *,
    guest_id: UUID,
    body: Merging,
    request: Request,
    clerk: ClerkDep,
    idempotent: IdempotentRequestDep,
    keys: KeysDep,
    deps: DependenciesDep,
    response: Response,
) -> MergeJson:
    """Needs the same home card, or the same surname, birth date and address; other birth dates block it."""
    command = MergeGuests(guest_id, body.into)

    async def run(rows: Rows) -> CommandResult:
        written = await merge_guests(command, clerk.context(rows), deps)
        return CommandResult(written.guest_id, written.position)

    if body.confirm:
        done = await keys.run_once(idempotent, run)
        response.headers["Event-Position"] = str(done.position)
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
