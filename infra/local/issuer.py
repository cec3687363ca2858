"""Two small OpenID Connect issuers for the local stack, of staff and of patrons: code with PKCE.

Like those of real organisations it keeps a session of its own: who signed in before is not asked again, until
the session ends (RP-Initiated Logout 1.0) or the client wants it (`prompt=login`). A client may hear of
the end (Back-Channel Logout 1.0).
"""

import argparse
import base64
import hashlib
import hmac
import secrets
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
import uvicorn
from jinja2 import Environment
from joserfc import jwt
from joserfc.jwk import Key
from starlette.applications import Starlette
from starlette.datastructures import FormData, QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from infra.local.configuration import ACCOUNTS_PATH, CALLBACK, LOGGED_OUT_ELSEWHERE, SIGNED_OUT
from infra.local.credentials import CATALOGUE_ID, CLIENT_ID, NoLocalStack, issuer_key, stack_must_run
from infra.local.ports import LOOPBACK
from shared.kernel.files import keep_files_private
from shared.kernel.login_account import is_account_id
from shared.platform.http_client import HttpClient

TEMPLATE = """\
<!DOCTYPE html>
<html lang="{{ language }}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ translate("Aanmelden", "Sign in") }} – demo</title>
<style nonce="{{ nonce }}">
html { font: 19px/1.45 system-ui, "Noto Sans", sans-serif; color: #16202c; background: #f1f4f8 }
main { max-width: 34rem; margin: 2rem auto; padding: 1rem 1.5rem; background: #fff;
  border: 1px solid #b9c3cf }
h1 { margin-top: 0 }
button { display: block; width: 100%; margin: .5rem 0; padding: .7rem 1rem; font: inherit; text-align: left;
  color: #12355b; background: #fff; border: 2px solid #12355b; border-radius: .3rem; cursor: pointer }
input:not([type]) { box-sizing: border-box; width: 100%; padding: .7rem 1rem; font: inherit;
  border: 1px solid #5c6b7a; border-radius: .3rem }
.mistake { color: #a3121b; font-weight: 600 }
button:hover { background: #e8f0fa }
button:focus-visible { outline: 4px solid #f2b600; outline-offset: 2px }
</style>
</head>
<body>
<main>
<h1>{{ translate("Wie bent u?", "Who are you?") }}</h1>
<p>{{ translate("Dit is de aanmelddienst van de demonstratie: er is geen wachtwoord nodig.",
  "This is the sign-in service of the demonstration: no password is needed.") }}</p>
<form method="post" action="{{ action }}">
{% for name, value in asked.items() %}
<input type="hidden" name="{{ name }}" value="{{ value }}">
{% endfor %}
{% for organisation, people in organisations %}
<h2>{{ organisation }}</h2>
{% for person in people %}
<button name="person" value="{{ person.subject }}">{{ person.name }}
{%- if "operator" in person.scope %} – {{ translate("beheer", "operations") }}{% endif %}</button>
{% endfor %}
{% endfor %}
{% if typed %}
<h2><label for="typed">{{ translate("Een ander account", "Another account") }}</label></h2>
{% if mistake %}
<p class="mistake" id="mistake">{{ translate("Vul uw account in, zonder spaties.",
  "Fill in your account, without spaces.") }}</p>
{% endif %}
<p><input id="typed" name="typed" value="{{ account }}" maxlength="200" autocomplete="off"
autocapitalize="none" spellcheck="false" placeholder="acc-0991000001"
{%- if mistake %} aria-invalid="true" aria-describedby="mistake" autofocus{% endif %}></p>
<button name="person" value="">
{{- translate("Aanmelden met dit account", "Sign in with this account") }}</button>
{% endif %}
</form>
</main>
</body>
</html>
"""
_template = Environment(autoescape=True).from_string(TEMPLATE)


def sign_in_page(
    asked: Mapping[str, Any],
    people: Iterable[Any],
    goes_to: str,
    *,
    action: str,
    typed: bool,
    english: bool = False,
    mistake: bool = False,
) -> HTMLResponse:
    """Return the page with the people to choose from, by organisation.

    `goes_to`: the origin to which the form may redirect (Content-Security-Policy). `typed`: anybody else may
    type who they are. `mistake`: what was typed, in `asked`, is no account.
    """
    nonce = secrets.token_urlsafe(16)
    organisations = [
        (name, list(group)) for name, group in groupby(people, key=lambda person: person.organisation_name)
    ]
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self' {goes_to}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {"Content-Security-Policy": policy} | _PRIVATE
    return HTMLResponse(
        _template.render(
            asked={name: value for name, value in asked.items() if name not in _ANSWERS},
            account=asked.get("typed", "") if mistake else "",
            mistake=mistake,
            organisations=organisations,
            nonce=nonce,
            action=action,
            typed=typed,
            language="en" if english else "nl",
            translate=lambda dutch, in_english: in_english if english else dutch,
        ),
        status_code=422 if mistake else 200,
        headers=headers,
    )


_PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
_ANSWERS = frozenset({"person", "typed"})
"""What the page itself sends, beside what the client asked."""
CODE_SECONDS, TOKEN_SECONDS = 60, 600
COOKIE, ACCOUNTS_COOKIE = "sign-in-service", "account-provider"
"""Of each issuer alone: browsers send the cookies of all ports of a host to each of them."""
TELL_SECONDS = 3.0
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass(frozen=True, slots=True)
class Person:
    """A member of staff, or an account of a patron. `scope`: scopes separated by spaces."""

    subject: str
    name: str
    organisation: str
    organisation_name: str
    scope: str


@dataclass(frozen=True, slots=True)
class Client:
    """An application that may send people here.

    People return to `redirect_uri`, and to `signed_out_uri` when they have signed out. `logout_uri`: where
    it hears that a session ended.
    """

    client_id: str
    redirect_uri: str
    signed_out_uri: str
    logout_uri: str | None = None


@dataclass(frozen=True, slots=True)
class _Granted:
    person: Person
    session_id: str
    nonce: str | None
    challenge: str
    good_until: float


class Refused(Exception):
    """The client's request is not valid."""


class Issuer:
    """Signs people in for one client: its ID tokens are signed with `key`."""

    def __init__(
        self,
        url: str,
        key: Key,
        client: Client,
        people: tuple[Person, ...],
        *,
        cookie: str = COOKIE,
        typed: bool = False,
    ) -> None:
        """`typed`: also accounts that are not among `people` can sign in."""
        self.url = url
        self._cookie = cookie
        self._typed = typed
        self._key = key
        self._client = client
        self._people = {person.subject: person for person in people}
        self._codes: dict[str, _Granted] = {}
        self._sessions: dict[str, tuple[Person, str]] = {}

    def app(self) -> Starlette:
        """Build the web application with all pages and endpoints."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/jwks", self._jwks),
                Route("/authorize", self._authorize, methods=["GET", "POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/logout", self._logout, methods=["GET", "POST"]),
            ]
        )

    def claims(self, person: Person, nonce: str | None) -> dict[str, Any]:
        """Return the claims of the ID token. Tests override this method."""
        now = int(time.time())
        return {
            "iss": self.url,
            "aud": self._client.client_id,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "sub": person.subject,
            "name": person.name,
            **({"organisation": person.organisation, "scope": person.scope} if person.scope else {}),
            **({"nonce": nonce} if nonce else {}),
        }

    async def _discovery(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "end_session_endpoint": f"{self.url}/logout",
                "backchannel_logout_supported": True,
                "backchannel_logout_session_supported": True,
                "prompt_values_supported": ["login"],
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [self._algorithm],
                "token_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    async def _authorize(self, request: Request) -> Response:
        """Show the page to choose from (GET), or redirect to the client with a code (POST)."""
        asked = request.query_params if request.method == "GET" else await request.form()
        try:
            self._must_be_ours(asked)
        except Refused as refused:
            return PlainTextResponse(f"Aanmelden kan niet: {refused}", 400)
        known = self._known(request, asked) if request.method == "GET" else None
        if request.method == "GET" and known is None:
            return self._asks_who(request, asked)
        person, session_id = known or (self._chosen(asked), secrets.token_urlsafe(16))
        if person is None and self._typed:
            return self._asks_who(request, asked, mistake=True)
        if person is None:
            return PlainTextResponse("Deze persoon bestaat niet.", 400)
        back = {"code": self._code_for(person, session_id, asked), "state": str(asked["state"])}
        answer = RedirectResponse(f"{self._client.redirect_uri}?{urlencode(back)}", 303)
        self._sessions[session := secrets.token_urlsafe(32)] = (person, session_id)
        answer.set_cookie(self._cookie, session, httponly=True, samesite="lax")
        return answer

    def _asks_who(
        self, request: Request, asked: QueryParams | FormData, *, mistake: bool = False
    ) -> Response:
        target = urlsplit(self._client.redirect_uri)
        return sign_in_page(
            dict(asked),
            self._people.values(),
            f"{target.scheme}://{target.netloc}",
            action=f"{urlsplit(self.url).path}/authorize",
            typed=self._typed,
            english=request.headers.get("accept-language", "").lower().startswith("en"),
            mistake=mistake,
        )

    def _chosen(self, asked: QueryParams | FormData) -> Person | None:
        """Return who was chosen, or typed their account; None for nobody.

        Enter in the field presses the button of the first person: what was typed counts, also if it is no
        account.
        """
        typed = str(asked.get("typed", "")).strip() if self._typed else ""
        if is_account_id(typed):
            return self._people.get(typed) or Person(typed, typed, "", "", "")
        if typed:
            return None
        return self._people.get(str(asked.get("person", "")))

    def _known(self, request: Request, asked: QueryParams | FormData) -> tuple[Person, str] | None:
        """Return who has a session in this browser, unless the client wants that the person is asked."""
        if "login" in str(asked.get("prompt", "")).split():
            return None
        return self._sessions.get(request.cookies.get(self._cookie, ""))

    async def _logout(self, request: Request) -> Response:
        """End the session of this browser, and lead back to the client if its address is right."""
        asked = request.query_params if request.method == "GET" else await request.form()
        ended = self._sessions.pop(request.cookies.get(self._cookie, ""), None)
        if ended is not None:
            self._sessions = {
                name: session for name, session in self._sessions.items() if session[1] != ended[1]
            }
            await self._tell(*ended)
        wanted = (self._client.client_id, self._client.signed_out_uri)
        if (asked.get("client_id"), asked.get("post_logout_redirect_uri")) == wanted:
            state = urlencode({"state": str(asked["state"])}) if "state" in asked else ""
            answer: Response = RedirectResponse(f"{self._client.signed_out_uri}?{state}".rstrip("?"), 303)
        else:
            answer = PlainTextResponse("U bent afgemeld bij de aanmelddienst.")
        answer.delete_cookie(self._cookie)
        return answer

    async def _tell(self, person: Person, session_id: str) -> None:
        """Post to the client that a session ended (Back-Channel Logout 1.0, section 2.5). It may be down."""
        if self._client.logout_uri is None:
            return
        now = int(time.time())
        claims = {"iss": self.url, "aud": self._client.client_id, "iat": now, "exp": now + CODE_SECONDS}
        claims |= {"jti": secrets.token_urlsafe(16), "sub": person.subject, "sid": session_id}
        claims["events"] = {LOGOUT_EVENT: {}}
        header = {"alg": self._algorithm, "kid": self._key.kid, "typ": "logout+jwt"}
        token = jwt.encode(header, claims, self._key, algorithms=[self._algorithm])
        with suppress(httpx2.HTTPError):
            async with HttpClient() as http:
                await http.post(self._client.logout_uri, data={"logout_token": token}, timeout=TELL_SECONDS)

    def _must_be_ours(self, asked: QueryParams | FormData) -> None:
        """Raise Refused unless the request is the client's: nobody is redirected to another address."""
        wanted = {
            "client_id": self._client.client_id,
            "redirect_uri": self._client.redirect_uri,
            "response_type": "code",
            "code_challenge_method": "S256",
        }
        for name, value in wanted.items():
            if asked.get(name) != value:
                raise Refused(f"{name} klopt niet.")
        if not asked.get("state") or not asked.get("code_challenge"):
            raise Refused("state of code_challenge ontbreekt.")

    def _code_for(self, person: Person, session_id: str, asked: QueryParams | FormData) -> str:
        now = time.monotonic()
        self._codes = {code: granted for code, granted in self._codes.items() if granted.good_until > now}
        code = secrets.token_urlsafe(32)
        nonce = asked.get("nonce")
        self._codes[code] = _Granted(
            person,
            session_id,
            str(nonce) if nonce else None,
            str(asked["code_challenge"]),
            now + CODE_SECONDS,
        )
        return code

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        if form.get("client_id") != self._client.client_id:
            return JSONResponse({"error": "invalid_client"}, 401, {"Cache-Control": "no-store"})
        # A code can be used once, also when the request fails: so a verifier cannot be guessed.
        granted = self._codes.pop(str(form.get("code")), None)
        right = (
            granted is not None
            and granted.good_until > time.monotonic()
            and form.get("grant_type") == "authorization_code"
            and form.get("redirect_uri") == self._client.redirect_uri
            and hmac.compare_digest(_challenge_of(str(form.get("code_verifier"))), granted.challenge)
        )
        if granted is None or not right:
            return JSONResponse({"error": "invalid_grant"}, 400, {"Cache-Control": "no-store"})
        header = {"alg": self._algorithm, "kid": self._key.kid}
        claims = {"sid": granted.session_id, **self.claims(granted.person, granted.nonce)}
        answer = {
            "access_token": secrets.token_urlsafe(32),
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "id_token": jwt.encode(header, claims, self._key, algorithms=[self._algorithm]),
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    @property
    def _algorithm(self) -> str:
        return "Ed25519" if self._key.key_type == "OKP" else "ES256"


def _challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.6)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


DRENTHE, DELFT = ("1001", "Biblionet Drenthe"), ("2002", "DOK Delft")
PEOPLE = (
    Person("m.visser", "Marijke Visser", *DRENTHE, "counter"),
    Person("j.smit", "Jeroen Smit", *DRENTHE, "counter"),
    Person("f.deboer", "Femke de Boer", *DRENTHE, "counter operator installation accounts"),
    Person("k.bakker", "Karim Bakker", *DELFT, "counter"),
)


ACCOUNTS = (
    Person("acc-jan", "jan.jansen", "", "Inlogaccounts", ""),
    Person("acc-devries", "p.devries", "", "Inlogaccounts", ""),
)


def catalogue_client(address: str) -> Client:
    """Return the demo catalogue at this address, as the account provider knows it."""
    return Client(
        CATALOGUE_ID, address + CALLBACK, address + SIGNED_OUT, logout_uri=address + LOGGED_OUT_ELSEWHERE
    )


def account_provider(url: str, run_dir: Path, catalogue: str) -> Issuer:
    """Return the issuer at which patrons sign in, with a key of its own."""
    key = issuer_key(run_dir, "account-provider")
    return Issuer(url, key, catalogue_client(catalogue), ACCOUNTS, cookie=ACCOUNTS_COOKIE, typed=True)


def main() -> int:
    """Run until SIGTERM or Ctrl-C. Return 1 when no local stack runs in the folder."""
    keep_files_private()
    parser = argparse.ArgumentParser(prog="python -m infra.local.issuer", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    parser.add_argument("--counter", required=True, help="address of the counter's pages")
    parser.add_argument("--catalogue", required=True, help="address of the demo catalogue")
    parser.add_argument("--run-dir", type=Path, required=True, help="the folder of the running stack")
    arguments = parser.parse_args()
    try:
        stack_must_run(arguments.run_dir)
    except NoLocalStack as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 1
    client = Client(CLIENT_ID, f"{arguments.counter}/aanmelden/terug", f"{arguments.counter}/afmelden")
    url = f"http://{LOOPBACK}:{arguments.port}"
    issuer = Issuer(url, issuer_key(arguments.run_dir), client, PEOPLE)
    app = issuer.app()
    app.mount(
        ACCOUNTS_PATH, account_provider(url + ACCOUNTS_PATH, arguments.run_dir, arguments.catalogue).app()
    )
    uvicorn.run(app, host=LOOPBACK, port=arguments.port, access_log=False, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
