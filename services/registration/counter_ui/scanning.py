"""A scanned or typed card: the guest who is known opens, an unknown one begins to be registered (R2)."""

from typing import Annotated

from fastapi import Form, Request, Response

from registration.api.dependencies import Clerk, TheDirectory, TheRegistration
from registration.application.ports import Registration
from registration.application.scan_card import scan_card
from registration.application.show_guest import show_guest
from registration.counter_ui.forms import Draft
from registration.counter_ui.pages import pages, problem_of, see_other
from registration.counter_ui.registration_steps import first_step
from registration.counter_ui.rendering import page, sentence_of
from registration.counter_ui.session import TheCounterClerk
from registration.domain.errors import MalformedCardNumber
from registration.read_models.guest_directory import FoundGuest, Search
from registration.read_models.search_terms import asked_for

router = pages()
LONGEST = 200
NO_LONGER_HERE = "deregistered"


@router.post("/scan")
async def scan(
    request: Request,
    clerk: TheCounterClerk,
    registration: TheRegistration,
    directory: TheDirectory,
    card_number: Annotated[str, Form(max_length=LONGEST)] = "",
) -> Response:
    """Who is here already is opened; several with one number, at different libraries, are chosen from."""
    try:
        scanned = await scan_card(card_number, clerk.organisation, registration)
    except MalformedCardNumber as error:
        return _not_a_card(request, card_number, error)
    if len(scanned.guests) == 1:
        return see_other(f"/gasten/{scanned.guests[0]}")
    found = await directory.find(Search(clerk.organisation, asked_for(scanned.card_number)))
    known = [guest for guest in found if await _bears(scanned.card_number, guest, clerk, registration)]
    if len(known) == 1:
        return see_other(f"/gasten/{known[0].guest_id}")
    if known:
        return page(request, "search.html", query=scanned.card_number, guests=known, more=None)
    return first_step(request, Draft(card_number=scanned.card_number), scanned)


async def _bears(card: str, guest: FoundGuest, clerk: Clerk, registration: Registration) -> bool:
    """Whether this is the very number, of the guest or of the record merged into it (R18).

    The index was asked for the libraries that the card may come from; the view, a moment behind it, knows
    the guests of all others.
    """
    if guest.status == NO_LONGER_HERE:
        return False
    if guest.found_as is None:
        numbers = [guest.card_number, *guest.aliases]
    else:
        record = await show_guest(guest.found_as, clerk.organisation, registration)
        numbers = [record.card_number or "", *record.aliases]
    return card.lower() in {number.lower() for number in numbers}


def _not_a_card(request: Request, card_number: str, error: MalformedCardNumber) -> Response:
    problem = problem_of(error)
    sentence = sentence_of(request, problem) if problem else ""
    return page(
        request, "scan_again.html", status_code=422, card_number=card_number.strip(), sentence=sentence
    )
