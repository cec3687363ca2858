"""A demo of Wisecat+, the catalogue where patrons log in. It listens on 127.0.0.1 only."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from infra.local.credentials import NoLocalStack, stack_must_run
from infra.local.ports import LOOPBACK
from shared.kernel.text import is_identifier
from shared.platform.http_client import HttpClient
from shared.platform.secrets import ServiceToken, keep_files_private

# A patron waits for the page. Identity itself waits for registration no longer than this.
TIMEOUT = httpx.Timeout(8.0, connect=2.0)


class Outcome(StrEnum):
    """What the patron sees after a login."""

    GUEST = "guest"
    KNOWN = "known"
    NEW = "new"
    LINK_REQUIRED = "link-required"
    NOT_FOUND = "not-found"
    TRY_AGAIN = "try-again"


@dataclass(frozen=True, slots=True)
class GuestOfLibrary:
    """The guest behind a login. `status`: "valid", "expired" or "suspended". `ends_on` None: open-ended."""

    guest_id: str
    status: str
    ends_on: date | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Identity's reply to a login. `reference`: the request's id, for questions to the library."""

    outcome: Outcome
    actor_id: str | None = None
    first_login: bool = False
    guest: GuestOfLibrary | None = None
    reference: str | None = None


REFUSALS = {"link-required": Outcome.LINK_REQUIRED, "account-not-found": Outcome.NOT_FOUND}


class IdentityLogins:
    """A client of identity's logins. It calls `token` for every request, since the token may be renewed."""

    def __init__(self, base_url: str, http: httpx.AsyncClient, token: Callable[[], str]) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http
        self._token = token

    async def log_in(self, account_id: str, organisation: str) -> Answer:
        """Log in. Every unclear reply becomes "try again": no patron is shown as new on a guess (I4)."""
        try:
            response = await self._http.post(
                f"{self._base_url}/v1/logins",
                json={"account_id": account_id, "organisation": organisation},
                headers={"Authorization": f"Bearer {self._token()}"},
                timeout=TIMEOUT,
            )
            body = response.json()
            if response.status_code == HTTPStatus.OK:
                return _answer(body)
            return Answer(REFUSALS.get(body["code"], Outcome.TRY_AGAIN), reference=body["instance"])
        except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError):
            return Answer(Outcome.TRY_AGAIN)


def _answer(body: dict[str, Any]) -> Answer:
    guest = body["guest"]
    outcome = Outcome.GUEST if guest else Outcome.NEW if body["outcome"] == "new_actor" else Outcome.KNOWN
    return Answer(outcome, body["actor_id"], body["first_login"], _guest(guest) if guest else None)


def _guest(body: dict[str, Any]) -> GuestOfLibrary:
    ends_on = body["ends_on"]
    return GuestOfLibrary(body["guest_id"], body["status"], date.fromisoformat(ends_on) if ends_on else None)


PAGES = Path(__file__).parent / "wisecat_pages"
DEMO_ACCOUNTS = {"acc-jan": "jan.jansen", "acc-devries": "p.devries"}
OTHER = "other"
LONGEST_ACCOUNT_ID = 200
NOTHING_CHOSEN = {"account": "", "other": "", "library": ""}
LARGEST_FORM = 4096  # bytes
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with "no-referrer" browsers would send the form with `Origin: null`
    "X-Content-Type-Options": "nosniff",
}
MONTHS = {
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "en": "January February March April May June July August September October November December",
}


class Wisecat:
    """The demo's pages. `libraries`: code of an organisation -> its name; the first one is preselected."""

    def __init__(self, logins: IdentityLogins, libraries: Mapping[str, str]) -> None:
        self._logins = logins
        self._libraries = libraries
        self._pages = Environment(
            loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def app(self) -> Starlette:
        """Build the web application. It refuses every host name but its own, against DNS rebinding."""
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
            dutch = "Dit formulier komt van een andere site, of het is te groot. Begin opnieuw."
            english = "This form comes from another site, or it is too large. Start again."
            text = english if _language(None, request) == "en" else dutch
            return Response(text, HTTPStatus.FORBIDDEN, SECURITY)
        form = {name: str(value).strip() for name, value in (await request.form(max_fields=8)).items()}
        language = _language(form.get("taal"), request)
        account_id = form.get("other", "") if form.get("account") == OTHER else form.get("account", "")
        organisation = form.get("library", "")
        if not _is_account_id(account_id) or organisation not in self._libraries:
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
            translate=lambda dutch, english: english if language == "en" else dutch,
            day=lambda when: _day(when, language),
            accounts=DEMO_ACCOUNTS,
            libraries=self._libraries,
            **content,
        )
        return HTMLResponse(html, status, {**SECURITY, "Content-Language": language})


def _is_account_id(text: str) -> bool:
    return len(text) <= LONGEST_ACCOUNT_ID and is_identifier(text)


async def _file(name: str, _request: Request) -> Response:
    return FileResponse(PAGES / name, headers={"X-Content-Type-Options": "nosniff"})


def _own_form(request: Request) -> bool:
    """Return whether the form is small and comes from these pages: no other site may log a patron in."""
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


def main() -> int:
    """Run until SIGTERM or Ctrl-C. Return 1 when no local stack runs in the folder."""
    keep_files_private()
    parser = argparse.ArgumentParser(prog="python -m infra.local.wisecat", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    parser.add_argument("--identity", required=True, help="address of the identity service")
    parser.add_argument("--run-dir", type=Path, required=True, help="the folder of the running stack")
    arguments = parser.parse_args()
    run_dir: Path = arguments.run_dir
    try:
        stack_must_run(run_dir)
    except NoLocalStack as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 1
    # The services check this file. Reading it without checks halves the time of this start.
    libraries = tomllib.loads((run_dir / "organisations.toml").read_text("utf-8"))["organisations"]
    names = {code: library["name"] for code, library in libraries.items()}
    token = ServiceToken(run_dir / "keys" / "wisecat.token")
    logins = IdentityLogins(arguments.identity, HttpClient(), token)
    app = Wisecat(logins, names).app()
    uvicorn.run(app, host=LOOPBACK, port=arguments.port, access_log=False, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
