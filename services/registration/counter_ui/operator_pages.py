"""The operators' page: views, queues, parked guests, the nightly check, and actions on them (ADR 0009)."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
import orjson
from fastapi import Depends, Form, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from registration.adapters.lookups import LookupFilter, PostgresLookups, lines_of
from registration.api.schemas import ONE_LINE
from registration.application.dependencies import Context
from registration.application.nightly_report import NightlyChecks
from registration.counter_ui.auth import (
    OperatorStaffDep,
    Staff,
    installation_staff,
    names_of,
    operator_staff,
)
from registration.counter_ui.pages import notify, page, pages, see_other
from shared.event_log import Metadata
from shared.kernel.text import tidy
from shared.messaging.broker_faults import Fault, faults_of
from shared.messaging.errors import NotParked
from shared.messaging.feed import Feed
from shared.messaging.inbox import Inbox, UnreadableMessage, unreadable_messages
from shared.messaging.parked import State
from shared.messaging.queues import QueueStatus, queues_of
from shared.projections import View
from shared.projections.background_rebuild import BackgroundRebuilds
from shared.projections.live import ViewStatus, status_of
from shared.web.problems import Problem, correlation_id


@dataclass(frozen=True, slots=True)
class Operations:
    """What the operators' page reads and does. `stopping` is set when the server receives a stop signal."""

    pool: asyncpg.Pool
    inbox: Inbox
    identity_feed: Feed
    nightly_checks: NightlyChecks
    lookups: PostgresLookups
    with_broker: bool
    all_views: Sequence[View]
    rebuilds: BackgroundRebuilds
    stopping: asyncio.Event

    async def views(self) -> list[ViewStatus]:
        """Return the status of every view, with its lag."""
        return await status_of(self.pool, self.all_views)

    async def queues(self) -> list[QueueStatus]:
        """Return the status of the messages in both directions, with their lag."""
        return await queues_of(self.pool, self.identity_feed, with_relay=self.with_broker)

    async def broker_faults(self) -> list[Fault]:
        """Return what the workers find wrong at the broker."""
        return await faults_of(self.pool) if self.with_broker else []

    async def unreadable(self) -> list[UnreadableMessage]:
        """Return the unreadable messages."""
        return await unreadable_messages(self.pool)


async def _operations(request: Request) -> Operations:
    found: Operations = request.app.state.operations
    return found


OperationsDep = Annotated[Operations, Depends(_operations)]

router = pages("/beheer", Depends(operator_staff))
# Messages and views belong to every organisation, so an operator of one may look but not act (R20).
_INSTALLATION = [Depends(installation_staff)]


@router.get("")
async def overview(request: Request, operations: OperationsDep) -> Response:
    """Show everything on one page."""
    return page(
        request,
        "operators.html",
        views=await operations.views(),
        queues=await operations.queues(),
        broker_faults=await operations.broker_faults(),
        parked=await operations.inbox.parked.overview(),
        unreadable=await operations.unreadable(),
        nightly=await operations.nightly_checks.last(),
    )


MOST_LOOKUPS = 100


class LookupForm(BaseModel):
    """Which look-ups the operator wants to see. Empty: all. `wat`: a card number, a username, a search."""

    model_config = ConfigDict(frozen=True)

    medewerker: Annotated[str, Field(max_length=200)] = ""
    wat: Annotated[str, Field(max_length=200)] = ""
    gastlener: UUID | Literal[""] = ""
    vanaf: date | Literal[""] = ""
    tot: date | Literal[""] = ""

    def wanted(self, staff: Staff) -> LookupFilter:
        """Return the filter, of the operator's own organisation only (R20)."""
        return LookupFilter(
            staff.organisation,
            self.medewerker.strip() or None,
            self.wat.strip() or None,
            self.gastlener or None,
            self.vanaf or None,
            self.tot or None,
        )


LookupFormDep = Annotated[LookupForm, Form()]
NO_FILTER = LookupForm()


@router.get("/opzoekingen")
async def lookups(request: Request, staff: OperatorStaffDep, operations: OperationsDep) -> Response:
    """Show who looked up which person, the newest first (R22)."""
    return await _lookups_page(request, staff, operations, NO_FILTER)


@router.post("/opzoekingen")
async def search_lookups(
    request: Request, staff: OperatorStaffDep, operations: OperationsDep, form: LookupFormDep
) -> Response:
    """Show those of one clerk, person or period. POST keeps names and card numbers out of the address."""
    return await _lookups_page(request, staff, operations, form)


@router.post("/opzoekingen/uitvoer/{form}")
async def export_lookups(
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    form: Literal["csv", "jsonl"],
    filter_form: LookupFormDep,
) -> Response:
    """Download all that fit, the oldest first."""
    found = operations.lookups.all_in_order(filter_form.wanted(staff), _by(request, staff))
    headers = {"Content-Disposition": f'attachment; filename="opzoekingen.{form}"'}
    media_type = "text/csv" if form == "csv" else "application/jsonl"
    return StreamingResponse(lines_of(found, form), headers=headers, media_type=media_type)


async def _lookups_page(request: Request, staff: Staff, operations: Operations, form: LookupForm) -> Response:
    found = await operations.lookups.newest(form.wanted(staff), MOST_LOOKUPS, _by(request, staff))
    return page(
        request,
        "lookups.html",
        here="/beheer/opzoekingen",
        form=form,
        lookups=found,
        names=await names_of(request, {lookup.subject for lookup in found}),
        most=MOST_LOOKUPS,
    )


def _by(request: Request, staff: Staff) -> Context:
    return Context(staff.organisation, Metadata(staff.subject, correlation_id(request)))


@router.post("/geparkeerd/opnieuw", dependencies=_INSTALLATION)
async def retry(request: Request, operations: OperationsDep, guest_id: Annotated[UUID, Form()]) -> Response:
    """Process the guest's backlog in order, now."""
    with _while_parked():
        processed = await operations.inbox.retry_parked(guest_id)
    if processed:
        notify(
            request,
            "De berichten van deze gastlener zijn verwerkt.",
            "The messages of this guest were processed.",
        )
    else:
        notify(request, "Deze gastlener is nog geparkeerd.", "This guest is still parked.")
    return see_other("/beheer")


@router.get("/geparkeerd/{guest_id}", dependencies=_INSTALLATION)
async def parked(request: Request, operations: OperationsDep, guest_id: UUID) -> Response:
    """Show one parked guest with its backlog; only this page offers to skip the failed message."""
    with _while_parked():
        guest = await operations.inbox.parked.show(guest_id)
    messages = await operations.inbox.parked.messages(guest_id)
    return page(request, "parked.html", guest=guest, messages=messages, missing=False)


@router.post("/geparkeerd/{guest_id}/overslaan", dependencies=_INSTALLATION)
async def discard(
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    guest_id: UUID,
    reason: Annotated[str, Form(max_length=200, pattern=ONE_LINE)] = "",
) -> Response:
    """Skip the failed message permanently. The operator's name and the reason are stored."""
    with _while_parked():
        guest = await operations.inbox.parked.show(guest_id)
    if guest.state is State.WAITING:
        raise Problem(
            409,
            "only-waiting",
            "Deze gastlener wacht alleen en wordt vanzelf opnieuw geprobeerd. Sla het bericht niet over.",
            "This guest is only waiting and is retried automatically. Do not skip the message.",
        )
    if not tidy(reason).strip():
        messages = await operations.inbox.parked.messages(guest_id)
        return page(request, "parked.html", status_code=422, guest=guest, messages=messages, missing=True)
    with _while_parked():
        processed = await operations.inbox.discard(guest_id, reason=tidy(reason).strip(), by=staff.subject)
    if processed:
        notify(
            request,
            "Het bericht is overgeslagen, en die erna zijn verwerkt.",
            "The message was skipped, and those after it were processed.",
        )
    else:
        notify(
            request,
            "Het bericht is overgeslagen. Deze gastlener is nog geparkeerd.",
            "The message was skipped. This guest is still parked.",
        )
    return see_other("/beheer")


@contextmanager
def _while_parked() -> Iterator[None]:
    """Turn NotParked into a Problem: another operator or the worker may have unparked the guest meanwhile."""
    try:
        yield
    except NotParked:
        raise Problem(
            404,
            "not-held",
            "Deze gastlener is niet (meer) geparkeerd.",
            "This guest is not parked (any more).",
        ) from None


@router.post("/weergaven/{name}/herbouw", dependencies=_INSTALLATION)
async def start(request: Request, operations: OperationsDep, name: str) -> Response:
    """Start a rebuild, or show the one that runs already. It goes on when the operator leaves the page."""
    view, last = _view(operations, name), operations.rebuilds.last(name)
    ours = last is not None and last.state == "running"
    if not ours and (await _status(operations, name)).being_built:
        raise Problem(
            409,
            "rebuild-running",
            "Een ander proces is deze weergave al aan het herbouwen of controleren. Er is niets veranderd.",
            "Another process is already rebuilding or verifying this view. Nothing was changed.",
        )
    await operations.rebuilds.start(view)
    notify(request, "De herbouw is begonnen.", "The rebuild has begun.")
    return see_other(f"/beheer/weergaven/{name}")


@router.get("/weergaven/{name}")
async def show(request: Request, operations: OperationsDep, name: str) -> Response:
    """Show the progress of a rebuild. Without JavaScript the page reloads itself."""
    view = _view(operations, name)
    status, last = await _status(operations, name), operations.rebuilds.last(name)
    return page(request, "rebuild.html", view=view, status=status, last=last)


@router.get("/weergaven/{name}/voortgang")
async def progress(operations: OperationsDep, name: str) -> EventSourceResponse:
    """Send server-sent events: `progress`, and `ended` as the last one."""
    _view(operations, name)
    return EventSourceResponse(_progress_events(operations, name))


async def _progress_events(operations: Operations, name: str) -> AsyncIterator[ServerSentEvent]:
    async for rebuild in operations.rebuilds.follow(name, operations.stopping):
        data = {"percentage": rebuild.percentage, "done": rebuild.done, "total": rebuild.total}
        kind = "progress" if rebuild.state == "running" else "ended"
        yield ServerSentEvent(orjson.dumps(data).decode(), event=kind)


async def _status(operations: Operations, name: str) -> ViewStatus:
    return next(status for status in await operations.views() if status.name == name)


def _view(operations: Operations, name: str) -> View:
    for view in operations.all_views:
        if view.name == name:
            return view
    raise Problem(404, "no-such-view", "Deze weergave bestaat niet.", "There is no such view.")
