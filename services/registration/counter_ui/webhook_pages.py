"""The operators' pages of webhook receivers: how far each is, what waits, retry, skip and resume."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Form, Request, Response

from registration.counter_ui.auth import OperatorStaffDep, installation_staff, operator_staff
from registration.counter_ui.drafts import kept_of
from registration.counter_ui.forms import ReasonForm, TypedReason, fault_of_reason
from registration.counter_ui.operator_actions import NO_REASON
from registration.counter_ui.operator_pages import OperationsDep
from registration.counter_ui.pages import again, notify, page, pages, see_other
from shared.kernel.text import require_text

router = pages("/beheer/webhooks", Depends(operator_staff))
_INSTALLATION = [Depends(installation_staff)]


def _address(name: str) -> str:
    return f"/beheer/webhooks/{name}"


@router.get("")
async def receivers(request: Request, operations: OperationsDep) -> Response:
    """Show all receivers."""
    found = await operations.registration.webhooks.all()
    return page(request, "webhooks.html", receivers=found.receivers)


@router.get("/{name}", dependencies=_INSTALLATION)
async def receiver(request: Request, operations: OperationsDep, name: str) -> Response:
    """Show one receiver with the guests whose messages wait."""
    found = await operations.registration.webhooks.show(name)
    errors = kept_of(request).errors
    return page(
        request,
        "webhook.html",
        status_code=422 if errors else 200,
        receiver=found.receiver,
        waiting=found.waiting,
        errors=errors,
    )


@router.post("/{name}/hervat", dependencies=_INSTALLATION)
async def resume(request: Request, staff: OperatorStaffDep, operations: OperationsDep, name: str) -> Response:
    """Send again to a receiver that wanted nothing any more."""
    await operations.registration.webhooks.resume(name, staff.subject)
    notify(request, "De ontvanger krijgt weer berichten.", "The receiver gets messages again.")
    return see_other(_address(name))


@router.post("/{name}/opnieuw", dependencies=_INSTALLATION)
async def retry(
    *,
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    name: str,
    guest_id: Annotated[UUID, Form()],
) -> Response:
    """Try the messages of a guest again."""
    await operations.registration.webhooks.retry(name, guest_id, staff.subject)
    notify(request, "De berichten worden nu opnieuw gestuurd.", "The messages are sent again now.")
    return see_other(_address(name))


@router.post("/{name}/overslaan", dependencies=_INSTALLATION)
async def skip(
    *,
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    name: str,
    guest_id: Annotated[UUID, Form()],
    reason: TypedReason = "",
) -> Response:
    """Skip the message that is not taken. The operator's name and the reason are stored."""
    if wrong := fault_of_reason(reason, NO_REASON):
        form = ReasonForm(reason=reason, guest_id=str(guest_id))
        return await again(request, _address(name), form, errors={"reason": wrong})
    done = await operations.registration.webhooks.skip(name, guest_id, require_text(reason), staff.subject)
    notify(
        request,
        f"Het bericht met versie {done.version} is overgeslagen.",
        f"The message with version {done.version} was skipped.",
    )
    return see_other(_address(name))
