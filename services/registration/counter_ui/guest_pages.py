"""The page of a guest, with its tabs and the live state of its login link (R13)."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from registration.api.dependencies import TheHistory, TheRegistration
from registration.application.check_term import open_guest
from registration.application.dependencies import Registration
from registration.application.repository import load_guest
from registration.application.show_guest import GuestView, show_guest
from registration.counter_ui.auth import TheCounterClerk
from registration.counter_ui.forms import AccountForm
from registration.counter_ui.i18n import because, happened, link_words, reason_of
from registration.counter_ui.operator_pages import TheOperations
from registration.counter_ui.pages import Say, page, pages, sayer
from registration.domain.login_link import LinkState, LoginLink
from registration.domain.subscriptions import subscription

router = pages("/gasten/{guest_id:uuid}")
Tab = Literal["klant", "contributie", "inlogaccount", "historie"]


@router.get("")
async def show(
    *,
    request: Request,
    clerk: TheCounterClerk,
    registration: TheRegistration,
    history: TheHistory,
    guest_id: UUID,
    tab: Annotated[Tab, Query()] = "klant",
) -> Response:
    """From the stream: what was just saved is always there."""
    guest = await open_guest(guest_id, clerk.context(), registration)
    lines = await history.of(guest_id, 0) if tab == "historie" else []
    return guest_page(request, guest, registration, tab=tab, lines=list(reversed(lines)))


@router.get("/ingeschreven")
async def registered(
    request: Request, clerk: TheCounterClerk, registration: TheRegistration, guest_id: UUID
) -> Response:
    """After OK en Opslaan: what the patron can do now, and how the link stands, live."""
    guest = await show_guest(guest_id, clerk.organisation, registration)
    return page(request, "registered.html", **_shown(request, guest, registration))


def guest_page(
    request: Request, guest: GuestView, registration: Registration, *, status_code: int = 200, **more: Any
) -> Response:
    """The page with one tab open; `account` and `errors`: of the form on the tab Inlogaccount."""
    context = {
        "tab": "klant",
        "lines": [],
        "account": AccountForm(),
        "errors": {},
        "refusal": None,
        **_shown(request, guest, registration),
        **more,
    }
    return page(request, "guest.html", status_code=status_code, **context)


def _shown(request: Request, guest: GuestView, registration: Registration) -> dict[str, Any]:
    say = sayer(request)
    organisation = registration.organisations.get(guest.organisation)
    branches = organisation.branches if organisation else {}
    kind, text = link_words(guest.login_link, say)
    return {
        "guest": guest,
        "branch_name": branches.get(guest.branch, ""),
        "link_kind": kind,
        "link_text": text,
        "reasons": [reason_of(reason, say) for reason in guest.home.reasons],
        "subscription": subscription,
        "happened": lambda what: happened(what, say),
        "because": lambda reason: because(reason, say),
    }


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
