"""The two pages of Nieuwe klant toevoegen: card and library; then what home says, and the login account."""

from collections.abc import Sequence

from fastapi import Request, Response

from registration.application.scan_card import ScannedCard
from registration.counter_ui.forms import Draft
from registration.counter_ui.refusals import Refusal
from registration.counter_ui.rendering import page
from registration.counter_ui.words import Texts
from registration.domain.errors import Candidate
from registration.domain.subscriptions import ON_OFFER


def first_step(
    request: Request,
    draft: Draft,
    scanned: ScannedCard | None,
    *,
    refusal: Refusal | None = None,
    library: str = "",
    found: Sequence[Candidate] | None = None,
) -> Response:
    """Card number and ISIL: filled in, chosen or typed."""
    isils = scanned.isils if scanned else ()
    if len(isils) == 1 and not draft.home_isil:
        draft = draft.model_copy(update={"home_isil": isils[0]})
    return page(
        request,
        "new_guest.html",
        status_code=refusal.status if refusal else 200,
        draft=draft,
        readings=scanned.readings if scanned else (),
        match="one" if len(isils) == 1 else "ambiguous" if isils else "none",
        refusal=refusal,
        library=library,
        found=found,
    )


def second_step(
    request: Request,
    draft: Draft,
    *,
    refusal: Refusal | None = None,
    errors: dict[str, Texts] | None = None,
) -> Response:
    """What home says, the subscription (picked already when there is one, R7) and the login account."""
    return page(
        request,
        "new_guest_details.html",
        status_code=refusal.status if refusal else 422 if errors else 200,
        draft=draft,
        subscription_options=[
            (offered.code, f"{offered.label}  € {offered.cost.replace('.', ',')}") for offered in ON_OFFER
        ],
        refusal=refusal,
        errors=errors or {},
        save_focus=refusal is not None or draft.linked,
        account_focus=bool(errors) or draft.found or refusal is not None,
    )
