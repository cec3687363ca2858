"""The operators' page: how far everything is, who is held, and what can be done about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Form, Request, Response

from registration.counter_ui.operations import TheOperations
from registration.counter_ui.pages import pages, see_other
from registration.counter_ui.rendering import notify, page
from registration.counter_ui.session import TheOperatorStaff, operator_staff
from shared.messaging.errors import NotHeld
from shared.messaging.held import State
from shared.web.problems import Problem

router = pages("/beheer", Depends(operator_staff))


@router.get("")
async def overview(request: Request, operations: TheOperations) -> Response:
    """All of it on one page."""
    return page(
        request,
        "operators.html",
        views=await operations.views(),
        queues=await operations.queues(),
        held=await operations.inbox.held.overview(),
        unreadable=await operations.unreadable(),
        night=await operations.nights.last(),
    )


@router.post("/geparkeerd/opnieuw")
async def retry(request: Request, operations: TheOperations, guest_id: Annotated[UUID, Form()]) -> Response:
    """Play a guest's messages in order, now."""
    with _while_held():
        through = await operations.inbox.retry_parked(guest_id)
    _tell(request, through=through)
    return see_other("/beheer")


@router.get("/geparkeerd/{guest_id}")
async def parked(request: Request, operations: TheOperations, guest_id: UUID) -> Response:
    """One guest who is held, the messages in line, and passing over the first: only after this page."""
    with _while_held():
        guest = await operations.inbox.held.show(guest_id)
    messages = await operations.inbox.held.messages(guest_id)
    return page(request, "parked.html", guest=guest, messages=messages, missing=False)


@router.post("/geparkeerd/{guest_id}/overslaan")
async def discard(
    request: Request,
    staff: TheOperatorStaff,
    operations: TheOperations,
    guest_id: UUID,
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Pass over the message that is in the way, for good; who did it and why is written down."""
    with _while_held():
        guest = await operations.inbox.held.show(guest_id)
    if guest.state is State.WAITING:
        raise Problem(
            409,
            "only-waiting",
            "Deze gast wacht alleen en wordt vanzelf geprobeerd: wat komt, mag niet worden overgeslagen.",
            "This guest is only waiting and is tried by itself: what is awaited must not be passed over.",
        )
    if not reason.strip():
        messages = await operations.inbox.held.messages(guest_id)
        return page(request, "parked.html", status_code=422, guest=guest, messages=messages, missing=True)
    with _while_held():
        through = await operations.inbox.discard(guest_id, reason=reason.strip(), by=staff.subject)
    _tell(request, through=through)
    return see_other("/beheer")


@contextmanager
def _while_held() -> Iterator[None]:
    """Somebody else, or the worker, may have helped the guest meanwhile."""
    try:
        yield
    except NotHeld:
        raise Problem(
            404,
            "not-held",
            "Deze gast wordt niet (meer) vastgehouden.",
            "This guest is not held (any more).",
        ) from None


def _tell(request: Request, *, through: bool) -> None:
    if through:
        notify(request, "De berichten van deze gast zijn verwerkt.", "This guest's messages are through.")
    else:
        notify(request, "Deze gast wordt nog vastgehouden.", "This guest is still held.")
