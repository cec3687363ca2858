"""The first page: the scan field, what matters at the desk today, and the guests behind each figure."""

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Form, Query, Request, Response

from registration.api.dependencies import Clerk, TheDirectory, TheRegistration
from registration.application.ports import day_of
from registration.counter_ui.pages import pages, see_other
from registration.counter_ui.rendering import page
from registration.counter_ui.session import TheCounterClerk, TheStaff, needs
from registration.read_models.desk_overview import DeskOverviews
from registration.read_models.guest_directory import FoundGuest, Search
from registration.read_models.search_terms import asked_for

router = pages()
GUESTS_A_PAGE = 25
Listed = Literal["vandaag", "verlopen", "in-behandeling"]


@router.get("/")
async def desk(request: Request, staff: TheStaff, registration: TheRegistration) -> Response:
    """Ready for a card. Who has no business at a counter is led to the operators' page."""
    if "counter" not in staff.scopes and "operator" in staff.scopes:
        return see_other("/beheer")
    needs(staff, "counter")
    overview = await _overviews(request).of(staff.organisation, day_of(registration.clock.now()))
    return page(request, "desk.html", overview=overview)


@router.get("/gasten")
async def listed(
    *,
    request: Request,
    clerk: TheCounterClerk,
    registration: TheRegistration,
    directory: TheDirectory,
    lijst: Listed,
    na: Annotated[UUID | None, Query(description="the last guest of the page before")] = None,
) -> Response:
    """The guests behind a figure, by name."""
    today = day_of(registration.clock.now())
    if lijst == "vandaag":
        found = await _overviews(request).registered_on(clerk.organisation, today, na, GUESTS_A_PAGE + 1)
    else:
        found = await directory.find(_listing(clerk, lijst, na))
    shown, more = _page_of(found)
    return page(request, "guests.html", lijst=lijst, guests=shown, more=more)


@router.get("/zoeken")
async def search_form(request: Request, _clerk: TheCounterClerk) -> Response:
    """Where a search begins; what was found is never an address, for it would hold a name."""
    return page(request, "search.html", query="", guests=None, more=None)


@router.post("/zoeken")
async def search(
    request: Request,
    clerk: TheCounterClerk,
    directory: TheDirectory,
    query: Annotated[str, Form(max_length=200)] = "",
    na: Annotated[UUID | None, Form()] = None,
) -> Response:
    """By beginnings of names, a card number or a date of birth; guests of the own organisation (R20)."""
    words = asked_for(query)
    if not words:
        return page(request, "search.html", here="/zoeken", query=query, guests=None, more=None)
    found = await directory.find(Search(clerk.organisation, words, after=na, limit=GUESTS_A_PAGE + 1))
    shown, more = _page_of(found)
    return page(request, "search.html", here="/zoeken", query=query, guests=shown, more=more)


def _overviews(request: Request) -> DeskOverviews:
    found: DeskOverviews = request.app.state.desk_overviews
    return found


def _listing(clerk: Clerk, lijst: Listed, after: UUID | None) -> Search:
    return Search(
        clerk.organisation,
        status="expired" if lijst == "verlopen" else None,
        link_pending=lijst == "in-behandeling",
        after=after,
        limit=GUESTS_A_PAGE + 1,
    )


def _page_of(found: Sequence[FoundGuest]) -> tuple[Sequence[FoundGuest], UUID | None]:
    """One more than a page was asked for: so it is known whether there are more."""
    shown = found[:GUESTS_A_PAGE]
    return shown, shown[-1].cursor if len(found) > GUESTS_A_PAGE else None
