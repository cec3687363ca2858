"""Persoonsgegevens wissen: an operator destroys personal data, after a confirmation (R19)."""

from typing import Annotated
from uuid import UUID

from fastapi import Form, Request, Response

from registration.api.dependencies import DependenciesDep
from registration.application.erase_guest import erase_personal_data
from registration.application.repository import load_guest
from registration.application.show_guest import show_guest
from registration.counter_ui.auth import OperatorStaffDep
from registration.counter_ui.pages import notify, page, pages, see_other
from shared.event_log import Metadata
from shared.web.problems import correlation_id

router = pages("/gasten/{guest_id:uuid}/wissen")


@router.get("")
async def begin(request: Request, staff: OperatorStaffDep, deps: DependenciesDep, guest_id: UUID) -> Response:
    """Show what will be destroyed permanently."""
    guest = await show_guest(guest_id, staff.organisation, deps)
    return page(request, "erase.html", guest=guest, forgotten=False)


@router.post("")
async def erase(
    request: Request,
    staff: OperatorStaffDep,
    deps: DependenciesDep,
    guest_id: UUID,
    confirmed: Annotated[bool, Form()] = False,
) -> Response:
    """Destroy the personal data. Repeating it changes nothing, so the form has no idempotency key."""
    await load_guest(guest_id, staff.organisation, deps)
    if not confirmed:
        guest = await show_guest(guest_id, staff.organisation, deps)
        return page(request, "erase.html", status_code=422, guest=guest, forgotten=True)
    by = Metadata(staff.subject, correlation_id(request))
    await erase_personal_data(guest_id, by, deps)
    notify(request, "De persoonsgegevens zijn gewist.", "The personal data was erased.")
    return see_other(f"/gasten/{guest_id}" if "counter" in staff.scopes else "/beheer")
