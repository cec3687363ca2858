"""The page of a guest, with its tabs; an expired one is asked about at home as it opens (R13)."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query, Request, Response

from registration.api.dependencies import TheHistory, TheRegistration
from registration.application.open_guest import open_guest
from registration.application.ports import Registration
from registration.application.show_guest import GuestView, show_guest
from registration.counter_ui.forms import AccountForm
from registration.counter_ui.pages import pages
from registration.counter_ui.rendering import page, sayer
from registration.counter_ui.session import TheCounterClerk
from registration.counter_ui.words import because, happened, link_words, reason_of
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
