"""How a guest's login account stands, live: the page hears of identity's answer as soon as it is written."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import UUID

import orjson
from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from registration.api.dependencies import TheRegistration
from registration.application.guests import load_guest
from registration.application.ports import Registration
from registration.counter_ui.operations import TheOperations
from registration.counter_ui.pages import pages
from registration.counter_ui.rendering import Say, sayer
from registration.counter_ui.session import TheCounterClerk
from registration.counter_ui.words import link_words
from registration.domain.login_link import LinkState, LoginLink

router = pages("/gasten/{guest_id:uuid}")
LONGEST = 120.0  # seconds; a browser that still waits asks again by itself
LOOK_UP = 1.0  # seconds after which it is seen that the server stops


@router.get("/koppeling")
async def follow(
    *,
    request: Request,
    clerk: TheCounterClerk,
    registration: TheRegistration,
    operations: TheOperations,
    guest_id: UUID,
) -> EventSourceResponse:
    """Server-sent events: the state now and each later one, until identity has answered."""
    await load_guest(guest_id, clerk.organisation, registration)
    told = _states(guest_id, clerk.organisation, registration, operations.stopping)
    say = sayer(request)
    return EventSourceResponse((_event(link, say) async for link in told), ping=15)


async def _states(
    guest_id: UUID, organisation: str, registration: Registration, stopping: asyncio.Event
) -> AsyncIterator[LoginLink]:
    log, before = registration.store.log, None
    until = time.monotonic() + LONGEST
    while not stopping.is_set() and time.monotonic() < until:
        # The position first: what comes after it is seen by the next look.
        position = await log.position()
        link = (await load_guest(guest_id, organisation, registration)).state.link
        if link != before:
            before = link
            yield link
        if link.state is not LinkState.PENDING:
            return
        await log.wait_beyond(position, LOOK_UP)


def _event(link: LoginLink, say: Say) -> ServerSentEvent:
    kind, text = link_words(link, say)
    data = {"kind": kind, "text": text, "pending": link.state is LinkState.PENDING}
    return ServerSentEvent(data=orjson.dumps(data).decode())
