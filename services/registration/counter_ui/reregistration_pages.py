"""Herinschrijven: make an expired guest valid again, with klanttype 04 only (R14)."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Form, Request, Response

from registration.api.dependencies import DependenciesDep
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.application.show_guest import GuestView, show_guest
from registration.counter_ui.account_search import (
    Searched,
    ShownAccount,
    account_chosen,
    patron_of,
    search_account,
    shown_account,
    take,
)
from registration.counter_ui.auth import CounterClerkDep
from registration.counter_ui.forms import FormWriteDep, Reregistration
from registration.counter_ui.pages import Refusal, notify, page, pages, problem_of, refusal_of, see_other
from registration.domain.guest import REREGISTRATION_PATRON_TYPE
from registration.domain.guest_state import Preferences

router = pages("/gasten/{guest_id:uuid}/inschrijven")
Step = Annotated[Literal["zoek", "koppel", "opslaan"], Form()]


@router.get("")
async def begin(request: Request, clerk: CounterClerkDep, deps: DependenciesDep, guest_id: UUID) -> Response:
    """Show the form: patron type 04, a preview of the new term, and the login account."""
    guest = await show_guest(guest_id, clerk.organisation, deps)
    known = (guest.preferences or Preferences()).fields()
    empty = Reregistration(patron_type=REREGISTRATION_PATRON_TYPE, **known)
    return _form(request, guest, Searched(empty, {}), found=None)


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

    def again(searched: Searched[Reregistration], refusal: Refusal | None = None) -> Response:
        found = shown_account(searched.form, patron, by, deps)
        return _form(request, guest, searched, found=found, refusal=refusal)

    try:
        if step == "zoek":
            return again(await search_account(form, patron, by, deps))
        if step == "koppel":
            return again(take(form, patron, by, deps))
        chosen = await account_chosen(form, patron, by, deps)
        if isinstance(chosen, Searched):
            return again(chosen)
        command = ReregisterGuest(guest_id, form.patron_type.strip(), chosen, form.preferences())
        await write(lambda context: reregister_guest(command, context, deps))
    except Exception as error:  # the form keeps what was filled in
        if problem_of(error) is None:
            raise
        return again(Searched(form, {}), refusal_of(request, error))
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
