"""The page of a guest (R13), with its tabs and the live state of its login link."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from registration.api.dependencies import Clerk, DependenciesDep, HistoryDep
from registration.application.check_term import open_guest
from registration.application.dependencies import Dependencies
from registration.application.repository import load_guest
from registration.application.show_guest import GuestView, show_guest
from registration.counter_ui.account_search import patron_of, shown_account
from registration.counter_ui.auth import CounterClerkDep
from registration.counter_ui.drafts import kept_form, kept_of
from registration.counter_ui.forms import AccountForm
from registration.counter_ui.i18n import because, happened, link_words, next_step, reason_of
from registration.counter_ui.operator_pages import OperationsDep
from registration.counter_ui.pages import Translate, kept_refusal, page, pages, translator
from registration.domain.login_link import LinkState, LoginLink
from registration.domain.term import subscription
from registration.domain.verdict import Mismatch

router = pages("/gasten/{guest_id:uuid}")
Tab = Literal["klant", "contributie", "inlogaccount", "historie"]


@router.get("")
async def show(
    *,
    request: Request,
    clerk: CounterClerkDep,
    deps: DependenciesDep,
    history: HistoryDep,
    guest_id: UUID,
    tab: Annotated[Tab, Query()] = "klant",
) -> Response:
    """Show the guest, read from its stream, so that it includes what was saved just before."""
    guest = await open_guest(guest_id, clerk.context(), deps)
    lines = await history.of(guest_id, 0) if tab == "historie" else []
    linking = await _linking(request, guest, clerk, deps) if tab == "inlogaccount" else {}
    return guest_page(request, guest, deps, tab=tab, lines=list(reversed(lines)), **linking)


async def _linking(request: Request, guest: GuestView, clerk: Clerk, deps: Dependencies) -> dict[str, Any]:
    """Return the form on the tab Inlogaccount, as it was filled in so far."""
    kept, refusal = kept_of(request), kept_refusal(request)
    email = (guest.details and guest.details.email) or ""
    account = kept_form(request, AccountForm, new_email=email)
    return {
        "account": account,
        "found": shown_account(account, await patron_of(guest, deps), clerk.context(), deps),
        "errors": kept.errors,
        "refusal": refusal,
        "status_code": refusal.status if refusal else 422 if kept.errors else 200,
    }


@router.get("/ingeschreven")
async def registered(
    request: Request, clerk: CounterClerkDep, deps: DependenciesDep, guest_id: UUID
) -> Response:
    """Show the result of OK en Opslaan: what the patron can do now, and the live state of the link."""
    guest = await show_guest(guest_id, clerk.organisation, deps)
    return page(request, "registered.html", **_shown(request, guest, deps))


@router.get("/briefje")
async def note(request: Request, clerk: CounterClerkDep, deps: DependenciesDep, guest_id: UUID) -> Response:
    """Show what the patron takes along on paper: library, card, end date, strips, how to log in."""
    guest = await show_guest(guest_id, clerk.organisation, deps)
    return page(request, "note.html", **_shown(request, guest, deps))


def guest_page(
    request: Request, guest: GuestView, deps: Dependencies, *, status_code: int = 200, **more: Any
) -> Response:
    """Render the page with one tab. `account`, `found` and `errors` are the form on the tab Inlogaccount."""
    context = {
        "tab": "klant",
        "lines": [],
        "account": AccountForm(),
        "found": None,
        "errors": {},
        "refusal": None,
        **_shown(request, guest, deps),
        **more,
    }
    return page(request, "guest.html", status_code=status_code, **context)


def _shown(request: Request, guest: GuestView, deps: Dependencies) -> dict[str, Any]:
    translate = translator(request)
    organisation = deps.organisations.get(guest.organisation)
    branches = organisation.branches if organisation else {}
    kind, text = link_words(guest.login_link, translate)
    return {
        "guest": guest,
        "branch_name": branches.get(guest.branch, ""),
        "link_kind": kind,
        "link_text": text,
        "reasons": [reason_of(reason, translate) for reason in guest.home.reasons],
        "mismatch": next((reason for reason in guest.home.reasons if reason in set(Mismatch)), None),
        "next_step": lambda code: next_step(code, translate, beside_form=False),
        "subscription": subscription,
        "happened": lambda what: happened(what, translate),
        "because": lambda reason: because(reason, translate),
    }


LONGEST_STREAM_SECONDS = 120.0  # after that the browser connects again by itself
LONGEST_WAIT_SECONDS = 1.0  # so that a stop of the server is noticed in time


@router.get("/koppeling")
async def follow(
    *,
    request: Request,
    clerk: CounterClerkDep,
    deps: DependenciesDep,
    operations: OperationsDep,
    guest_id: UUID,
) -> EventSourceResponse:
    """Send the state of the link and its changes as server-sent events, until it is no longer pending."""
    await load_guest(guest_id, clerk.organisation, deps)
    states = _states(guest_id, clerk.organisation, deps, operations.stopping)
    translate = translator(request)
    return EventSourceResponse((_event(link, translate) async for link in states), ping=15)


async def _states(
    guest_id: UUID, organisation: str, deps: Dependencies, stopping: asyncio.Event
) -> AsyncIterator[LoginLink]:
    log, before = deps.store.log, None
    until = time.monotonic() + LONGEST_STREAM_SECONDS
    while not stopping.is_set() and time.monotonic() < until:
        # Read the position before the guest: a later change ends the wait below.
        position = await log.position()
        link = (await load_guest(guest_id, organisation, deps)).state.link
        if link != before:
            before = link
            yield link
        if link.state is not LinkState.PENDING:
            return
        await log.wait_beyond(position, LONGEST_WAIT_SECONDS)


def _event(link: LoginLink, translate: Translate) -> ServerSentEvent:
    kind, text = link_words(link, translate)
    data = {"kind": kind, "text": text, "pending": link.state is LinkState.PENDING}
    return ServerSentEvent(data=orjson.dumps(data).decode())
