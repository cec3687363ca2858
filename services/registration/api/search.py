"""Guests found by what a clerk knows of them, and what happened to one: answered from the read models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from registration.api.dependencies import COUNTER, ClerkDep, DependenciesDep, DirectoryDep, HistoryDep
from registration.api.problems import PROBLEM_TYPES
from registration.api.schemas import ONE_LINE
from registration.application.repository import load_guest
from registration.domain import errors
from registration.read_models.guest_directory import Search, asked_for
from shared.web.problem_handlers import problem_responses

router = APIRouter(prefix="/v1/guests", tags=["guests"], dependencies=[Depends(COUNTER)])

LARGEST_POSITION = 2**63 - 1  # what the database can hold
Status = Literal["valid", "expired", "suspended", "deregistered"]
AfterPosition = Annotated[
    int, Query(ge=0, le=LARGEST_POSITION, description="an `Event-Position` that must be in the answer")
]


class FoundGuestJson(BaseModel):
    """A guest as a search shows it; all else by its id.

    `found_as`: the record that the words fit, when that was merged into this guest (R18).
    """

    guest_id: UUID
    branch: str
    status: Status
    card_number: str
    aliases: Sequence[str]
    name: str
    birth_date: date | None
    home_isil: str
    header: str
    expires_on: date | None
    login_link: str
    found_as: UUID | None


class FoundGuestsJson(BaseModel):
    """One page. `next_cursor` null: there are no more."""

    guests: list[FoundGuestJson]
    next_cursor: UUID | None


class HistoryLineJson(BaseModel):
    """One thing that happened: who caused it, when, and what it says beside personal data."""

    version: int
    position: int
    at: datetime
    by: str
    what: str
    details: dict[str, Any]


class HistoryJson(BaseModel):
    """All of it, oldest first."""

    history: list[HistoryLineJson]


@router.get("", summary="Find guests", responses=problem_responses(PROBLEM_TYPES))
async def search(
    *,
    clerk: ClerkDep,
    directory: DirectoryDep,
    query: Annotated[
        str, Query(max_length=200, pattern=ONE_LINE, description="beginnings of words, a card, a birth date")
    ] = "",
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before")] = None,
    after_position: AfterPosition = 0,
) -> FoundGuestsJson:
    """Guests of the clerk's own organisation (R20), by name; all of the words must fit."""
    wanted = Search(clerk.organisation, asked_for(query), status, cursor, limit + 1)
    found = await directory.find(wanted, after_position)
    page = found[:limit]
    once_each = {guest.guest_id: guest for guest in reversed(page)}  # several signposts may lead to one
    guests = [guest for guest in page if once_each[guest.guest_id] is guest]
    return FoundGuestsJson(
        guests=[FoundGuestJson.model_validate(guest, from_attributes=True) for guest in guests],
        next_cursor=page[-1].cursor if len(found) > limit else None,
    )


@router.get(
    "/{guest_id}/history",
    summary="Who did what when",
    responses=problem_responses(PROBLEM_TYPES, errors.GuestNotFound),
)
async def history(
    guest_id: UUID,
    clerk: ClerkDep,
    deps: DependenciesDep,
    lines: HistoryDep,
    after_position: AfterPosition = 0,
) -> HistoryJson:
    """All events of one guest, without personal data."""
    await load_guest(guest_id, clerk.organisation, deps)
    found = await lines.of(guest_id, after_position)
    return HistoryJson(history=[HistoryLineJson.model_validate(line, from_attributes=True) for line in found])
