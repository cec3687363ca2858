"""The desk: the scan field (R2), referred patrons, the search, the figures of the day with their lists."""

from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import quote
from uuid import UUID

from fastapi import Form, Query, Request, Response
from pydantic import Field

from registration.api.dependencies import Clerk, DependenciesDep, RecordedDirectory
from registration.api.schemas import LONGEST_HANDLE
from registration.application.dependencies import Dependencies, LookupKind
from registration.application.find_login_account import find_referred_account
from registration.application.looking_up import looking_up
from registration.application.scan_card import ScannedCard, scan_card
from registration.application.show_guest import show_guest
from registration.counter_ui.auth import CounterClerkDep, CounterDirectoryDep, StaffDep, needs
from registration.counter_ui.drafts import kept_of
from registration.counter_ui.forms import AccountForm, Draft
from registration.counter_ui.i18n import Texts, scan_hint
from registration.counter_ui.new_guest import ask
from registration.counter_ui.pages import again, page, pages, problem_of, see_other, sentence_of, translator
from registration.domain.errors import ReferralInvalid
from registration.read_models.guest_directory import DeskOverviews, FoundGuest, Search, asked_for
from shared.kernel.amsterdam import day_of
from shared.kernel.library_card import MalformedCardNumber, canonical_card_number

router = pages()
GUESTS_A_PAGE = 25
Listed = Literal["vandaag", "verlopen", "in-behandeling"]


@router.get("/")
async def desk(request: Request, staff: StaffDep, deps: DependenciesDep) -> Response:
    """Show the scan field. Operators without the scope `counter` are sent to the operators' page."""
    if "counter" not in staff.scopes and "operator" in staff.scopes:
        return see_other("/beheer")
    needs(staff, "counter")
    overview = await _overviews(request).of(staff.organisation, day_of(deps.clock.now()))
    return page(request, "desk.html", overview=overview)


@router.get("/gasten")
async def listed(
    *,
    request: Request,
    clerk: CounterClerkDep,
    deps: DependenciesDep,
    directory: CounterDirectoryDep,
    lijst: Listed,
    na: Annotated[UUID | None, Query(description="the last guest of the page before")] = None,
    voor: Annotated[UUID | None, Query(description="the first guest of the page behind")] = None,
) -> Response:
    """List the guests behind one figure of the desk, by name."""
    found = await directory.page(
        Search(
            clerk.organisation,
            status="expired" if lijst == "verlopen" else None,
            link_pending=lijst == "in-behandeling",
            registered_on=day_of(deps.clock.now()) if lijst == "vandaag" else None,
            cursor=voor or na,
            backwards=voor is not None,
            limit=GUESTS_A_PAGE,
        )
    )
    return page(request, "guests.html", lijst=lijst, found=found, guests=found.guests)


@router.api_route("/zoeken", methods=["GET", "POST"])
async def search(
    *,
    request: Request,
    clerk: CounterClerkDep,
    directory: CounterDirectoryDep,
    query: Annotated[str, Form(max_length=200)] = "",
    na: Annotated[UUID | None, Form()] = None,
    voor: Annotated[UUID | None, Form()] = None,
) -> Response:
    """Search guests of the own organisation (R20) by beginnings of names, card, date of birth or username."""
    words = asked_for(query)
    if words is None:
        return page(request, "search.html", query=query, guests=None, found=None)
    wanted = Search(
        clerk.organisation, words, cursor=voor or na, backwards=voor is not None, limit=GUESTS_A_PAGE
    )
    found = await directory.page(wanted, query=query)
    return page(request, "search.html", query=query, guests=found.guests, found=found)


def _overviews(request: Request) -> DeskOverviews:
    found: DeskOverviews = request.app.state.desk_overviews
    return found


LONGEST = 200
NO_LONGER_HERE = "deregistered"


@router.api_route("/scan", methods=["GET", "POST"])
async def scan(
    request: Request,
    clerk: CounterClerkDep,
    deps: DependenciesDep,
    directory: CounterDirectoryDep,
    card_number: Annotated[str, Form(max_length=LONGEST)] = "",
) -> Response:
    """Open the guest with this card, or begin a registration; home is asked at once if it is known (R2).

    Several guests may have the same number at different libraries: then the clerk chooses.
    """
    try:
        scanned, known = await _guests_with(card_number, clerk, directory, deps)
    except MalformedCardNumber as error:
        return _not_a_card(request, card_number, error)
    if len(scanned.guests) == 1:
        return see_other(f"/gasten/{scanned.guests[0]}")
    if len(known) == 1:
        return see_other(f"/gasten/{known[0].guest_id}")
    if known:
        return page(request, "search.html", query=scanned.card_number, guests=known, found=None)
    isil = scanned.isils[0] if len(scanned.isils) == 1 else ""
    return await ask(request, Draft(card_number=scanned.card_number, home_isil=isil), clerk, deps)


async def _guests_with(
    card_number: str, clerk: Clerk, directory: RecordedDirectory, deps: Dependencies
) -> tuple[ScannedCard, Sequence[FoundGuest]]:
    """Look the card up in the index; in the view too, unless the index has exactly one guest. One look-up."""
    card = canonical_card_number(card_number)
    async with looking_up(LookupKind.SCAN, card, clerk.context(), deps) as lookup:
        scanned, known = await scan_card(card, clerk.organisation, deps), list[FoundGuest]()
        if len(scanned.guests) != 1:
            found = await directory.with_card(card)
            known = [guest for guest in found if await _has_card(card, guest, clerk, deps)]
        lookup.guest_ids = [*scanned.guests, *(guest.guest_id for guest in known)]
        lookup.outcome = "found" if lookup.guest_ids else "none"
    return scanned, known


async def _has_card(card: str, guest: FoundGuest, clerk: Clerk, deps: Dependencies) -> bool:
    """Return whether exactly this number is the guest's, or that of a record merged into it (R18).

    `scan_card` searched the index for libraries that the card may come from. The view lags behind the index
    but also has the guests of other libraries.
    """
    if guest.status == NO_LONGER_HERE:
        return False
    if guest.found_as is None:
        numbers = [guest.card_number, *guest.aliases]
    else:
        record = await show_guest(guest.found_as, clerk.organisation, deps)
        numbers = [record.card_number or "", *record.aliases]
    return card.lower() in {number.lower() for number in numbers}


Handle = Annotated[str, Field(max_length=LONGEST_HANDLE)]


@router.get("/doorverwezen")
async def referred(
    request: Request, clerk: CounterClerkDep, deps: DependenciesDep, handle: Annotated[Handle, Query()] = ""
) -> Response:
    """Ask for the card of the patron that a catalogue sent here to have an account linked (I12).

    Nothing of the account is shown before the card was scanned.
    """
    deps.referrals.open(handle, clerk.organisation)
    wrong = kept_of(request).errors.get("card_number")
    return page(
        request,
        "referred.html",
        status_code=422 if wrong else 200,
        handle=handle,
        sentence=translator(request)(*wrong) if wrong else "",
        scan_again=wrong is not None and tuple(wrong) == NOT_A_CARD,
    )


@router.post("/doorverwezen")
async def scan_referred(
    *,
    request: Request,
    clerk: CounterClerkDep,
    deps: DependenciesDep,
    directory: CounterDirectoryDep,
    handle: Annotated[Handle, Form()] = "",
    card_number: Annotated[str, Form(max_length=LONGEST)] = "",
) -> Response:
    """Open the guest with this card, with the referred account found: the clerk looks, and links or not."""
    referral, here = deps.referrals.open(handle, clerk.organisation), f"/doorverwezen?handle={quote(handle)}"
    typed = Draft(card_number=card_number)
    try:
        scanned, known = await _guests_with(card_number, clerk, directory, deps)
    except MalformedCardNumber:
        return await again(request, here, typed, errors={"card_number": NOT_A_CARD})
    guest_ids = set(scanned.guests) or {guest.guest_id for guest in known}
    if len(guest_ids) != 1:
        wrong = SEVERAL_GUESTS if guest_ids else NO_SUCH_GUEST
        return await again(request, here, typed, errors={"card_number": wrong})
    if (found := await find_referred_account(referral, clerk.context(), deps)) is None:
        raise ReferralInvalid
    form = AccountForm(username=found.account.username, account_handle=found.handle, referral=handle)
    return await again(request, f"/gasten/{guest_ids.pop()}?tab=inlogaccount", form)


NOT_A_CARD: Texts = ("Dit is geen pasnummer.", "This is not a card number.")
NO_SUCH_GUEST: Texts = (
    (
        "Met deze pas is hier niemand ingeschreven. Ga naar Balie, schrijf de klant in en koppel daarbij het "
        "inlogaccount."
    ),
    (
        "Nobody is registered here with this card. Go to Counter, register the patron and link the login "
        "account there."
    ),
)
SEVERAL_GUESTS: Texts = (
    "Met dit nummer zijn hier meerdere gastleners ingeschreven. Zoek de klant op en koppel daar.",
    "Several guests are registered here with this number. Search the patron and link there.",
)


def _not_a_card(request: Request, card_number: str, error: MalformedCardNumber) -> Response:
    problem = problem_of(error)
    sentence = sentence_of(request, problem) if problem else ""
    return page(
        request,
        "scan_again.html",
        status_code=422,
        card_number=card_number.strip(),
        sentence=sentence,
        hint=scan_hint(card_number, translator(request)),
    )
