"""Register a guest in two steps: card and home library; then details, subscription and login account."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Form, Request, Response
from fastapi.responses import JSONResponse

from registration.api.dependencies import Clerk, DependenciesDep
from registration.application.dependencies import Dependencies
from registration.application.find_home_library import MOST_FOUND, FoundLibrary, search_home_libraries
from registration.application.find_login_account import find_login_account
from registration.application.membership import current_isil
from registration.application.register_guest import RegisterGuest, prepare_registration, register_guest
from registration.application.scan_card import ScannedCard, read_card
from registration.application.show_guest import GuestView, show_guest
from registration.counter_ui.account_search import (
    NO_USERNAME,
    TAKEN,
    Patron,
    Searched,
    account_chosen,
    own_taken,
    search_account,
    shown_account,
    take,
)
from registration.counter_ui.auth import CounterClerkDep, StaffDep
from registration.counter_ui.drafts import kept_form, kept_of
from registration.counter_ui.forms import Draft, FormWriteDep
from registration.counter_ui.i18n import Texts, scan_hint
from registration.counter_ui.pages import (
    Refusal,
    again,
    kept_refusal,
    notify,
    page,
    pages,
    see_other,
    translator,
)
from registration.domain.errors import AlreadyRegistered, LikelyDuplicate, LikelyGuest, UsernameTaken
from registration.domain.login_link import LoginAccountChoice, NoAccount
from registration.domain.term import ON_OFFER
from registration.domain.verdict import Valid
from shared.kernel.errors import RuleBroken
from shared.kernel.library_card import MalformedCardNumber, canonical_card_number
from shared.kernel.login_account import new_username
from shared.web.problems import Problem


def first_step(
    request: Request,
    draft: Draft,
    scanned: ScannedCard | None,
    *,
    refusal: Refusal | None = None,
    library: str = "",
    found: Sequence[FoundLibrary] | None = None,
) -> Response:
    """Show the first step: card number and ISIL, which is filled in, chosen or typed (R2)."""
    isils = scanned.isils if scanned else ()
    if len(isils) == 1 and not draft.home_isil:
        draft = draft.model_copy(update={"home_isil": isils[0]})
    return page(
        request,
        "new_guest.html",
        status_code=refusal.status if refusal else 200,
        draft=draft,
        hint=scan_hint(draft.card_number, translator(request)),
        readings=scanned.readings if scanned else (),
        match="one" if len(isils) == 1 else "ambiguous" if isils else "none",
        refusal=refusal,
        searched=library,
        found=found,
        most_found=MOST_FOUND,
    )


async def second_step(
    request: Request,
    draft: Draft,
    clerk: Clerk,
    deps: Dependencies,
    *,
    refusal: Refusal | None = None,
    errors: dict[str, Texts] | None = None,
) -> Response:
    """Show the second step: the home library's details, the subscription (R7) and the login account (R17)."""
    found = shown_account(draft, _patron(draft), clerk.context(), deps)
    likely = [await show_guest(guest_id, clerk.organisation, deps) for guest_id in draft.likely_ids]
    looks_like = refusal is not None and refusal.code == "likely-duplicate"
    return page(
        request,
        "new_guest_details.html",
        likely=[(guest, _same_library(draft, guest, deps)) for guest in likely],
        status_code=refusal.status if refusal else 422 if errors else 200,
        draft=draft,
        subscription_options=[
            (offered.code, f"{offered.label}  € {offered.cost.replace('.', ',')}") for offered in ON_OFFER
        ],
        found=found,
        refusal=refusal,
        errors=errors or {},
        likely_focus=looks_like,
        save_focus=not looks_like and (refusal is not None or (draft.linked and found is not None)),
        account_focus=not errors and found is None and refusal is None,
    )


router = pages("/gasten/nieuw")
CARD_STEP, DETAILS_STEP = "/gasten/nieuw", "/gasten/nieuw/gegevens"
DraftDep = Annotated[Draft, Form()]
Chosen = LoginAccountChoice | Searched[Draft] | None
Step = Annotated[Literal["zoek", "koppel", "opslaan"], Form()]


@router.get("")
async def begin(request: Request, _clerk: CounterClerkDep, deps: DependenciesDep) -> Response:
    """Begin without a scanner: the clerk types card number and ISIL. Or show again what was typed."""
    draft = kept_form(request, Draft)
    return first_step(request, draft, await _scanned(draft, deps), refusal=kept_refusal(request))


@router.api_route("/bibliotheek", methods=["GET", "POST"])
async def search_library(
    request: Request,
    clerk: CounterClerkDep,
    deps: DependenciesDep,
    draft: DraftDep,
    library: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Search the home library by card, name, place or ISIL (Geen ISIL gevonden?)."""
    found = await search_home_libraries(library, clerk.organisation, deps)
    scanned = await _scanned(draft, deps)
    return first_step(request, draft, scanned, library=library, found=found)


@router.post("/thuis")
async def ask_home(
    request: Request, clerk: CounterClerkDep, deps: DependenciesDep, draft: DraftDep
) -> Response:
    """Ok, Vervolg: ask the home library."""
    return await ask(request, draft, clerk, deps)


async def ask(request: Request, draft: Draft, clerk: Clerk, deps: Dependencies) -> Response:
    """Ask the home library and go on to its details, or back to the first step with the refusal.

    Without an ISIL the first step comes, with the libraries that the card may come from (R2).
    """
    try:
        if not draft.home_isil.strip():
            canonical_card_number(draft.card_number)
            return await again(request, CARD_STEP, draft)
        prepared = await prepare_registration(draft.card_number, draft.home_isil, clerk.context(), deps)
    except AlreadyRegistered as already:
        return _already_registered(request, already)
    except RuleBroken as error:
        return await again(request, CARD_STEP, draft, refused=error)
    draft = _with_likely(_with_details(draft, prepared.membership), prepared.likely)
    return await again(request, DETAILS_STEP, draft)


@router.get("/gegevens")
async def details(request: Request, clerk: CounterClerkDep, deps: DependenciesDep) -> Response:
    """Show the home library's details, which cannot be edited (R5), and what was filled in so far."""
    kept = kept_of(request)
    draft = kept_form(request, Draft)
    if not draft.name:  # what was kept is gone: the card is scanned again
        raise Problem(
            410,
            "form-not-kept",
            "Dit formulier is niet meer bewaard: het is al opgeslagen, of het is meer dan twee uur oud.",
            "This form is not kept any more: it was saved already, or it is more than two hours old.",
        )
    return await second_step(
        request, draft, clerk, deps, refusal=kept_refusal(request), errors=dict(kept.errors)
    )


@router.post("/opslaan")
async def save(
    *,
    request: Request,
    staff: StaffDep,
    clerk: CounterClerkDep,
    write: FormWriteDep,
    deps: DependenciesDep,
    draft: DraftDep,
    step: Step = "opslaan",
) -> Response:
    """OK en Opslaan: register. The other steps of the same form search and take the login account."""
    patron, by = _patron(draft), clerk.context()
    try:
        if step == "zoek":
            chosen: Chosen = await search_account(draft, patron, by, deps)
        elif step == "koppel":
            chosen = take(draft, patron, by, deps)
        else:
            chosen = NoAccount() if draft.same_as else await account_chosen(draft, patron, by, deps)
        if isinstance(chosen, Searched):
            shown = own_taken(chosen, patron, by, deps)
            return await again(request, DETAILS_STEP, shown.form, errors=shown.errors)
        command = _command(draft, draft.branch or staff.branch, chosen)
        result = await write(lambda context: register_guest(command, context, deps))
        request.session["branch"] = command.branch  # chosen once per session
    except AlreadyRegistered as already:
        return _already_registered(request, already)
    except LikelyDuplicate as found:
        return await again(request, DETAILS_STEP, _with_likely(draft, found.candidates), refused=found)
    except UsernameTaken:
        return await again(request, DETAILS_STEP, draft, errors={"new_username": TAKEN})
    except Exception as error:  # the form keeps what was filled in
        return await again(request, DETAILS_STEP, draft, refused=error)
    return _saved(request, draft, result.resource_id)


def _saved(request: Request, draft: Draft, guest_id: UUID) -> Response:
    """Go on: to the guest that got the number, to the merge with the same person's other record, or on."""
    if draft.same_as:
        notify(
            request,
            "Het nieuwe pasnummer is bij deze gastlener bewaard. De oude pas vindt de gastlener ook nog."
            " Inlogaccount, voorkeuren en chip zijn niet gewijzigd.",
            "The new card number is kept with this guest. The old card still finds the guest, too."
            " Login account, preferences and chip were not changed.",
        )
        return see_other(f"/gasten/{guest_id}")
    if draft.merge_with:
        notify(
            request,
            "De inschrijving is opgeslagen. Voeg hieronder nog de twee inschrijvingen samen.",
            "The registration was saved. Now merge the two records below.",
        )
        return see_other(f"/gasten/{draft.merge_with}/ontdubbelen/{guest_id}")
    notify(request, "De inschrijving is opgeslagen.", "The registration was saved.")
    return see_other(f"/gasten/{guest_id}/ingeschreven")


def _with_likely(draft: Draft, likely: Sequence[LikelyGuest]) -> Draft:
    return draft.model_copy(update={"likely": ",".join(str(guest.guest_id) for guest in likely)})


def _same_library(draft: Draft, guest: GuestView, deps: Dependencies) -> bool:
    return current_isil(draft.home_isil, deps).same_library(current_isil(guest.home_isil, deps))


@router.post("/gebruikersnaam")
async def check_username(
    request: Request,
    clerk: CounterClerkDep,
    deps: DependenciesDep,
    username: Annotated[str, Form(max_length=254)] = "",
    home_isil: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Return what is wrong with a new username, for a script that asks while the clerk types (R22)."""
    said: Texts = ("", "")
    try:
        if await find_login_account(new_username(username), home_isil, clerk.context(), deps):
            said = TAKEN
    except ValueError:
        said = NO_USERNAME
    except RuleBroken:  # too many look-ups, or identity is silent: the username is checked when it is saved
        pass
    return JSONResponse({"text": translator(request)(*said)})


def _patron(draft: Draft) -> Patron:
    numbers = (draft.card_number.strip(), draft.canonical_card_number)
    return Patron(draft.home_isil, [number for number in numbers if number])


def _already_registered(request: Request, already: AlreadyRegistered) -> Response:
    if already.by_other_number:
        notify(
            request,
            "Deze klant is hier al ingeschreven met een ander pasnummer. Dit is de gastlener; beide nummers"
            " zijn bewaard.",
            "This patron is registered here already with another card number. This is the guest; both numbers"
            " are kept.",
        )
    else:
        notify(
            request,
            "Deze klant is hier al ingeschreven, misschien zojuist door een collega. Dit is de gastlener.",
            "This patron is registered here already, perhaps just now by a colleague. This is the guest.",
        )
    return see_other(f"/gasten/{already.guest_id}")


async def _scanned(draft: Draft, deps: Dependencies) -> ScannedCard | None:
    try:
        return await read_card(draft.card_number, deps)
    except MalformedCardNumber:
        return None


def _with_details(draft: Draft, membership: Valid) -> Draft:
    details = membership.details
    ends_on = membership.ends_on
    return draft.model_copy(
        update={
            "canonical_card_number": membership.canonical_card_number,
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
        same_as=draft.same_as,
        not_same_as=draft.not_same_as,
        preferences=draft.preferences(),
    )
