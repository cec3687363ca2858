"""The operators' page: views, backlog, parked guests, rebuilds, and what can be done about them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import asyncpg
import orjson
from fastapi import Depends, Form, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from registration.application.nightly_report import NightlyChecks
from registration.counter_ui.auth import OperatorStaffDep, operator_staff
from registration.counter_ui.pages import notify, page, pages, see_other
from shared.messaging.errors import NotParked
from shared.messaging.feed import Feed
from shared.messaging.inbox import Inbox, UnreadableMessage, kept
from shared.messaging.parked import State
from shared.messaging.queues import QueueStatus, queues_of
from shared.projections import View
from shared.projections.background_rebuild import BackgroundRebuilds
from shared.projections.live import ViewStatus, status_of
from shared.web.problems import Problem


@dataclass(frozen=True, slots=True)
class Operations:
    """The service from the operators' side. `stopping` is set when the server is told to stop."""

    pool: asyncpg.Pool
    inbox: Inbox
    identity_feed: Feed
    nightly_checks: NightlyChecks
    with_broker: bool
    all_views: Sequence[View]
    rebuilds: BackgroundRebuilds
    stopping: asyncio.Event

    async def views(self) -> list[ViewStatus]:
        """How far each view is."""
        return await status_of(self.pool, self.all_views)

    async def queues(self) -> list[QueueStatus]:
        """How far messages have come."""
        return await queues_of(self.pool, self.identity_feed, with_relay=self.with_broker)

    async def unreadable(self) -> list[UnreadableMessage]:
        """What came in and is no message of ours."""
        return await kept(self.pool)


def _operations(request: Request) -> Operations:
    found: Operations = request.app.state.operations
    return found


OperationsDep = Annotated[Operations, Depends(_operations)]

router = pages("/beheer", Depends(operator_staff))


@router.get("")
async def overview(request: Request, operations: OperationsDep) -> Response:
    """All of it on one page."""
    return page(
        request,
        "operators.html",
        views=await operations.views(),
        queues=await operations.queues(),
        parked=await operations.inbox.parked.overview(),
        unreadable=await operations.unreadable(),
        nightly=await operations.nightly_checks.last(),
    )


@router.post("/geparkeerd/opnieuw")
async def retry(request: Request, operations: OperationsDep, guest_id: Annotated[UUID, Form()]) -> Response:
    """Play a guest's messages in order, now."""
    with _while_held():
        through = await operations.inbox.retry_parked(guest_id)
    _tell(request, through=through)
    return see_other("/beheer")


@router.get("/geparkeerd/{guest_id}")
async def parked(request: Request, operations: OperationsDep, guest_id: UUID) -> Response:
    """One guest who is held, the messages in line, and passing over the first: only after this page."""
    with _while_held():
        guest = await operations.inbox.parked.show(guest_id)
    messages = await operations.inbox.parked.messages(guest_id)
    return page(request, "parked.html", guest=guest, messages=messages, missing=False)


@router.post("/geparkeerd/{guest_id}/overslaan")
async def discard(
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    guest_id: UUID,
    reason: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Pass over the message that is in the way, for good; who did it and why is written down."""
    with _while_held():
        guest = await operations.inbox.parked.show(guest_id)
    if guest.state is State.WAITING:
        raise Problem(
            409,
            "only-waiting",
            "Deze gast wacht alleen en wordt vanzelf geprobeerd: wat komt, mag niet worden overgeslagen.",
            "This guest is only waiting and is tried by itself: what is awaited must not be passed over.",
        )
    if not reason.strip():
        messages = await operations.inbox.parked.messages(guest_id)
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
    except NotParked:
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


@router.post("/weergaven/{name}/herbouw")
async def start(operations: OperationsDep, name: str) -> Response:
    """Begin, or look on when it runs already. Whoever goes away does not stop it."""
    view, last = _view(operations, name), operations.rebuilds.last(name)
    ours = last is not None and last.state == "running"
    if not ours and (await _status(operations, name)).being_built:
        raise Problem(
            409,
            "rebuild-running",
            "Een ander proces herbouwt of controleert deze weergave al. Er is niets veranderd.",
            "Another process rebuilds or checks this view already. Nothing was changed.",
        )
    await operations.rebuilds.start(view)
    return see_other(f"/beheer/weergaven/{name}")


@router.get("/weergaven/{name}")
async def show(request: Request, operations: OperationsDep, name: str) -> Response:
    """How far it is; without JavaScript the page reloads itself."""
    view = _view(operations, name)
    status, last = await _status(operations, name), operations.rebuilds.last(name)
    return page(request, "rebuild.html", view=view, status=status, last=last)


@router.get("/weergaven/{name}/voortgang")
async def progress(operations: OperationsDep, name: str) -> EventSourceResponse:
    """Server-sent events `progress`, and `ended` as the last one."""
    _view(operations, name)
    return EventSourceResponse(_told(operations, name))


async def _told(operations: Operations, name: str) -> AsyncIterator[ServerSentEvent]:
    async for rebuild in operations.rebuilds.follow(name, operations.stopping):
        told = {"percentage": rebuild.percentage, "done": rebuild.done, "total": rebuild.total}
        kind = "progress" if rebuild.state == "running" else "ended"
        yield ServerSentEvent(orjson.dumps(told).decode(), event=kind)


async def _status(operations: Operations, name: str) -> ViewStatus:
    return next(each for each in await operations.views() if each.name == name)


def _view(operations: Operations, name: str) -> View:
    for view in operations.all_views:
        if view.name == name:
            return view
    raise Problem(404, "no-such-view", "Deze weergave bestaat niet.", "There is no such view.")
