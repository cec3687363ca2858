"""The counter's sign-in and the services' tokens at npm's oidc-provider: everything as a browser does it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urljoin, urlsplit

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from infra.local.ports import LOOPBACK, answers, free_port
from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from registration.bootstrap import open_service, sign_in_of
from shared.platform.http_client import HttpClient
from shared.web.security import TokenVerifier, keys_of
from shared.web.server import serve
from shared.web.service_token import ClientToken, TokenClient
from tests.support.counter_pages import CounterSite, Visitor, form_of, open_counter_site
from tests.support.eventually import eventually
from tests.support.foreign_sign_in import go_on
from tests.support.peers.oidc_provider import (
    CLIENT,
    RESOURCE,
    SERVICE,
    OidcProvider,
    new_key,
    oidc_provider,
)
from tests.support.servers import Databases

pytestmark = pytest.mark.asyncio(loop_scope="module")
BACK = "/aanmelden/terug"
PEOPLE: dict[str, dict[str, Any]] = {
    "m.visser": {"name": "Marijke Visser", "groups": ["Balie Drenthe", "Kantine"]},
    "f.boer": {"name": "Femke de Boer", "groups": ["Balie Drenthe", "beheer"]},
    "stranger": {"name": "Nobody", "groups": ["Kantine"]},
    "many": {"name": "Many", "groups": ["Balie Drenthe", *(f"group-{number}" for number in range(2000))]},
}
GROUPS = """
[groups."Balie Drenthe"]
scopes = ["counter"]
organisations = ["1001"]

[groups.beheer]
scopes = ["operator", "installation"]
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with oidc_provider(counter="http://127.0.0.1:1", people=PEOPLE) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    provider: OidcProvider, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CounterSite]:
    """A counter whose staff sign in there."""
    folder, databases = tmp_path_factory.mktemp("oidc-provider"), Databases(postgres)
    (folder / "secret").write_text(provider.client_secret, "utf-8")
    (folder / "groups.toml").write_text(GROUPS, "utf-8")
    async with open_counter_site(
        databases(scripts=SCHEMA),
        folder,
        oidc_issuer=provider.url,
        oidc_client_id=CLIENT,
        oidc_client_secret_file=folder / "secret",
        oidc_groups=folder / "groups.toml",
    ) as opened:
        provider.describe(
            client={
                "redirect_uris": [opened.address + BACK],
                "post_logout_redirect_uris": [opened.address + "/afmelden"],
                "backchannel_logout_uri": opened.address + "/aanmelden/einde",
            }
        )
        yield opened
    databases.drop_all()


@contextmanager
def described(provider: OidcProvider, **changed: Any) -> Iterator[None]:
    """Inside the block the provider is like this."""
    before = dict(provider.described)
    provider.describe(**changed)
    yield
    provider.describe(**before)


def forget(site: CounterSite) -> None:
    """What was read of the provider is read again at the next sign-in."""
    client = site.app.app.state.sign_in._client
    client.server_metadata.clear()
    client.new_keys()


async def back_from(visitor: Visitor, person: str = "m.visser") -> str:
    """Sign in at the provider: the address at which it sends the browser back."""
    leaving = await visitor.get("/aanmelden")
    assert leaving.is_redirect, leaving.text
    return await go_on(visitor, leaving, BACK, {"login": person, "password": "any"})


@asynccontextmanager
async def signed_in(site: CounterSite, person: str = "m.visser") -> AsyncIterator[Visitor]:
    async with site.visitor() as visitor:
        answer = await visitor.get(await back_from(visitor, person))
        assert (answer.status_code, answer.headers.get("location")) == (303, "/"), answer.text
        yield visitor


async def refused(site: CounterSite, address: str, visitor: Visitor) -> tuple[str, str]:
    """Come back at this address without success: the page, and the reason in the log."""
    with capture_logs() as lines:
        answer = await visitor.get(address)
        assert answer.status_code in {400, 503}
        assert (await visitor.get("/")).status_code == 303
    [line] = [line for line in lines if line["event"] == "sign_in.failed"]
    return answer.text, f"{line['code']}: {line['reason']}"


async def test_a_clerk_signs_in_with_a_pushed_request_and_groups_say_what_they_may_do(
    provider: OidcProvider, site: CounterSite
) -> None:
    async with site.visitor() as visitor:
        leaving = urlsplit((await visitor.get("/aanmelden")).headers["location"])
        assert set(parse_qs(leaving.query)) == {"client_id", "request_uri"}
    async with signed_in(site) as clerk:
        page = (await clerk.get("/")).text
        assert "Marijke Visser" in page
        assert "Biblionet Drenthe" in page
        assert (await clerk.get("/beheer")).status_code == 403
    async with signed_in(site, "f.boer") as operator:
        assert (await operator.get("/beheer")).status_code == 200


async def test_unknown_groups_give_nothing_and_many_groups_fit(site: CounterSite) -> None:
    async with site.visitor() as visitor:
        page, reason = await refused(site, await back_from(visitor, "stranger"), visitor)
    assert reason.startswith("sign-in-incomplete: the claim organisation is missing")
    assert "Vraag een beheerder" in page
    async with signed_in(site, "many") as clerk:
        assert (await clerk.get("/")).status_code == 200
        assert len(clerk.cookies["counter"]) < 2000


@pytest.mark.parametrize("pushed", ["required", "none"])
async def test_requests_are_pushed_where_they_must_be_and_pkce_is_used_where_they_cannot(
    provider: OidcProvider, site: CounterSite, pushed: str
) -> None:
    with described(provider, pushed=pushed):
        forget(site)
        async with site.visitor() as visitor:
            asked = parse_qs(urlsplit((await visitor.get("/aanmelden")).headers["location"]).query)
            assert ("request_uri" in asked, "code_challenge" in asked) == (
                (True, False) if pushed == "required" else (False, True)
            )
            if pushed == "required":
                plain = {"client_id": CLIENT, "response_type": "code", "scope": "openid"}
                there = await visitor.get(f"{provider.url}/auth?{urlencode(plain)}")
                said = unquote_plus(there.headers.get("location", there.text))
                assert "Pushed Authorization Request must be used" in said
        async with signed_in(site):
            pass
        await sign_in_of(site.app.service.settings).ready()
    forget(site)


async def test_a_pushed_request_that_is_refused_is_told(provider: OidcProvider, site: CounterSite) -> None:
    elsewhere = {"redirect_uris": ["https://elsewhere.example/"]}
    with described(provider, client=elsewhere), capture_logs() as lines:
        async with site.visitor() as visitor:
            answer = await visitor.get("/aanmelden")
    assert answer.status_code == 400
    assert "Geef het kenmerk hieronder aan een beheerder" in answer.text
    [line] = [line for line in lines if line["event"] == "sign_in.failed"]
    assert "answered invalid_redirect_uri" in line["reason"] or "redirect_uri" in line["reason"]


@pytest.mark.parametrize("key_id", ["key-2", "key-1"])
async def test_a_new_key_counts_at_once_also_under_the_old_id(
    provider: OidcProvider, site: CounterSite, key_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(site)
    async with signed_in(site):
        pass
    keys = site.app.app.state.sign_in._client.keys
    monkeypatch.setattr(keys, "_min_interval", 0.0)
    with described(provider, keys=[new_key(key_id)]):
        async with signed_in(site):
            pass
    assert site.app.app.state.sign_in._client.keys is keys, "not by forgetting all of it"
    forget(site)


async def test_an_answer_of_another_service_is_refused(provider: OidcProvider, site: CounterSite) -> None:
    for named in (["https://elsewhere.example"], [], [provider.url, "https://elsewhere.example"]):
        async with site.visitor() as visitor:
            address = urlsplit(await back_from(visitor))
            query = {name: values for name, values in parse_qs(address.query).items() if name != "iss"}
            changed = address._replace(query=urlencode(query | {"iss": named}, doseq=True)).geturl()
            page, reason = await refused(site, changed, visitor)
            assert reason.startswith("sign-in-mixed-up: the answer ")
            assert "Begin opnieuw op deze pagina" in page
            # The code was not used, and is of no use any more in this browser.
            assert "sign-in-failed" in (await refused(site, address.geturl(), visitor))[1]


async def test_signed_userinfo_is_verified(provider: OidcProvider, site: CounterSite) -> None:
    with described(provider, client={"userinfo_signed_response_alg": "ES256"}):
        async with signed_in(site) as clerk:
            assert "Marijke Visser" in (await clerk.get("/")).text


async def test_after_signing_out_the_provider_asks_again_who_it_is(
    provider: OidcProvider, site: CounterSite
) -> None:
    async with signed_in(site) as clerk:
        form = form_of((await clerk.get("/afmelden")).text, "/afmelden")
        assert (await clerk.sends("/afmelden", data=form)).headers["location"] == "/afmelden"
        leaving = (await clerk.get("/afmelden")).headers["refresh"].partition("url=")[2]
        assert leaving.startswith(f"{provider.url}/session/end?")
        there = await clerk.get(leaving)
        back = await go_on(clerk, there, "/afmelden", {}, button="yes")
        assert back.startswith(f"{site.address}/afmelden?state=")
        assert (await clerk.get(back)).status_code == 200
        assert (await clerk.get("/")).status_code == 303
        # No session is left there: it asks for a name.
        asked = await clerk.get("/aanmelden")
        while asked.is_redirect:
            asked = await clerk.get(urljoin(str(asked.url), asked.headers["location"]))
        assert 'name="login"' in asked.text


async def test_who_signs_out_at_the_provider_is_signed_out_here(
    provider: OidcProvider, site: CounterSite
) -> None:
    async with signed_in(site) as clerk, signed_in(site) as elsewhere:
        assert (await clerk.get("/")).status_code == 200
        page = await clerk.get(f"{provider.url}/session/end")
        with capture_logs() as lines:
            await go_on(clerk, page, "/session/end/success", {}, button="yes")
            await eventually(lambda: [line for line in lines if line["event"] == "sign_in.ended_elsewhere"])
        answer = await clerk.get("/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/aanmelden?next=%2F")
        assert (await elsewhere.get("/")).status_code == 200, "another session of the same person"
        [line] = [line for line in lines if line["event"] == "sign_in.ended_elsewhere"]
        assert (line["sessions"], line["is_repeated"]) == (1, False)


async def test_a_service_fetches_tokens_that_the_other_service_takes(
    provider: OidcProvider, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(provider.service_secret)
    client = TokenClient(
        provider.url,
        SERVICE,
        secret_file=tmp_path / "secret",
        scope="feed accounts",
        resource=RESOURCE,
    )
    async with ClientToken(client) as token, HttpClient() as http:
        keys = keys_of(provider.url, None, http)
        verifier = TokenVerifier(provider.url, keys, audience="identity", typed=True)
        caller = await verifier.verify(await token())
    assert (caller.subject, caller.scopes) == (SERVICE, frozenset({"feed", "accounts"}))


async def test_a_service_renews_its_token_there(provider: OidcProvider, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(provider.service_secret)
    client = TokenClient(
        provider.url, SERVICE, secret_file=tmp_path / "secret", scope="feed", resource=RESOURCE
    )
    with described(provider, seconds=2):
        async with ClientToken(client) as token:
            first, began = await token(), time.monotonic()

            async def is_another() -> bool:
                return await token() != first

            await eventually(is_another)
            assert time.monotonic() - began < 5


async def test_a_whole_service_calls_the_other_one_with_such_a_token(
    provider: OidcProvider, site: CounterSite, tmp_path: Path
) -> None:
    """Registration as its settings describe it, without a token file; the other side looks at the token."""
    (tmp_path / "secret").write_text(provider.service_secret)
    port, stopping, given = free_port(), asyncio.Event(), []

    async def feed(request: Request) -> Response:
        given.append(request.headers["authorization"].removeprefix("Bearer "))
        return JSONResponse({"items": [], "position": 0})

    app = Starlette(routes=[Route("/v1/feed", feed)])
    serving = asyncio.create_task(serve(app, LOOPBACK, port, stopping))
    await eventually(lambda: answers(port))
    client = {
        "service_token_file": None,
        "service_client_id": SERVICE,
        "service_client_secret_file": tmp_path / "secret",
        "service_token_scope": "feed",
        "service_token_resource": RESOURCE,
        "identity_url": f"http://{LOOPBACK}:{port}",
    }
    try:
        async with open_service(site.app.service.settings.model_copy(update=client)) as service:
            await service.identity_feed.after(0, limit=1, wait=0)
            await service.identity_feed.after(0, limit=1, wait=0)
    finally:
        stopping.set()
        await serving
    assert len(set(given)) == 1
    async with HttpClient() as http:
        verifier = TokenVerifier(
            provider.url, keys_of(provider.url, None, http), audience="identity", typed=True
        )
        assert (await verifier.verify(given[0])).scopes == frozenset({"feed"})
