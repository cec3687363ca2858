"""Adds the counter's pages to the app of the API: one process, one set of use cases (ADR 0014)."""

from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from registration.adapters.staff_sessions import WORKING_DAY, FormDrafts, StaffSessions
from registration.counter_ui import (
    desk,
    guest_actions,
    guest_pages,
    merge_pages,
    new_guest,
    operator_actions,
    operator_pages,
    reregistration_pages,
    settings_pages,
    sign_in_pages,
    webhook_pages,
)
from registration.counter_ui.operator_pages import Operations
from registration.counter_ui.pages import STATIC, no_such_page
from registration.counter_ui.sign_in import SignIn
from registration.read_models.guest_directory import DeskOverviews

ROUTERS: tuple[APIRouter, ...] = (
    sign_in_pages.router,
    sign_in_pages.elsewhere,
    desk.router,
    merge_pages.router,
    operator_pages.router,
    operator_actions.router,
    settings_pages.router,
    webhook_pages.router,
    new_guest.router,
    guest_pages.router,
    guest_actions.router,
    reregistration_pages.router,
)
CACHE_FOR_A_YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class CounterUi:
    """What the pages need in addition to the API. `session_key` signs the cookies."""

    sign_in: SignIn
    session_key: bytes
    staff_sessions: StaffSessions
    form_drafts: FormDrafts
    desk_overviews: DeskOverviews
    operations: Operations


def add_counter_ui(app: FastAPI, ui: CounterUi) -> None:
    """Add the pages, the static files and the session to the API's app."""
    app.state.sign_in = ui.sign_in
    app.state.staff_sessions = ui.staff_sessions
    app.state.form_drafts = ui.form_drafts
    app.state.desk_overviews = ui.desk_overviews
    app.state.operations = ui.operations
    # Inside RequestContext, which must stay outermost: it sets the correlation id and catches every error.
    app.user_middleware.append(
        Middleware(
            SessionMiddleware,
            secret_key=ui.session_key.hex(),
            session_cookie="__Host-counter" if ui.sign_in.is_secure else "counter",
            max_age=int(WORKING_DAY.total_seconds()),
            same_site="lax",
            https_only=ui.sign_in.is_secure,
        )
    )
    app.add_exception_handler(HTTPException, no_such_page)
    app.mount("/static", _Static(STATIC))
    for router in ROUTERS:
        app.include_router(router)


class _Static(StaticFiles):
    """Static files. An address with `v=` changes with the content, so browsers may cache it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, as `StaticFiles` does; with `v=` it may be cached."""
        response = await super().get_response(path, scope)
        if b"v=" in scope["query_string"]:
            response.headers["Cache-Control"] = CACHE_FOR_A_YEAR
        return response
