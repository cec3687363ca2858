"""The pages of the demo of Wisecat+: choose an account and a library, and see who you are there.

No JavaScript, no session: what was chosen travels in the forms. Dutch; English by the switch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from infra.local.ports import LOOPBACK
from infra.local.wisecat_login import Answer, IdentityLogins

PAGES = Path(__file__).parent / "wisecat_pages"
DEMO_ACCOUNTS = {"acc-jan": "jan.jansen", "acc-devries": "p.devries"}
OTHER = "other"
ACCOUNT_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")
NOTHING_CHOSEN = {"account": "", "other": "", "library": ""}
LARGEST_FORM = 4096  # bytes
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with less, browsers would not say whose form it is
    "X-Content-Type-Options": "nosniff",
}
MONTHS = {
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "en": "January February March April May June July August September October November December",
}


class Wisecat:
    """`libraries`: code of an organisation -> its name; the first is chosen to begin with."""

    def __init__(self, logins: IdentityLogins, libraries: Mapping[str, str]) -> None:
        self._logins = logins
        self._libraries = libraries
        self._pages = Environment(
            loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def app(self) -> Starlette:
        """For 127.0.0.1 only: another name in the address is somebody else's page pointing here."""
        return Starlette(
            routes=[
                Route("/", self._start),
                Route("/login", self._log_in, methods=["POST"]),
                *(Route(f"/{name}", partial(_file, name)) for name in ("wisecat.css", "icon.svg")),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])],
        )

    async def _start(self, request: Request) -> Response:
        return self._page("start.html", _language(request.query_params.get("taal"), request))

    async def _log_in(self, request: Request) -> Response:
        if not _own_form(request):
            return Response("This form is not ours.", HTTPStatus.FORBIDDEN, SECURITY)
        form = {name: str(value).strip() for name, value in (await request.form(max_fields=8)).items()}
        language = _language(form.get("taal"), request)
        account_id = form.get("other", "") if form.get("account") == OTHER else form.get("account", "")
        organisation = form.get("library", "")
        if not ACCOUNT_ID.fullmatch(account_id) or organisation not in self._libraries:
            return self._page(
                "start.html", language, HTTPStatus.UNPROCESSABLE_ENTITY, chosen=form, missing=True
            )
        answer = await self._logins.log_in(account_id, organisation)
        return self._outcome(answer, account_id, organisation, language)

    def _outcome(self, answer: Answer, account_id: str, organisation: str, language: str) -> Response:
        return self._page(
            "outcome.html",
            language,
            answer=answer,
            account_id=account_id,
            account=DEMO_ACCOUNTS.get(account_id, account_id),
            organisation=organisation,
            library=self._libraries[organisation],
        )

    def _page(
        self, template: str, language: str, status: HTTPStatus = HTTPStatus.OK, **content: Any
    ) -> HTMLResponse:
        content = {"missing": False, **content, "chosen": NOTHING_CHOSEN | content.get("chosen", {})}
        html = self._pages.get_template(template).render(
            language=language,
            other_language="en" if language == "nl" else "nl",
            say=lambda dutch, english: english if language == "en" else dutch,
            day=lambda when: _day(when, language),
            accounts=DEMO_ACCOUNTS,
            libraries=self._libraries,
            **content,
        )
        return HTMLResponse(html, status, {**SECURITY, "Content-Language": language})


async def _file(name: str, _request: Request) -> Response:
    return FileResponse(PAGES / name, headers={"X-Content-Type-Options": "nosniff"})


def _own_form(request: Request) -> bool:
    """Browsers say where a form comes from; nobody else's page may log somebody in. And it is small."""
    origin = request.headers.get("origin")
    ours = origin is None or origin == f"{request.url.scheme}://{request.url.netloc}"
    size = request.headers.get("content-length", "")
    return ours and size.isdigit() and int(size) <= LARGEST_FORM


def _language(wanted: str | None, request: Request) -> str:
    if wanted in MONTHS:
        return wanted
    first = request.headers.get("accept-language", "nl").split(",")[0].strip().lower()
    return "en" if first.startswith("en") else "nl"


def _day(when: date, language: str) -> str:
    return f"{when.day} {MONTHS[language].split()[when.month - 1]} {when.year}"
