"""Signing in by OpenID Connect, and everything that must not sign a visitor in."""

import json
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.local.credentials import CATALOGUE_ID
from infra.local.issuer import ACCOUNTS, Issuer, Person, catalogue_client
from infra.local.ports import LOOPBACK, free_port
from infra.local.wisecat import IdentityLogins, Wisecat
from infra.local.wisecat_sign_in import PatronSignIn
from shared.platform.http_client import HttpClient
from tests.support.counter_pages import CLIENT_ID, CounterSite, form_of, open_counter_site
from tests.support.tokens import held_token

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def is_signed_in(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/")).status_code == 200


async def test_a_clerk_signs_in_with_state_nonce_and_pkce_and_comes_out_where_she_wanted_to_be(
    counter_site: CounterSite,
) -> None:
    async with counter_site.visitor() as client:
        stopped = await client.get("/?tab=klant")
        assert stopped.status_code == 303
        leaving = await client.get(stopped.headers["location"])
        asked = {
            name: values[0] for name, values in parse_qs(urlsplit(leaving.headers["location"]).query).items()
        }
        assert asked["code_challenge_method"] == "S256"
        assert asked["response_type"] == "code"
        assert len(asked["state"]) >= 20
        assert len(asked["nonce"]) >= 16
        back = await client.get(await counter_site.come_back(leaving))
        assert back.headers["location"] == "/?tab=klant"
        page = await client.get("/")
    assert "Marijke Visser" in page.text
    assert "Biblionet Drenthe" in page.text


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites_and_names_no_guest(
    counter_site: CounterSite,
) -> None:
    async with counter_site.visitor() as client:
        back = await client.get(await counter_site.come_back(await client.get("/aanmelden")))
    cookie = back.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie, "this site is on loopback"


async def test_a_secure_site_has_a_secure_cookie_of_this_host_only(database: str, tmp_path: Path) -> None:
    async with (
        open_counter_site(database, tmp_path, counter_url="https://balie.example") as counter_site,
        counter_site.visitor() as client,
    ):
        cookie = (await client.get("/afmelden")).headers["set-cookie"]
    assert cookie.startswith("__Host-counter=")
    assert {"secure", "path=/"} <= {part.strip() for part in cookie.lower().split(";")}
    assert "domain" not in cookie.lower()


async def test_what_comes_back_to_another_browser_or_twice_signs_nobody_in(counter_site: CounterSite) -> None:
    async with counter_site.visitor() as clerk, counter_site.visitor() as thief:
        back = await counter_site.come_back(await clerk.get("/aanmelden"))
        await thief.get("/aanmelden")
        assert (await thief.get(back)).status_code == 400, "the state is another browser's"
        assert not await is_signed_in(thief)
        before = dict(clerk.cookies)
        assert (await clerk.get(back)).status_code == 303
        assert await is_signed_in(clerk)
        # The same code again, from a browser that has the state and verifier: the issuer takes a code once.
        thief.cookies.clear()
        thief.cookies.update(before)
        refused = await thief.get(back)
        assert refused.status_code == 400
        assert "Probeer opnieuw aan te melden" in refused.text
        assert not await is_signed_in(thief)


@pytest.mark.parametrize("query", ["", "?code=made-up&state=made-up", "?error=access_denied&state=x"])
async def test_a_way_back_that_nobody_was_sent_on_signs_nobody_in(
    counter_site: CounterSite, query: str
) -> None:
    async with counter_site.visitor() as client:
        assert (await client.get(f"/aanmelden/terug{query}")).status_code == 400
        assert not await is_signed_in(client)


class _Lying(Issuer):
    """A sign-in service with a wrong ID token."""

    lies: ClassVar[dict[str, Any]] = {}

    def claims(self, person: Person, nonce: str | None) -> dict[str, Any]:
        claims = super().claims(person, nonce) | self.lies
        return {name: value for name, value in claims.items() if value is not None}


async def test_an_id_token_that_is_not_exactly_right_signs_nobody_in(database: str, tmp_path: Path) -> None:
    async with open_counter_site(database, tmp_path, _Lying) as counter_site:
        for lies in (
            {"nonce": "of another sign-in"},
            {"nonce": None},
            {"aud": "another-client"},
            {"aud": None},
            {"iss": "https://elsewhere.example"},
            {"exp": 1_000_000_000},
            {"sub": None},
            {"organisation": None},
            {"organisation": ["1001", "2002"]},
            {"organisation": [1001]},
            {"organisation": {"1001": True}},
            {"sub": "m\0visser"},
            {"sub": "m\u202evisser"},
            {"name": "\u200b "},
            {"sub": "x" * 256},
            {"organisation": "10\x0001"},
            {"scope": None},
        ):
            _Lying.lies = lies
            async with counter_site.visitor() as client:
                back = await counter_site.come_back(await client.get("/aanmelden"))
                assert (await client.get(back)).status_code == 400, lies
                assert not await is_signed_in(client)
        _Lying.lies = {"name": "\u202eMarijke\u202c Vis\u200bser\n"}
        async with counter_site.signed_in() as client:
            assert "<bdi>Marijke Visser</bdi>" in (await client.get("/")).text
        _Lying.lies = {}


async def test_the_issuer_leads_to_no_other_address_and_wants_pkce(counter_site: CounterSite) -> None:
    async with counter_site.visitor() as client, httpx2.AsyncClient() as browser:
        address = (await client.get("/aanmelden")).headers["location"]
        assert (await browser.get(address)).status_code == 200
        asked = parse_qs(urlsplit(address).query)
        wrongs: tuple[dict[str, list[str]], ...] = (
            {"redirect_uri": ["https://elsewhere.example/"]},
            {"client_id": ["another"]},
            {"code_challenge_method": ["plain"]},
            {"response_type": ["token"]},
            {"state": []},
        )
        for wrong in wrongs:
            answer = await browser.get(f"{counter_site.issuer.url}/authorize", params=asked | wrong)
            assert (answer.status_code, answer.headers.get("location")) == (400, None)


async def test_a_code_is_worth_nothing_without_its_verifier(counter_site: CounterSite) -> None:
    async with counter_site.visitor() as client, httpx2.AsyncClient() as thief:
        back = await counter_site.come_back(await client.get("/aanmelden"))
        stolen = {
            "grant_type": "authorization_code",
            "client_id": CLIENT_ID,
            "redirect_uri": f"{counter_site.address}/aanmelden/terug",
            "code": parse_qs(urlsplit(back).query)["code"][0],
        }
        answer = await thief.post(
            f"{counter_site.issuer.url}/token", data={**stolen, "code_verifier": "x" * 48}
        )
        assert (answer.status_code, answer.json()) == (400, {"error": "invalid_grant"})


async def test_signing_out_leaves_nothing_of_the_session(counter_site: CounterSite) -> None:
    async with counter_site.signed_in() as client:
        form = form_of((await client.get("/")).text, "/afmelden")
        assert (await client.post("/afmelden", data=form)).headers["location"] == "/afmelden"
        assert "U bent afgemeld" in (await client.get("/afmelden")).text
        assert not await is_signed_in(client)


class _WithoutEnd(Issuer):
    """A sign-in service at which nobody can sign out."""

    async def _discovery(self, request: Request) -> Response:
        page = json.loads(bytes((await super()._discovery(request)).body))
        del page["end_session_endpoint"]
        return JSONResponse(page)


async def test_after_a_sign_out_the_service_must_ask_who_it_is(
    counter_site: CounterSite, database: str, tmp_path: Path
) -> None:
    """By RP-Initiated Logout 1.0 if it can; `prompt=login` in any case, as a person may say no there."""
    async with open_counter_site(database, tmp_path, _WithoutEnd) as without:
        for site, offered in ((counter_site, True), (without, False)):
            async with site.signed_in() as client:
                await client.post("/afmelden", data=form_of((await client.get("/")).text, "/afmelden"))
                signed_out, again = await client.get("/afmelden"), await client.get("/afmelden")
                assert "Refresh" not in again.headers
                if offered:
                    address = signed_out.headers["Refresh"].removeprefix("0; url=")
                    assert address.startswith(f"{site.issuer.url}/logout?")
                    asked = parse_qs(urlsplit(address).query)
                    assert asked["client_id"] == [CLIENT_ID]
                    assert asked["post_logout_redirect_uri"] == [f"{site.address}/afmelden"]
                    assert len(asked["state"][0]) >= 20
                else:
                    assert "Refresh" not in signed_out.headers
                for _ in range(2):  # a sign-in that was begun and left changes nothing
                    leaving = await client.get("/aanmelden")
                    assert "prompt=login" in leaving.headers["location"]
                await client.get(await site.come_back(leaving, "j.smit"))
                assert await is_signed_in(client)
                assert "prompt=" not in (await client.get("/aanmelden")).headers["location"]


async def test_a_cookie_that_was_tampered_with_is_nobodys(counter_site: CounterSite) -> None:
    async with counter_site.signed_in() as client:
        cookie = client.cookies["counter"]
        client.cookies.clear()
        client.cookies.set("counter", ("A" if cookie[20] != "A" else "B").join((cookie[:20], cookie[21:])))
        assert not await is_signed_in(client)


async def test_when_the_sign_in_service_is_away_the_page_says_so(database: str, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    async with (
        open_counter_site(database, tmp_path, oidc_issuer=nowhere) as counter_site,
        counter_site.visitor() as client,
    ):
        answer = await client.get("/aanmelden")
    assert answer.status_code == 503
    assert "Aanmelden kan even niet" in answer.text


async def test_after_sign_in_nobody_is_led_elsewhere(counter_site: CounterSite) -> None:
    async with counter_site.visitor() as client:
        leaving = await client.get("/aanmelden", params={"next": "//elsewhere.example/"})
        assert (await client.get(await counter_site.come_back(leaving))).headers["location"] == "/"


async def test_by_another_name_of_this_machine_the_counter_leads_to_its_own(
    counter_site: CounterSite,
) -> None:
    async with counter_site.visitor() as client:
        answer = await client.get("/aanmelden", headers={"Host": "localhost:1"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{counter_site.address}/aanmelden")


@pytest.mark.parametrize("typed", ["acc jan", " ", "é"])
async def test_a_patron_who_types_no_account_is_told_so_and_signed_in_as_nobody(
    counter_site: CounterSite, typed: str
) -> None:
    """Enter in the field signed the patron in as the first person of the page."""
    catalogue = f"http://{LOOPBACK}"
    client, key = catalogue_client(catalogue), counter_site.app.signer.key
    accounts = Issuer("http://accounts", key, client, ACCOUNTS, typed=True)
    asked = {
        "client_id": CATALOGUE_ID,
        "redirect_uri": client.redirect_uri,
        "response_type": "code",
        "code_challenge_method": "S256",
        "code_challenge": "x",
        "state": "y",
    }
    chosen = "" if typed == " " else ACCOUNTS[0].subject
    transport = httpx2.ASGITransport(accounts.app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://accounts") as browser:
        answer = await browser.post("/authorize", data=asked | {"typed": typed, "person": chosen})
        assert (answer.status_code, "Vul uw account in, zonder spaties." in answer.text) == (422, True)
        assert f'value="{typed}"' in answer.text
        assert form_of(answer.text, "/authorize") == asked
        right = await browser.post("/authorize", data=asked | {"typed": " acc-piet ", "person": chosen})
        assert (right.status_code, right.headers["location"].startswith(catalogue)) == (303, True)


async def test_after_a_login_that_failed_the_library_is_still_the_one_that_was_chosen() -> None:
    """The first one of the list was chosen again."""
    nowhere = f"http://{LOOPBACK}:{free_port()}"
    async with HttpClient() as http:
        sign_in = PatronSignIn(nowhere, CATALOGUE_ID, nowhere, http)
        logins = IdentityLogins(nowhere, http, held_token("none"))
        app = Wisecat(logins, {"1001": "Drenthe", "2002": "Delft"}, sign_in).app()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{LOOPBACK}") as patron:
            assert 'value="1001" checked' in (await patron.get("/?taal=nl")).text
            failed = await patron.post("/login", data={"library": "2002", "taal": "nl"})
    assert (failed.status_code, "Inloggen is niet gelukt." in failed.text) == (400, True)
    assert 'value="2002" checked' in failed.text
    assert failed.text.count(" checked>") == 1
