"""Sign in and out; choose language, branch and hints."""

from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import JSONResponse

from registration.adapters.staff_sessions import StaffSessions
from registration.counter_ui.auth import (
    StaffDep,
    hide_hint,
    own_path,
    show_hints,
    sign_in,
    sign_out,
)
from registration.counter_ui.drafts import keep_form
from registration.counter_ui.pages import last_problem, notify, page, pages, problem_page, see_other
from registration.counter_ui.sign_in import CALLBACK, ENDED_ELSEWHERE, SignIn
from registration.counter_ui.sign_in_client import SignInFailed
from shared.web.security import InvalidToken, KeysUnavailable

log = structlog.get_logger(__name__)
router = pages()
elsewhere = APIRouter(include_in_schema=False)
"""What no browser calls: without a session and without the token of a form."""
_NOT_STORED = {"Cache-Control": "no-store"}


@router.get("/aanmelden")
async def begin(
    request: Request, next_path: Annotated[str | None, Query(alias="next", max_length=1000)] = None
) -> Response:
    """Send the browser to the sign-in service; remember the requested page for afterwards."""
    request.session["next"] = own_path(next_path)
    try:
        return await _service(request).begin(request)
    except SignInFailed as failure:
        return _failed(request, failure)


@router.get(CALLBACK)
async def finish(request: Request) -> Response:
    """Sign in with the response of the sign-in service. Any error in it leaves the browser signed out."""
    wanted = own_path(request.session.get("next"))
    try:
        claims = await _service(request).finish(request)
    except SignInFailed as failure:
        return _failed(request, failure)
    await sign_in(request, claims)
    return see_other(wanted)


def _failed(request: Request, failure: SignInFailed) -> Response:
    """Write down why, for operators, and tell the clerk what to do."""
    cause = type(failure.__cause__ or failure).__name__
    log.warning("sign_in.failed", code=failure.code, cause=cause, reason=failure.reason)
    # The address may hold a code or the service's words: it is not repeated on the page.
    return problem_page(request, failure, here="/")


@router.post("/afmelden")
async def leave(request: Request, everywhere: Annotated[str, Form(max_length=10)] = "") -> Response:
    """Sign out, here or everywhere. The page after it ends the session at the sign-in service too."""
    await sign_out(request, everywhere=bool(everywhere))
    request.session["leaving"] = True
    return see_other("/afmelden")


@router.get("/afmelden")
async def signed_out(request: Request) -> Response:
    """Show who is signed in, with a button to end all sessions; after signing out, one to sign in again.

    Once after a sign-out the browser goes on to the sign-in service, to end its session too. The content
    policy forbids a form to lead there, so that this page does.
    """
    ending = await _service(request).end() if request.session.pop("leaving", False) else None
    shown = page(request, "signed_out.html", lost=False, ending=ending, kept=None)
    if ending:
        shown.headers["Refresh"] = f"0; url={ending}"
    return shown


@router.get("/aanmelden/verlopen")
async def lost(
    request: Request, next_path: Annotated[str | None, Query(alias="next", max_length=1000)] = None
) -> Response:
    """Show that the session of a form is over. The clerk signs in again, and goes on with it.

    The content policy forbids a redirect of a form to another server, so the clerk follows a link.
    """
    kept = own_path(next_path) if next_path else None
    return page(request, "signed_out.html", status_code=401, lost=True, ending=None, kept=kept)


@elsewhere.post(ENDED_ELSEWHERE)
async def ended_elsewhere(request: Request) -> Response:
    """End the sessions that ended at the sign-in service, which calls this (Back-Channel Logout 1.0).

    A token proves that it is the service. A repeated one changes nothing, and is no mistake: an answer may be
    lost on the way.
    """
    form = await request.form(max_files=0, max_fields=4)
    sessions: StaffSessions = request.app.state.staff_sessions
    try:
        who = await _service(request).logged_out(str(form.get("logout_token", "")))
    except InvalidToken as error:
        log.warning("sign_in.logout_token_refused", reason=str(error))
        return JSONResponse({"error": "invalid_request"}, 400, _NOT_STORED)
    except KeysUnavailable as error:
        log.warning("sign_in.logout_token_not_checked", reason=str(error))
        return JSONResponse({"error": "temporarily_unavailable"}, 503, _NOT_STORED)
    ended = await sessions.end_elsewhere(who.subject, who.session_id, who.token_id)
    log.info("sign_in.ended_elsewhere", sessions=ended or 0, is_repeated=ended is None)
    return Response(headers=_NOT_STORED)


@router.get("/melding")
async def problem(request: Request) -> Response:
    """Show why the last form could not be carried out."""
    return last_problem(request)


def _service(request: Request) -> SignIn:
    found: SignIn = request.app.state.sign_in
    return found


Typed = Annotated[str, Form(max_length=500)]


@router.post("/taal")
async def choose_language(request: Request, language: Typed) -> Response:
    """Choose Dutch or English, also before signing in and in the middle of a form, which is kept."""
    if language in {"nl", "en"}:
        request.session["language"] = language
    return see_other(await keep_form(request))


@router.post("/vestiging")
async def choose_branch(request: Request, _staff: StaffDep, desk_branch: Typed) -> Response:
    """Choose the branch, also in the middle of a form. `staff_of` ignores one that is not there."""
    request.session["branch"] = desk_branch
    notify(request, "U werkt nu op de gekozen vestiging.", "You work at the chosen branch now.")
    return see_other(await keep_form(request, without=frozenset({"branch"})))


Hint = Literal["desk.html", "search.html", "guest.html", "operators.html", "all"]
"""The pages that have a hint (`_hint.html`), or all of them."""


@router.post("/tips")
async def choose_hints(
    request: Request, staff: StaffDep, off: Annotated[Hint | None, Form()] = None
) -> Response:
    """Switch a hint off, for this staff member on every computer; without `off`, show all of them again.

    What is being filled in on the page is kept.
    """
    if off is None:
        await show_hints(request, staff)
    else:
        await hide_hint(request, staff, off)
    return see_other(await keep_form(request, without=frozenset({"off", "show"})))
