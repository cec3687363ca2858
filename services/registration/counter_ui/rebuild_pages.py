"""Rebuilding a view from the operators' page, with its progress as it comes."""

from collections.abc import AsyncIterator

import orjson
from fastapi import Depends, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from registration.counter_ui.operations import Operations, TheOperations
from registration.counter_ui.pages import pages, see_other
from registration.counter_ui.rendering import page
from registration.counter_ui.session import operator_staff
from shared.projections import View
from shared.projections.status import ViewStatus
from shared.web.problems import Problem

router = pages("/beheer/weergaven", Depends(operator_staff))


@router.post("/{name}/herbouw")
async def start(operations: TheOperations, name: str) -> Response:
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


@router.get("/{name}")
async def show(request: Request, operations: TheOperations, name: str) -> Response:
    """How far it is; without JavaScript the page reloads itself."""
    view = _view(operations, name)
    status, last = await _status(operations, name), operations.rebuilds.last(name)
    return page(request, "rebuild.html", view=view, status=status, last=last)


@router.get("/{name}/voortgang")
async def progress(operations: TheOperations, name: str) -> EventSourceResponse:
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
