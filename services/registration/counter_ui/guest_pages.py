"""The page of a guest (R13): its tabs, what a clerk should know, and the live state of its login link."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from registration.api.dependencies import Clerk, DependenciesDep, HistoryDep
from registration.api.schemas import LONGEST_HANDLE
from registration.application.check_term import open_guest
from registration.application.dependencies import Dependencies, GuestAccount
from registration.application.find_login_account import AccountHolder, other_holder, show_accounts
from registration.application.repository import load_guest
from registration.application.show_guest import GuestView, card_numbers_since, show_guest
from registration.counter_ui.account_search import patron_of, shown_account
from registration.counter_ui.auth import CounterClerkDep, names_of
from registration.counter_ui.drafts import kept_form, kept_of
from registration.counter_ui.forms import AccountForm
from registration.counter_ui.i18n import (
    CHANGES,
    Texts,
    account_words,
    because,
    caused_by,
    happened,
    link_words,
    next_step,
    preferred,
    reason_of,
)
from registration.counter_ui.operator_pages import OperationsDep, is_going_on
from registration.counter_ui.pages import Translate, kept_refusal, page, pages, translator
from registration.domain.errors import ReferralInvalid
from registration.domain.login_link import LinkState, LoginLink
from registration.domain.term import subscription
from registration.domain.verdict import Mismatch
from registration.read_models.history import HistoryLine

router = pages("/gasten/{guest_id:uuid}")
Tab = Literal["klant", "contributie", "inlogaccount", "passen", "meldingen", "historie"]


@router.get("")
async def show(
    *,
    request: Request,
    clerk: CounterClerkDep,
    deps: DependenciesDep,
    history: HistoryDep,
    guest_id: UUID,
    tab: Annotated[Tab, Query()] = "klant",
    referral: Annotated[str, Query(max_length=LONGEST_HANDLE)] = "",
) -> Response:
    """Show the guest, read from its stream, so that it includes what was saved just before.

    `referral`: a catalogue's, with which the patron goes back there (I12).
    """
    guest = await open_guest(guest_id, clerk.context(), deps)
    lines = await history.of(guest_id, 0) if tab == "historie" else []
    linking = await _linking(request, guest, clerk, deps) if tab == "inlogaccount" else {}
    tab_only: dict[str, Any] = {
        "lines": await _history_rows(request, guest, lines, deps),
        "since": await card_numbers_since(guest_id, clerk.organisation, deps) if tab == "passen" else {},
        "return_to": _return_address(referral, clerk, deps) if referral else None,
    }
    return await guest_page(request, guest, deps, tab=tab, **tab_only, **linking)


def _return_address(referral: str, clerk: Clerk, deps: Dependencies) -> str | None:
    """Return the address that identity's settings gave to the referral: no request can write one into it."""
    try:
        return deps.referrals.open(referral, clerk.organisation).return_to
    except ReferralInvalid:
        return None


async def _linking(request: Request, guest: GuestView, clerk: Clerk, deps: Dependencies) -> dict[str, Any]:
    """Return the form on the tab Inlogaccount, as it was filled in so far."""
    kept, refusal = kept_of(request), kept_refusal(request)
    # An address that was cleared is not in what is kept: then the guest's may not come back.
    known = "" if kept.fields.get("choice") == "new" else (guest.details and guest.details.email) or ""
    account = kept_form(request, AccountForm, new_email=known)
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
    holder = await _holder(guest, deps)
    return page(request, "registered.html", holder=holder, **_shown(request, guest, deps))


@router.get("/briefje")
async def note(request: Request, clerk: CounterClerkDep, deps: DependenciesDep, guest_id: UUID) -> Response:
    """Show what the patron takes along on paper: library, card, end date, strips, how to log in."""
    guest = await show_guest(guest_id, clerk.organisation, deps)
    return page(request, "note.html", **_shown(request, guest, deps))


async def _history_rows(
    request: Request, guest: GuestView, lines: Sequence[HistoryLine], deps: Dependencies
) -> list[tuple[datetime, str, str, str, str, str]]:
    """Return when, what, who and why of each line, what was preferred, and the account, the newest first.

    All in the session's language. Identity gets one question about all accounts (R26).
    """
    translate, names = translator(request), await names_of(request, {line.by for line in lines})
    asked = [_account_of(line) for line in reversed(lines)]
    accounts = await show_accounts(guest.guest_id, asked, guest.organisation, deps) if any(asked) else {}
    return [
        (
            line.at,
            happened(line.what, translate),
            caused_by(line, names, translate),
            because(line, translate),
            preferred(line.details, translate),
            account_words(accounts.get(_account_of(line) or ""), translate),
        )
        for line in reversed(lines)
    ]


def _account_of(line: HistoryLine) -> str | None:
    """Return the id of the login account that an event names."""
    account_id: str | None = line.details.get("login_account_id") or line.details.get("account_id")
    return account_id


async def guest_page(
    request: Request, guest: GuestView, deps: Dependencies, *, status_code: int = 200, **more: Any
) -> Response:
    """Render the page with one tab. `account`, `found` and `errors` are the form on the tab Inlogaccount."""
    linked = await _linked(guest, deps) if more.get("tab") == "inlogaccount" else None
    holder = await _holder(guest, deps)
    context = {
        "tab": "klant",
        "linked": linked,
        "holder": holder,
        "messages": messages_of(guest, holder, translator(request)),
        "lines": [],
        "since": {},
        "account": AccountForm(),
        "found": None,
        "errors": {},
        "refusal": None,
        "return_to": None,
        **_shown(request, guest, deps),
        **more,
    }
    return page(request, "guest.html", status_code=status_code, **context)


async def _linked(guest: GuestView, deps: Dependencies) -> GuestAccount | None:
    """Return the account of the link, looked up at this moment (R26)."""
    account_id = guest.login_link.account_id
    shown = await show_accounts(guest.guest_id, [account_id], guest.organisation, deps)
    return shown.get(account_id or "")


async def _holder(guest: GuestView, deps: Dependencies) -> AccountHolder | None:
    """Return the other guest that has the account which was refused (I3)."""
    link = guest.login_link
    if link.state is not LinkState.REFUSED or link.account_id is None:
        return None
    return await other_holder(guest.guest_id, link.account_id, guest.organisation, deps)


Kind = Literal["error", "warning", "success", "info"]


@dataclass(frozen=True, slots=True)
class Message:
    """What a clerk should know of a guest. `kind`: of the alert. `link`: text and address."""

    kind: Kind
    text: str
    next_step: str = ""
    at: datetime | None = None
    link: tuple[str, str] | None = None


def messages_of(guest: GuestView, holder: AccountHolder | None, translate: Translate) -> list[Message]:
    """Return what a clerk should know, the most important first: refused, stale, too late, duplicate."""
    found = [
        *_of_status(guest, translate),
        *_of_home(guest, translate),
        *_of_link(guest, holder, translate),
    ]
    if guest.merged_from:
        text = translate(
            "Hier is een dubbele inschrijving van dezelfde persoon in opgenomen.",
            "A second record of the same person was merged into this one.",
        )
        contributions = f"/gasten/{guest.guest_id}?tab=contributie"
        found.append(Message("info", text, link=(translate("Contributie", "Contributions"), contributions)))
    return found


def _of_status(guest: GuestView, translate: Translate) -> list[Message]:
    if guest.status != "suspended":
        return []
    codes = (guest.reason or "blocked").split(", ")
    reasons = ", ".join(reason_of(code, translate) for code in codes)
    text = translate("Gastlener is geblokkeerd: reden [ {} ]", "The guest is blocked: reason [ {} ]")
    return [Message("error", text.format(reasons), next_step("guest-refused", translate, beside_form=False))]


def _of_home(guest: GuestView, translate: Translate) -> list[Message]:
    """Return what the home library replied and when, whatever it was (R12, R13, R24, R25)."""
    if guest.status not in {"valid", "suspended", "expired"}:
        return []
    home, expired = guest.home, guest.status == "expired"
    kind: Kind
    reasons = "; ".join(reason_of(reason, translate) for reason in home.reasons)
    link = None
    mismatch = _mismatch(guest)
    if mismatch is not None:
        kind, texts = "error", HOME_NOT_TAKEN_OVER
        step = next_step(mismatch, translate, beside_form=False)
        if home.other_guest:
            link = (translate("Naar die gastlener", "To that guest"), f"/gasten/{home.other_guest}")
    else:
        kind, texts, steps = HOME_SAYS[home.verdict, expired]
        step = translate(*steps)
    text = translate(*texts).format(reasons)
    if home.changed:
        changed = ", ".join(translate(*CHANGES[name]) for name in home.changed)
        text += translate(f" Veranderd: {changed}.", f" Changed: {changed}.")
    elif home.changed is not None and not expired and home.verdict in {"valid", "refused"} and not mismatch:
        # Of an expired guest this page itself asked once more: what the clerk asked for was changed before.
        text += translate(" Er is niets veranderd.", " Nothing has changed.")
    if guest.status == "suspended" and home.verdict == "refused" and mismatch is None:
        kind = "info"  # the alert of the status says what is wrong
    if home.verdict == "valid" and guest.term.stale and not expired:
        kind, step = "warning", translate(*UNREADABLE_END)
    return [Message(kind, text, step, home.checked_at, link)]


def _of_link(guest: GuestView, holder: AccountHolder | None, translate: Translate) -> list[Message]:
    link = guest.login_link
    if link.state not in {LinkState.REFUSED, LinkState.TOO_LATE}:
        return []
    kind, text = link_words(link, translate)
    where = (translate("Inlogaccount", "Login account"), f"/gasten/{guest.guest_id}?tab=inlogaccount")
    if holder is not None:
        name = holder.name or translate("de andere gastlener", "the other guest")
        where = (translate(f"Naar {name}", f"To {name}"), f"/gasten/{holder.guest_id}")
    return [Message("error" if kind == "error" else "warning", text, link=where)]


def _mismatch(guest: GuestView) -> Mismatch | None:
    return next((Mismatch(reason) for reason in guest.home.reasons if reason in set(Mismatch)), None)


ASK_HOME: Texts = (
    "De klant moet contact opnemen met de eigen bibliotheek.",
    "The patron has to contact their own library.",
)
NO_STEP: Texts = ("", "")
UNREADABLE_END: Texts = (
    "De einddatum in het antwoord is niet te lezen: de looptijd blijft staan.",
    "The end date in the reply cannot be read: the term is kept.",
)
HOME_NOT_TAKEN_OVER: Texts = (
    "De gegevens van de thuisbibliotheek zijn niet overgenomen: {}.",
    "The home library's data was not taken over: {}.",
)
NOT_KNOWN: Texts = (
    "De thuisbibliotheek kent deze pas niet (meer).",
    "The home library does not know this card (any more).",
)
NOT_ASKED: Texts = (
    "Overgenomen uit een ander systeem. De thuisbibliotheek is nog niet geraadpleegd.",
    "Taken over from another system. The home library was not asked yet.",
)
HOME_SAYS: Mapping[tuple[str, bool], tuple[Kind, Texts, Texts]] = {
    ("not_asked", False): ("info", NOT_ASKED, NO_STEP),
    ("not_asked", True): ("info", NOT_ASKED, NO_STEP),
    ("valid", False): (
        "info",
        ("De thuisbibliotheek antwoordde: geldig.", "The home library replied: valid."),
        NO_STEP,
    ),
    ("refused", False): (
        "warning",
        ("De thuisbibliotheek antwoordde: geweigerd, {}.", "The home library replied: refused, {}."),
        NO_STEP,
    ),
    ("not_found", False): ("error", NOT_KNOWN, ASK_HOME),
    ("unavailable", False): (
        "warning",
        (
            "De thuisbibliotheek antwoordde niet. De gegevens en de looptijd blijven zoals ze zijn.",
            "The home library did not reply. The details and the term are kept.",
        ),
        ("Vraag het over een ogenblik opnieuw.", "Ask again in a moment."),
    ),
    ("valid", True): (
        "success",
        (
            "Bij de thuisbibliotheek is het abonnement weer geldig: herinschrijven kan.",
            "The subscription is valid again at the home library: the guest can be re-registered.",
        ),
        ("Druk op Inschrijven.", "Press Re-register."),
    ),
    ("refused", True): (
        "error",
        ("Herinschrijven kan nu niet: {}.", "Re-registration is not possible now: {}."),
        ASK_HOME,
    ),
    ("not_found", True): ("error", NOT_KNOWN, ASK_HOME),
    ("unavailable", True): (
        "warning",
        (
            "De thuisbibliotheek antwoordt nu niet: het is nog niet bekend of herinschrijven lukt.",
            "The home library does not answer now: it is not known whether re-registration would succeed.",
        ),
        ("Open de gastlener over een ogenblik opnieuw.", "Open the guest again in a moment."),
    ),
}
"""What the home library replied, by verdict and whether the guest is expired: kind, sentence, next step."""


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
        "subscription": subscription,
    }


LONGEST_STREAM_SECONDS = 120.0  # after that the browser connects again by itself
LONGEST_WAIT_SECONDS = 1.0  # so that a stop of the server is noticed in time


async def _own_guest(
    clerk: CounterClerkDep, deps: DependenciesDep, guest_id: UUID, response: Response
) -> None:
    await load_guest(guest_id, clerk.organisation, deps)
    response.headers["Cache-Control"] = "no-store"


@router.get("/koppeling", response_class=EventSourceResponse, dependencies=[Depends(_own_guest)])
async def follow(
    *,
    request: Request,
    clerk: CounterClerkDep,
    deps: DependenciesDep,
    operations: OperationsDep,
    guest_id: UUID,
) -> AsyncIterator[ServerSentEvent]:
    """Send the state of the link and its changes as server-sent events, until it is no longer pending.

    The stream also ends with the session of the clerk.
    """
    states = _states(guest_id, clerk.organisation, deps, lambda: is_going_on(request, operations))
    translate = translator(request)
    async with aclosing(states):
        async for link in states:
            yield _event(link, translate)


async def _states(
    guest_id: UUID, organisation: str, deps: Dependencies, goes_on: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[LoginLink]:
    log, before = deps.store.log, None
    until = time.monotonic() + LONGEST_STREAM_SECONDS
    while time.monotonic() < until and await goes_on():
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
    return ServerSentEvent(data=data)
