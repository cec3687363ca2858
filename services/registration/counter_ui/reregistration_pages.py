"""Herinschrijven: make an expired guest valid again, with klanttype 04 only (R14)."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Form, Request, Response

from registration.api.dependencies import DependenciesDep
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.application.show_guest import GuestView, show_guest
from registration.counter_ui.account_search import (
    TAKEN,
    Searched,
    ShownAccount,
    account_chosen,
    own_taken,
    patron_of,
    search_account,
    shown_account,
    take,
)
from registration.counter_ui.auth import CounterClerkDep
from registration.counter_ui.drafts import kept_form, kept_of
from registration.counter_ui.forms import FormWriteDep, Reregistration
from registration.counter_ui.pages import Refusal, again, kept_refusal, notify, page, pages, see_other
from registration.domain.errors import UsernameTaken
from registration.domain.guest import REREGISTRATION_PATRON_TYPE
from registration.domain.guest_state import Preferences
from registration.domain.login_link import LoginAccountChoice

router = pages("/gasten/{guest_id:uuid}/inschrijven")
Chosen = LoginAccountChoice | Searched[Reregistration] | None
Step = Annotated[Literal["zoek", "koppel", "opslaan"], Form()]


@router.get("")
async def begin(request: Request, clerk: CounterClerkDep, deps: DependenciesDep, guest_id: UUID) -> Response:
    """Show the form: patron type 04, a preview of the new term, and the login account."""
    guest, kept, by = await show_guest(guest_id, clerk.organisation, deps), kept_of(request), clerk.context()
    # What was cleared is not in what is kept: then nothing of the guest may fill it in again (R27).
    email = "" if kept.fields else (guest.details and guest.details.email) or ""
    known = {} if kept.fields else (guest.preferences or Preferences()).fields()
    preferences = {name: str(value) for name, value in known.items()}
    form = kept_form(
        request,
        Reregistration,
        patron_type=REREGISTRATION_PATRON_TYPE,
        new_email=email,
        **preferences,
    )
    found = shown_account(form, await patron_of(guest, deps), by, deps)
    return _form(
        request, guest, Searched(form, dict(kept.errors)), found=found, refusal=kept_refusal(request)
    )


@router.post("")
async def save(
    *,
    request: Request,
    clerk: CounterClerkDep,
    write: FormWriteDep,
    deps: DependenciesDep,
    guest_id: UUID,
    form: Annotated[Reregistration, Form()],
    step: Step = "opslaan",
) -> Response:
    """Ask the home library again and re-register. After a refusal the form keeps what was filled in."""
    guest, by = await show_guest(guest_id, clerk.organisation, deps), clerk.context()
    patron = await patron_of(guest, deps)

    here = f"/gasten/{guest_id}/inschrijven"
    try:
        if step == "zoek":
            chosen: Chosen = await search_account(form, patron, by, deps)
        elif step == "koppel":
            chosen = take(form, patron, by, deps)
        else:
            chosen = await account_chosen(form, patron, by, deps)
        if isinstance(chosen, Searched):
            shown = own_taken(chosen, patron, by, deps)
            return await again(request, here, shown.form, errors=shown.errors)
        command = ReregisterGuest(guest_id, form.patron_type.strip(), chosen, form.preferences())
        await write(lambda context: reregister_guest(command, context, deps))
    except UsernameTaken:
        return await again(request, here, form, errors={"new_username": TAKEN})
    except Exception as error:  # the form keeps what was filled in
        return await again(request, here, form, refused=error)
    notify(
        request,
        "Heringeschreven: het abonnement is weer geldig.",
        "Re-registered: the subscription is valid again.",
    )
    return see_other(f"/gasten/{guest_id}")


def _form(
    request: Request,
    guest: GuestView,
    searched: Searched[Reregistration],
    *,
    found: ShownAccount | None,
    refusal: Refusal | None = None,
) -> Response:
    return page(
        request,
        "reregister.html",
        status_code=refusal.status if refusal else 422 if searched.errors else 200,
        guest=guest,
        account=searched.form,
        found=found,
        refusal=refusal,
        errors=searched.errors,
    )
