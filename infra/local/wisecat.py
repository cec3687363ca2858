"""A demo of Wisecat+, the catalogue where patrons log in. It listens on 127.0.0.1 only."""

from __future__ import annotations

import argparse
import secrets
import sys
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from infra.local.configuration import CALLBACK, LOGGED_OUT_ELSEWHERE, SIGNED_OUT
from infra.local.credentials import CATALOGUE_ID, NoLocalStack, stack_must_run
from infra.local.ports import LOOPBACK
from infra.local.wisecat_sign_in import FAILURES, PatronSignIn, Sessions, SignedIn
from shared.kernel.files import keep_files_private
from shared.platform.http_client import HttpClient
from shared.web.service_token import TokenFile

# A patron waits for the page. Identity itself waits for registration no longer than this.
TIMEOUT = httpx2.Timeout(8.0, connect=2.0)


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
    """Identity's reply to a login. `reference`: the request's id, for questions to the library.

    `counter_page`: where the clerk at the counter goes on with this patron; None if there is no need to.
    """

    outcome: Outcome
    actor_id: str | None = None
    first_login: bool = False
    guest: GuestOfLibrary | None = None
    reference: str | None = None
    counter_page: str | None = None


REFUSALS = {"link-required": Outcome.LINK_REQUIRED, "account-not-found": Outcome.NOT_FOUND}


class IdentityLogins:
    """A client of identity's logins. It calls `token` for every request, since the token may be renewed."""

    def __init__(self, base_url: str, http: httpx2.AsyncClient, token: Callable[[], Awaitable[str]]) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http
        self._token = token

    async def log_in(self, who: SignedIn, organisation: str) -> Answer:
        """Log in. Every unclear reply becomes "try again": no patron is shown as new on a guess (I4)."""
        try:
            response = await self._http.post(
                f"{self._base_url}/v1/logins",
                json={"id_token": who.id_token, "nonce": who.nonce, "organisation": organisation},
                headers={"Authorization": f"Bearer {await self._token()}"},
                timeout=TIMEOUT,
            )
            body = response.json()
            if response.status_code == HTTPStatus.OK:
                return _answer(body)
            outcome = REFUSALS.get(body["code"], Outcome.TRY_AGAIN)
            page = (body.get("referral") or {}).get("url")
            return Answer(outcome, reference=body["instance"], counter_page=page)
        except (httpx2.HTTPError, OSError, ValueError, KeyError, TypeError):
            return Answer(Outcome.TRY_AGAIN)


def _answer(body: dict[str, Any]) -> Answer:
    guest = body["guest"]
    outcome = Outcome.GUEST if guest else Outcome.NEW if body["outcome"] == "new_actor" else Outcome.KNOWN
    return Answer(outcome, body["actor_id"], body["first_login"], _guest(guest) if guest else None)


def _guest(body: dict[str, Any]) -> GuestOfLibrary:
    ends_on = body["ends_on"]
    return GuestOfLibrary(body["guest_id"], body["status"], date.fromisoformat(ends_on) if ends_on else None)


PAGES = Path(__file__).parent / "wisecat_pages"
LARGEST_FORM, LARGEST_LOGOUT = 4096, 16_384  # bytes
# Forms of these pages lead to the account provider, and a browser checks each redirect of a form.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' {accounts}; "
    "frame-ancestors 'none'; base-uri 'none'"
)
SECURITY = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with "no-referrer" browsers would send the form with `Origin: null`
    "X-Content-Type-Options": "nosniff",
}
MONTHS = {
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "en": "January February March April May June July August September October November December",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page of a signed-in patron shows."""

    account: SignedIn
    organisation: str
    answer: Answer


class Wisecat:
    """The demo's pages. `libraries`: code of an organisation -> its name; the first one is preselected."""

    def __init__(self, logins: IdentityLogins, libraries: Mapping[str, str], sign_in: PatronSignIn) -> None:
        self._logins = logins
        self._libraries = libraries
        self._sign_in = sign_in
        self._sessions = Sessions()
        accounts = urlsplit(sign_in.issuer)
        policy = POLICY.format(accounts=f"{accounts.scheme}://{accounts.netloc}")
        self._security = SECURITY | {"Content-Security-Policy": policy}
        self._pages = Environment(
            loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def app(self) -> Starlette:
        """Build the web application. It refuses every host name but its own, against DNS rebinding."""
        session = Middleware(
            SessionMiddleware, secret_key=secrets.token_hex(32), session_cookie="wisecat", same_site="lax"
        )
        return Starlette(
            routes=[
                Route("/", self._start),
                Route("/login", self._log_in, methods=["POST"]),
                Route(CALLBACK, self._come_back),
                Route("/welkom", self._welcome),
                Route("/logout", self._log_out, methods=["POST"]),
                Route(SIGNED_OUT, self._signed_out),
                Route(LOGGED_OUT_ELSEWHERE, self._logged_out_elsewhere, methods=["POST"]),
                *(Route(f"/{name}", partial(_file, name)) for name in ("wisecat.css", "icon.svg")),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"]), session],
        )

    async def _start(self, request: Request) -> Response:
        return self._begin(request, notice="")

    async def _log_in(self, request: Request) -> Response:
        """Send the patron to the account provider; remember the library for afterwards."""
        if (refused := self._not_ours(request)) is not None:
            return refused
        form = {name: str(value) for name, value in (await request.form(max_fields=4)).items()}
        request.session["language"] = form.get("taal", "")
        if (library := form.get("library", "")) not in self._libraries:
            return self._begin(request, HTTPStatus.UNPROCESSABLE_ENTITY, notice="missing")
        request.session["library"] = library
        try:
            return await self._sign_in.begin(request)
        except FAILURES:
            return self._failed(request)

    async def _come_back(self, request: Request) -> Response:
        """Ask identity who this is, with the ID token as the proof."""
        library = request.session.get("library", "")
        try:
            who = await self._sign_in.finish(request)
        except FAILURES:
            return self._failed(request)
        if library not in self._libraries:
            return self._failed(request)
        answer = await self._logins.log_in(who, library)
        self._sessions.begin(request, who, Shown(who, library, answer))
        return RedirectResponse("/welkom", HTTPStatus.SEE_OTHER)

    async def _welcome(self, request: Request) -> Response:
        shown: Shown | None = self._sessions.of(request)
        if shown is None:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        return self._page(
            "outcome.html",
            _language(request),
            answer=shown.answer,
            account_id=shown.account.subject,
            account=shown.account.name,
            organisation=shown.organisation,
            library=self._libraries[shown.organisation],
        )

    async def _log_out(self, request: Request) -> Response:
        """End the session here, then the one at the account provider."""
        if (refused := self._not_ours(request)) is not None:
            return refused
        self._sessions.end(request)
        try:
            return await self._sign_in.end(request)
        except FAILURES:
            return self._begin(request, notice="signed-out-here")

    async def _signed_out(self, request: Request) -> Response:
        notice = "signed-out" if await self._sign_in.returned(request) else ""
        return self._begin(request, notice=notice)

    async def _logged_out_elsewhere(self, request: Request) -> Response:
        size = request.headers.get("content-length", "")
        if not (size.isdigit() and int(size) <= LARGEST_LOGOUT):
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        return await self._sign_in.logged_out(request, self._sessions)

    def _not_ours(self, request: Request) -> Response | None:
        if _own_form(request):
            return None
        dutch = "Dit formulier komt van een andere site, of het is te groot. Begin opnieuw."
        english = "This form comes from another site, or it is too large. Start again."
        text = english if _language(request) == "en" else dutch
        return Response(text, HTTPStatus.FORBIDDEN, self._security)

    def _failed(self, request: Request) -> Response:
        chosen = request.session.get("library", "")
        return self._begin(request, HTTPStatus.BAD_REQUEST, notice="failed", chosen=chosen)

    def _begin(
        self, request: Request, status: HTTPStatus = HTTPStatus.OK, *, notice: str, chosen: str = ""
    ) -> Response:
        """Return the first page. `chosen`: the library that is preselected; without it the first one."""
        return self._page("start.html", _language(request), status, notice=notice, chosen=chosen)

    def _page(
        self, template: str, language: str, status: HTTPStatus = HTTPStatus.OK, **content: Any
    ) -> HTMLResponse:
        html = self._pages.get_template(template).render(
            language=language,
            other_language="en" if language == "nl" else "nl",
            translate=lambda dutch, english: english if language == "en" else dutch,
            day=lambda when: _day(when, language),
            libraries=self._libraries,
            **content,
        )
        return HTMLResponse(html, status, {**self._security, "Content-Language": language})


async def _file(name: str, _request: Request) -> Response:
    return FileResponse(PAGES / name, headers={"X-Content-Type-Options": "nosniff"})


def _own_form(request: Request) -> bool:
    """Return whether the form is small and comes from these pages: no other site may log a patron in."""
    origin = request.headers.get("origin")
    ours = origin is None or origin == f"{request.url.scheme}://{request.url.netloc}"
    size = request.headers.get("content-length", "")
    return ours and size.isdigit() and int(size) <= LARGEST_FORM


def _language(request: Request) -> str:
    wanted = request.query_params.get("taal", "") or request.session.get("language", "")
    if wanted in MONTHS:
        request.session["language"] = wanted
        return str(wanted)
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
    parser.add_argument("--accounts", required=True, help="issuer at which patrons sign in")
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
    token = TokenFile(run_dir / "keys" / "wisecat.token")
    http = HttpClient()
    logins = IdentityLogins(arguments.identity, http, token)
    address = f"http://{LOOPBACK}:{arguments.port}"
    sign_in = PatronSignIn(arguments.accounts, CATALOGUE_ID, address, http)
    app = Wisecat(logins, names, sign_in).app()
    uvicorn.run(app, host=LOOPBACK, port=arguments.port, access_log=False, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
