"""Routes that read the read models: search for guests, and the history of one guest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from registration.api.dependencies import CLERK, ClerkDep, DependenciesDep, DirectoryDep, HistoryDep
from registration.api.problems import PROBLEM_TYPES
from registration.api.schemas import ONE_LINE
from registration.application.repository import load_guest
from registration.domain import errors
from registration.read_models.guest_directory import Search, asked_for
from shared.web.openapi import Fields
from shared.web.problem_handlers import problem_responses

router = APIRouter(prefix="/v1/guests", tags=["guests"], dependencies=[CLERK])

LARGEST_POSITION = 2**63 - 1  # a bigint of the database
FoundGuestStatus = TypeAliasType("FoundGuestStatus", Literal["valid", "expired", "suspended", "deregistered"])
AfterPosition = Annotated[
    int, Query(ge=0, le=LARGEST_POSITION, description="wait until the view has reached this `Event-Position`")
]


class FoundGuestJson(BaseModel):  # R18
    """A guest in a search result.

    `found_as`: the record that matched the words, if it is a merged record of this guest.
    """

    guest_id: UUID
    branch: str
    status: FoundGuestStatus
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
    """One page of guests. `total`: on all pages. A cursor is null where there is no other page.

    `login_accounts`: `searched`, the guests whose linked account has this username are among them;
    `unavailable`, identity could not be asked in time, so they may be missing; `not-searched`, the query is
    no username.
    """

    guests: list[FoundGuestJson]
    total: int
    previous_cursor: UUID | None
    next_cursor: UUID | None
    login_accounts: Literal["searched", "unavailable", "not-searched"]


class HistoryLineJson(BaseModel):
    """One event: its time, its cause (`by`), and its fields without personal data."""

    version: int
    position: int
    at: datetime
    by: str
    what: str
    details: Fields


class HistoryJson(BaseModel):
    """Events of a guest, the oldest first. `next_cursor`: for the lines after these; null: there are none."""

    history: list[HistoryLineJson]
    next_cursor: int | None


@router.get(
    "",
    operation_id="findGuests",
    summary="Find guests",
    responses=problem_responses(PROBLEM_TYPES, errors.TooManyLookups),
)
async def search(
    *,
    clerk: ClerkDep,
    directory: DirectoryDep,
    query: Annotated[
        str,
        Query(
            max_length=200,
            pattern=ONE_LINE,
            description="beginnings of words, a card, a birth date, or the username of the login account",
        ),
    ] = "",
    status: FoundGuestStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[
        UUID | None, Query(description="`next_cursor` or, with `backwards`, `previous_cursor` of a page")
    ] = None,
    backwards: Annotated[bool, Query(description="the page before the cursor")] = False,
    after_position: AfterPosition = 0,
) -> FoundGuestsJson:  # R20
    """Return guests of the clerk's own organisation, by name. All words must match."""
    wanted = Search(clerk.organisation, asked_for(query), status, cursor, limit, backwards)
    found = await directory.page(wanted, after_position, query=query)
    return FoundGuestsJson.model_validate(found, from_attributes=True)


@router.get(
    "/{guest_id}/history",
    operation_id="showGuestHistory",
    summary="Who did what when",
    responses=problem_responses(PROBLEM_TYPES, errors.GuestNotFound),
)
async def history(
    *,
    guest_id: UUID,
    clerk: ClerkDep,
    deps: DependenciesDep,
    lines: HistoryDep,
    limit: Annotated[int | None, Query(ge=1, le=1000, description="lines on a page; left out: all")] = None,
    cursor: Annotated[int, Query(ge=0, le=LARGEST_POSITION, description="`next_cursor` of a page")] = 0,
    after_position: AfterPosition = 0,
) -> HistoryJson:
    """Return the events of one guest, without personal data."""
    await load_guest(guest_id, clerk.organisation, deps)
    wanted = None if limit is None else limit + 1  # one more shows whether there is a next page
    found = await lines.of(guest_id, after_position, after_version=cursor, limit=wanted)
    page = found[:limit]
    return HistoryJson(
        history=[HistoryLineJson.model_validate(line, from_attributes=True) for line in page],
        next_cursor=page[-1].version if len(found) > len(page) else None,
    )
