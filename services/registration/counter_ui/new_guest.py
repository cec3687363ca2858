"""Nieuwe klant toevoegen, Gastklant: card and library; what home says, subscription and login account; saved.

All that is filled in travels in the form, so that nothing of it is lost, and nothing of it is in an address.
"""

from datetime import date
from typing import Annotated, Literal

from fastapi import Form, Request, Response

from registration.api.dependencies import Clerk, TheRegistration
from registration.application.ports import Registration
from registration.application.prepare_registration import prepare_registration
from registration.application.register_guest import RegisterGuest, register_guest
from registration.application.scan_card import ScannedCard, scan_card
from registration.application.search_home_libraries import search_home_libraries
from registration.counter_ui.account_search import Searched, account_chosen, search_account, taken
from registration.counter_ui.forms import Draft
from registration.counter_ui.pages import pages, problem_of, see_other
from registration.counter_ui.refusals import refusal_of
from registration.counter_ui.registration_steps import first_step, second_step
from registration.counter_ui.rendering import notify
from registration.counter_ui.session import TheCounterClerk, TheStaff
from registration.counter_ui.write import TheFormWrite
from registration.domain.errors import AlreadyRegistered, MalformedCardNumber, RuleBroken
from registration.domain.login_link import LoginAccountChoice
from registration.domain.verdict import Valid

router = pages("/gasten/nieuw")
TheDraft = Annotated[Draft, Form()]
Step = Annotated[Literal["zoek", "koppel", "opslaan"], Form()]


@router.get("")
async def begin(request: Request, _clerk: TheCounterClerk) -> Response:
    """Without a scanner: card and ISIL are typed."""
    return first_step(request, Draft(), None)


@router.post("/bibliotheek")
async def search_library(
    request: Request,
    clerk: TheCounterClerk,
    registration: TheRegistration,
    draft: TheDraft,
    library: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Geen ISIL gevonden: looked for by name or ISIL."""
    found = await search_home_libraries(library, registration)
    scanned = await _scanned(draft, clerk, registration)
    return first_step(request, draft, scanned, library=library, found=found)


@router.post("/thuis")
async def ask_home(
    request: Request, clerk: TheCounterClerk, registration: TheRegistration, draft: TheDraft
) -> Response:
    """Ok, Vervolg: home is asked; what it says is shown, and cannot be changed (R5).

    Without an ISIL the card tells which library it is, or the clerk does (R2).
    """
    try:
        if not draft.home_isil.strip():
            scanned = await scan_card(draft.card_number, clerk.organisation, registration)
            return first_step(request, draft, scanned)
        membership = await prepare_registration(
            draft.card_number, draft.home_isil, clerk.organisation, registration
        )
    except AlreadyRegistered as already:
        return _known_already(request, already)
    except RuleBroken as error:
        libraries = await _scanned(draft, clerk, registration)
        return first_step(request, draft, libraries, refusal=refusal_of(request, error))
    return second_step(request, _with_details(draft, membership))


@router.post("/opslaan")
async def save(
    *,
    request: Request,
    staff: TheStaff,
    write: TheFormWrite,
    registration: TheRegistration,
    draft: TheDraft,
    step: Step = "opslaan",
) -> Response:
    """OK en Opslaan; or, before it, the login account is searched and taken (Koppelen)."""
    try:
        if step == "zoek":
            return _searched(request, await search_account(draft, draft.home_isil, registration))
        if step == "koppel":
            return second_step(request, taken(draft))
        chosen = await account_chosen(draft, draft.home_isil, registration)
        if isinstance(chosen, Searched):
            return _searched(request, chosen)
        command = _command(draft, draft.branch or staff.branch, chosen)
        done = await write(lambda context: register_guest(command, context, registration))
        request.session["branch"] = command.branch  # chosen once
    except AlreadyRegistered as already:
        return _known_already(request, already)
    except Exception as error:  # whatever it is: what was filled in is not lost
        if problem_of(error) is None:
            raise
        return second_step(request, draft, refusal=refusal_of(request, error))
    return see_other(f"/gasten/{done.resource_id}/ingeschreven")


def _searched(request: Request, searched: Searched[Draft]) -> Response:
    return second_step(request, searched.form, errors=searched.errors)


def _known_already(request: Request, already: AlreadyRegistered) -> Response:
    notify(
        request,
        "Deze klant is hier al ingeschreven, misschien zojuist door een collega. Dit is de gastlener.",
        "This patron is registered here already, perhaps just now by a colleague. This is the guest.",
    )
    return see_other(f"/gasten/{already.guest_id}")


async def _scanned(draft: Draft, clerk: Clerk, registration: Registration) -> ScannedCard | None:
    try:
        return await scan_card(draft.card_number, clerk.organisation, registration)
    except MalformedCardNumber:
        return None


def _with_details(draft: Draft, membership: Valid) -> Draft:
    details = membership.details
    ends_on = membership.ends_on
    return draft.model_copy(
        update={
            "name": details.name,
            "birth_date": f"{details.birth_date:%d-%m-%Y}" if details.birth_date else "",
            "address": details.address or "",
            "email": details.email or "",
            "new_email": draft.new_email or details.email or "",
            "ends_on": f"{ends_on:%d-%m-%Y}" if isinstance(ends_on, date) else "",
        }
    )


def _command(draft: Draft, branch: str, chosen: LoginAccountChoice | None) -> RegisterGuest:
    if chosen is None:  # "keep" is for guests who are here already
        raise ValueError("a registration without a choice of login account")
    return RegisterGuest(
        card_number=draft.card_number,
        home_isil=draft.home_isil or None,
        branch=branch,
        card_has_chip=draft.card_has_chip,
        identity_document_checked=draft.identity_document_checked,
        login_account=chosen,
        subscription_code=draft.subscription_code or None,
    )
