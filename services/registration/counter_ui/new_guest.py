"""Register a guest in two steps: card and home library; then details, subscription and login account."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Form, Request, Response

from registration.api.dependencies import Clerk, DependenciesDep
from registration.application.dependencies import Dependencies
from registration.application.find_home_library import MOST_FOUND, FoundLibrary, search_home_libraries
from registration.application.membership import current_isil
from registration.application.register_guest import RegisterGuest, prepare_registration, register_guest
from registration.application.scan_card import ScannedCard, read_card
from registration.application.show_guest import GuestView, show_guest
from registration.counter_ui.account_search import (
    Patron,
    Searched,
    account_chosen,
    search_account,
    shown_account,
    take,
)
from registration.counter_ui.auth import CounterClerkDep, StaffDep
from registration.counter_ui.forms import Draft, FormWriteDep
from registration.counter_ui.i18n import Texts, scan_hint
from registration.counter_ui.pages import (
    Refusal,
    notify,
    page,
    pages,
    problem_of,
    refusal_of,
    see_other,
    translator,
)
from registration.domain.errors import AlreadyRegistered, LikelyDuplicate, LikelyGuest
from registration.domain.login_link import LoginAccountChoice, NoAccount
from registration.domain.term import ON_OFFER
from registration.domain.verdict import Valid
from shared.kernel.errors import RuleBroken
from shared.kernel.library_card import MalformedCardNumber


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
    likely = [await show_guest(guest_id, clerk.organisation, deps) for guest_id in draft.likely]
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
        save_focus=refusal is not None or (draft.linked and found is not None),
        account_focus=bool(errors) or found is not None or refusal is not None,
    )


router = pages("/gasten/nieuw")
DraftDep = Annotated[Draft, Form()]
Chosen = LoginAccountChoice | Searched[Draft] | None
Step = Annotated[Literal["zoek", "koppel", "opslaan"], Form()]


@router.get("")
async def begin(request: Request, _clerk: CounterClerkDep) -> Response:
    """Begin without a scanner: the clerk types card number and ISIL."""
    return first_step(request, Draft(), None)


@router.post("/bibliotheek")
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
    """Ok, Vervolg: ask the home library and show its details, which cannot be edited (R5).

    Without an ISIL the first step comes again, with the libraries that the card may come from (R2).
    """
    try:
        if not draft.home_isil.strip():
            return first_step(request, draft, await read_card(draft.card_number, deps))
        prepared = await prepare_registration(draft.card_number, draft.home_isil, clerk.context(), deps)
    except AlreadyRegistered as already:
        return _already_registered(request, already)
    except RuleBroken as error:
        libraries = await _scanned(draft, deps)
        return first_step(request, draft, libraries, refusal=refusal_of(request, error))
    draft = _with_details(draft, prepared.membership).model_copy(update={"likely": _ids_of(prepared.likely)})
    return await second_step(request, draft, clerk, deps)


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
            return await second_step(request, chosen.form, clerk, deps, errors=chosen.errors)
        command = _command(draft, draft.branch or staff.branch, chosen)
        result = await write(lambda context: register_guest(command, context, deps))
        request.session["branch"] = command.branch  # chosen once per session
    except AlreadyRegistered as already:
        return _already_registered(request, already)
    except LikelyDuplicate as likely:
        draft = draft.model_copy(update={"likely": _ids_of(likely.candidates)})
        return await second_step(request, draft, clerk, deps, refusal=refusal_of(request, likely))
    except Exception as error:  # the form keeps what was filled in
        if problem_of(error) is None:
            raise
        return await second_step(request, draft, clerk, deps, refusal=refusal_of(request, error))
    return _saved(request, draft, result.resource_id)


def _saved(request: Request, draft: Draft, guest_id: UUID) -> Response:
    """Go on: to the guest that got the number, to the merge with the same person's other record, or on."""
    if draft.same_as:
        notify(
            request,
            "Het nieuwe pasnummer is bij deze gastlener bewaard. De oude pas vindt de gastlener ook nog.",
            "The new card number is kept with this guest. The old card still finds the guest, too.",
        )
        return see_other(f"/gasten/{guest_id}")
    if draft.merge_with:
        return see_other(f"/gasten/{draft.merge_with[0]}/ontdubbelen/{guest_id}")
    return see_other(f"/gasten/{guest_id}/ingeschreven")


def _ids_of(likely: Sequence[LikelyGuest]) -> tuple[UUID, ...]:
    return tuple(guest.guest_id for guest in likely)


def _same_library(draft: Draft, guest: GuestView, deps: Dependencies) -> bool:
    return current_isil(draft.home_isil, deps).same_library(current_isil(guest.home_isil, deps))


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
        same_as=draft.same_as[0] if draft.same_as else None,
        not_same_as=frozenset((*draft.not_same_as, *draft.merge_with)),
    )
