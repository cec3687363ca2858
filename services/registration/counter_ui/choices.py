"""What somebody chooses for this browser: the language, and the branch where they sit."""

from typing import Annotated

from fastapi import Form, Request, Response

from registration.counter_ui.pages import pages, see_other
from registration.counter_ui.session import TheStaff, own_path

router = pages()
Typed = Annotated[str, Form(max_length=500)]


@router.post("/taal")
async def choose_language(request: Request, language: Typed, next_path: Typed = "/") -> Response:
    """Dutch or English, also before signing in."""
    if language in {"nl", "en"}:
        request.session["language"] = language
    return see_other(own_path(next_path))


@router.post("/vestiging")
async def choose_branch(
    request: Request, _staff: TheStaff, branch: Typed, next_path: Typed = "/"
) -> Response:
    """One that the organisation does not have is passed over when the session is read."""
    request.session["branch"] = branch
    return see_other(own_path(next_path))
