"""Sign in and out; choose language and branch."""

from typing import Annotated

import structlog
from fastapi import Form, Query, Request, Response

from registration.counter_ui.auth import (
    CALLBACK,
    SignIn,
    SignInFailed,
    StaffDep,
    own_path,
    sign_in,
    sign_out,
)
from registration.counter_ui.pages import page, pages, problem_page, see_other
from shared.web.problems import Problem

log = structlog.get_logger(__name__)
router = pages()


@router.get("/aanmelden")
async def begin(
    request: Request, next_path: Annotated[str | None, Query(alias="next", max_length=1000)] = None
) -> Response:
    """Send the browser to the sign-in service; remember the requested page for afterwards."""
    request.session["next"] = own_path(next_path)
    return await _service(request).begin(request)


@router.get(CALLBACK)
async def finish(request: Request) -> Response:
    """Sign in with the response of the sign-in service. Any error in it leaves the browser signed out."""
    wanted = own_path(request.session.get("next"))
    try:
        claims = await _service(request).finish(request)
    except SignInFailed as failure:
        log.warning("sign_in.failed", cause=type(failure.__cause__ or failure).__name__)
        return problem_page(request, _failed())
    await sign_in(request, claims)
    return see_other(wanted)


@router.post("/afmelden")
async def leave(request: Request, everywhere: Annotated[str, Form(max_length=10)] = "") -> Response:
    """Sign out, here or everywhere."""
    await sign_out(request, everywhere=bool(everywhere))
    return see_other("/afmelden")


@router.get("/afmelden")
async def signed_out(request: Request) -> Response:
    """Show who is signed in, with a button to end all sessions; after signing out, one to sign in again."""
    return page(request, "signed_out.html", lost=False)


def _service(request: Request) -> SignIn:
    found: SignIn = request.app.state.sign_in
    return found


def _failed() -> Problem:
    return Problem(
        400,
        "sign-in-failed",
        "Aanmelden is niet gelukt: de poging was verlopen, al gebruikt of van een andere browser.",
        "Sign-in failed: the attempt had expired, was used before, or came from another browser.",
    )


Typed = Annotated[str, Form(max_length=500)]


@router.post("/taal")
async def choose_language(request: Request, language: Typed, next_path: Typed = "/") -> Response:
    """Choose Dutch or English, also before signing in."""
    if language in {"nl", "en"}:
        request.session["language"] = language
    return see_other(own_path(next_path))


@router.post("/vestiging")
async def choose_branch(
    request: Request, _staff: StaffDep, branch: Typed, next_path: Typed = "/"
) -> Response:
    """Choose the branch. `staff_of` ignores a branch that the organisation does not have."""
    request.session["branch"] = branch
    return see_other(own_path(next_path))
