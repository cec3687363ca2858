"""Sign-in at a provider that knows nothing of us: groups, no claims of ours, a client secret, errors."""

import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from infra.local.issuer import Issuer, Person
from infra.local.postgres import Postgres
from registration.adapters.staff_sessions import KEEP_LOGOUT_TOKENS
from registration.adapters.tables import SCHEMA
from registration.bootstrap import sign_in_of
from registration.counter_ui.sign_in_client import SignInFailed
from shared.web.id_tokens import LOGOUT_EVENT
from shared.web.security import JwksKeys
from tests.support.counter_pages import CLIENT_ID, CounterSite, open_counter_site
from tests.support.servers import Databases

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET = "a+b/c=d%25:é &~*"
GROUPS = """
[groups."Balie Drenthe"]
scopes = ["counter"]
organisations = ["1001"]

[groups.beheer]
scopes = ["operator", "installation"]
"""
OURS: dict[str, Any] = {"scope": None, "organisation": None, "name": None}


class Foreign(Issuer):
    """A provider with a client secret (RFC 6749 section 2.3.1, to the letter), without our claims."""

    says: ClassVar[dict[str, Any]] = {}
    userinfo: ClassVar[dict[str, Any]] = {}
    discovery: ClassVar[dict[str, Any]] = {}
    more_keys: ClassVar[list[Any]] = []
    token_error: ClassVar[dict[str, Any]] = {}

    def claims(self, person: Person, nonce: str | None) -> dict[str, Any]:
        given = super().claims(person, nonce) | OURS | {"person": {"label": person.name}} | self.says
        return {name: value for name, value in given.items() if value is not None}

    def app(self) -> Starlette:
        app = super().app()
        app.router.routes.insert(0, Route("/userinfo", self._userinfo))
        return app

    async def _userinfo(self, _request: Request) -> Response:
        return JSONResponse(self.userinfo)

    async def _discovery(self, request: Request) -> Response:
        page = json.loads(bytes((await super()._discovery(request)).body))
        methods = {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}
        return JSONResponse(page | methods | self.discovery)

    async def _jwks(self, request: Request) -> Response:
        page = json.loads(bytes((await super()._jwks(request)).body))
        return JSONResponse({"keys": [*self.more_keys, *page["keys"]]})

    async def _token(self, request: Request) -> Response:
        form = dict(await request.form())
        if self.token_error:
            return JSONResponse(self.token_error, 400)
        if "client_secret_post" in str(self.discovery):
            known = (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, SECRET)
        else:
            given = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
            name, _, secret = given.partition(":")
            known = (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, SECRET)
        if not known:
            described = "the client m.visser@biblionet.nl sent 'a secret' that is wrong"
            return JSONResponse({"error": "invalid_client", "error_description": described}, 401)
        request._form = _WithClient(form)  # type: ignore[assignment]
        return await super()._token(request)


class _WithClient(dict[str, Any]):
    def __init__(self, form: dict[str, Any]) -> None:
        super().__init__(form | {"client_id": CLIENT_ID})


@contextmanager
def provider(**changed: Any) -> Iterator[None]:
    """Inside the block the provider is like this."""
    before = {name: getattr(Foreign, name) for name in changed}
    for name, value in changed.items():
        setattr(Foreign, name, value)
    yield
    for name, value in before.items():
        setattr(Foreign, name, value)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CounterSite]:
    """A counter whose staff sign in there."""
    folder, databases = tmp_path_factory.mktemp("foreign"), Databases(postgres)
    (folder / "secret").write_text(SECRET + "\n", "utf-8")
    (folder / "groups.toml").write_text(GROUPS, "utf-8")
    async with open_counter_site(
        databases(scripts=SCHEMA),
        folder,
        Foreign,
        oidc_client_secret_file=folder / "secret",
        oidc_groups=folder / "groups.toml",
        oidc_name_claim="person.label",
        oidc_groups_claim="realm_access.roles",
    ) as opened:
        yield opened
    databases.drop_all()


def roles(*names: object) -> dict[str, Any]:
    return {"realm_access": {"roles": list(names)}}


async def signs_in(site: CounterSite, client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.get(await site.come_back(await client.get("/aanmelden")))


async def failed(site: CounterSite) -> tuple[str, str, str]:
    """Sign in without success: the page, and of the line in the log the code and the reason."""
    with capture_logs() as lines:
        async with site.visitor() as client:
            answer = await signs_in(site, client)
            assert answer.status_code in {400, 503}
            assert (await client.get("/")).status_code == 303
    [line] = [line for line in lines if line["event"] == "sign_in.failed"]
    assert "Kenmerk" in answer.text
    return answer.text, line["code"], line["reason"]


async def test_r20_groups_stand_for_scopes_and_organisations_and_a_secret_may_hold_any_character(
    site: CounterSite,
) -> None:
    with provider(says=roles("Balie Drenthe", "beheer", "unknown")):
        async with site.visitor() as client:
            assert (await signs_in(site, client)).status_code == 303
            page = (await client.get("/")).text
            assert (await client.get("/beheer")).status_code == 200
    assert "Marijke Visser" in page
    assert "Biblionet Drenthe" in page


async def test_r20_a_token_for_the_api_is_read_by_the_same_names(site: CounterSite) -> None:
    for given, status in (({}, 200), ({"realm_access": {}}, 403), ({"realm_access": {"roles": [7]}}, 401)):
        claims = {"iss": site.issuer.url, **roles("Balie Drenthe"), **given}
        async with site.app.client(scope="openid profile", organisation=None, **claims) as caller:
            assert (await caller.get("/v1/subscriptions")).status_code == status


async def test_a_provider_that_takes_the_secret_in_the_form_only_gets_it_there(site: CounterSite) -> None:
    with provider(
        says=roles("Balie Drenthe"),
        discovery={"token_endpoint_auth_methods_supported": ["client_secret_post"]},
    ):
        await forget_discovery(site)
        async with site.visitor() as client:
            assert (await signs_in(site, client)).status_code == 303
        await sign_in_of(site.app.service.settings).ready()
    await forget_discovery(site)


async def forget_discovery(site: CounterSite) -> None:
    client = site.app.app.state.sign_in._client
    client.server_metadata.clear()
    client.new_keys()


async def test_a_key_that_cannot_be_read_spoils_no_sign_in(site: CounterSite) -> None:
    await forget_discovery(site)
    odd = [{"kty": "unknown", "kid": "x"}, {"kty": "EC", "crv": "P-1024", "x": "AA", "y": "AA"}, None]
    with provider(says=roles("Balie Drenthe"), more_keys=odd):
        async with site.visitor() as client:
            assert (await signs_in(site, client)).status_code == 303


@pytest.mark.parametrize(
    ("says", "names"),
    [
        ({}, "the claim organisation is missing or empty"),
        ({"organisation": "1001"}, "the claim scope is missing or empty"),
        ({"organisation": "1001", "scope": ["counter"]}, "the claim scope is an array; it must be one text"),
        ({"organisation": 1001, "scope": "counter"}, "the claim organisation is a number"),
        ({"organisation": ["1001", None], "scope": "counter"}, "the claim organisation is an array"),
        ({"organisation": ["1001", "2002"], "scope": "counter"}, "2 organisations"),
        (roles("unknown"), "OIDC_GROUPS says nothing of the groups in realm_access.roles"),
        ({"realm_access": {"roles": {"a": 1}}}, "the claim realm_access.roles is an object"),
        ({**roles("Balie Drenthe"), "person": ["Marijke Visser"]}, "the claim person.label is missing"),
        ({**roles("Balie Drenthe"), "person": {"label": 7}}, "the claim person.label is a number"),
        ({**roles("Balie Drenthe"), "sub": "m\0visser"}, "the claim sub must have 1 to 255"),
    ],
)
async def test_the_log_names_the_claim_and_the_clerk_hears_what_to_do(
    site: CounterSite, says: dict[str, Any], names: str
) -> None:
    with provider(says=says):
        page, code, reason = await failed(site)
    assert code == "sign-in-incomplete"
    assert names in reason
    assert "Marijke" not in reason
    assert "Vraag een beheerder om uw account in te stellen" in page


async def test_what_the_id_token_lacks_is_asked_at_the_userinfo_endpoint(site: CounterSite) -> None:
    endpoint = {"userinfo_endpoint": f"{site.issuer.url}/userinfo"}
    with provider(discovery=endpoint, userinfo={"sub": "m.visser", **roles("Balie Drenthe")}):
        await forget_discovery(site)
        async with site.visitor() as client:
            assert (await signs_in(site, client)).status_code == 303
    with provider(discovery=endpoint, userinfo={"sub": "another", **roles("Balie Drenthe")}):
        assert "about another sub" in (await failed(site))[2]
    await forget_discovery(site)


SAID = "m.visser@biblionet.nl, 03-02-1980, card 0990139305, has 'Marijke Visser' as name: no access to realm"


@pytest.mark.parametrize(
    ("error", "code", "advice"),
    [
        ("access_denied", "sign-in-refused", "vraag dan een beheerder om toegang"),
        ("invalid_scope", "sign-in-misconfigured", "Opnieuw proberen helpt niet"),
        ("temporarily_unavailable", "sign-in-unavailable", "Wacht even"),
    ],
)
async def test_an_error_of_the_provider_is_in_the_log_without_personal_data(
    site: CounterSite, error: str, code: str, advice: str
) -> None:
    with capture_logs() as lines:
        async with site.visitor() as client:
            leaving = (await client.get("/aanmelden")).headers["location"]
            state = parse_qs(urlsplit(leaving).query)["state"][0]
            asked = {"error": error, "error_description": SAID + " x" * 2500, "state": state}
            answer = await client.get(f"/aanmelden/terug?{urlencode(asked)}")
            again = await client.get(f"/aanmelden/terug?{urlencode(asked)}")
    first, second = [line for line in lines if line["event"] == "sign_in.failed"]
    assert first["code"] == code
    assert f"answered {error}: " in first["reason"]
    assert "no access to realm" in first["reason"]
    assert len(first["reason"]) < 700
    for personal in ("biblionet", "1980", "0990139305", "Marijke"):
        assert personal not in first["reason"]
    assert advice in answer.text
    assert "biblionet" not in answer.text
    assert (again.status_code, second["code"]) == (400, "sign-in-failed")
    assert error not in second["reason"], "anybody may have written an address with another state"


async def test_what_the_token_endpoint_refuses_is_in_the_log(site: CounterSite) -> None:
    with provider(token_error={"error": "invalid_scope", "error_description": f"not {SECRET} \x1b[31m"}):
        _page, code, reason = await failed(site)
    assert (code, "answered invalid_scope: not … \\x1b[31m" in reason) == ("sign-in-misconfigured", True)
    with provider(token_error={"error": {"a": 1}, "error_description": ["b"]}):
        assert (await failed(site))[1] == "sign-in-misconfigured"


async def test_an_issuer_with_a_stray_slash_is_told_to_clerk_log_and_doctor(site: CounterSite) -> None:
    stray = site.issuer.url + "/"
    settings = site.app.service.settings.model_copy(update={"oidc_issuer": stray})
    service = sign_in_of(settings)
    with pytest.raises(SignInFailed) as raised:
        await service.ready()
    for named in (f"OIDC_ISSUER is {stray},", f"calls itself {site.issuer.url}:"):
        assert named in str(raised.value)
    state = site.app.app.state
    before, state.sign_in = state.sign_in, service  # monkeypatch would not put it back
    try:
        with capture_logs() as lines:
            async with site.visitor() as client:
                answer = await client.get("/aanmelden")
    finally:
        state.sign_in = before
    assert (answer.status_code, "Geef het kenmerk hieronder aan een beheerder" in answer.text) == (503, True)
    assert [line["reason"] for line in lines if line["event"] == "sign_in.failed"] == [str(raised.value)]


async def test_the_doctor_signs_in_but_for_the_person(site: CounterSite) -> None:
    settings = site.app.service.settings
    await sign_in_of(settings).ready()
    assert settings.oidc_client_secret_file is not None
    other = settings.oidc_client_secret_file.with_name("other")
    other.write_text("another secret", "utf-8")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"oidc_client_secret_file": other}, "answered invalid_client: "),
        ({"oidc_client_id": "unknown"}, "answered 400: does it know the client unknown"),
        (
            {"counter_url": "https://elsewhere.example"},
            "redirect URI https://elsewhere.example/aanmelden/terug",
        ),
    ]
    for change, named in wrong:
        with pytest.raises(SignInFailed) as raised:
            await sign_in_of(settings.model_copy(update=change)).ready()
        assert named in str(raised.value)
        assert "visser" not in str(raised.value)
    for change, named in (
        ({"jwks_uri": f"{site.issuer.url}/nothing"}, "answered 404"),
        ({"token_endpoint": None}, "token_endpoint: "),
        ({"authorization_endpoint": f"{site.issuer.url}/nothing"}, "answered 404"),
    ):
        with provider(discovery=change), pytest.raises(SignInFailed) as raised:
            await sign_in_of(settings).ready()
        assert named in str(raised.value)


async def test_a_token_that_does_not_count_is_explained_in_the_log(site: CounterSite) -> None:
    with capture_logs() as lines:
        for claims in ({"iss": site.issuer.url + "/"}, {"iss": site.issuer.url, "aud": "another"}):
            async with site.app.client(**claims) as caller:
                assert (await caller.get("/v1/subscriptions")).status_code == 401
    reasons = [line["reason"] for line in lines if line["event"] == "token.refused"]
    assert f"OIDC_ISSUER is {site.issuer.url}, but" in reasons[0]
    assert f"calls itself {site.issuer.url}/" in reasons[0]
    assert reasons[1] == "the claim aud is wrong"


def logout_token(site: CounterSite, key: Any = None, **changed: Any) -> str:
    """What the provider sends when a person signed out there; `changed` overrides claims."""
    now, key = int(time.time()), key or site.app.signer.key
    claims = {"iss": site.issuer.url, "aud": CLIENT_ID, "sub": "m.visser", "iat": now, "exp": now + 120}
    claims |= {"jti": str(uuid4()), "events": {LOGOUT_EVENT: {}}} | changed
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"alg": "ES256", "kid": site.app.signer.key.kid, "typ": "logout+jwt"}, claims, key)


async def told(site: CounterSite, token: str) -> httpx2.Response:
    async with site.visitor() as provider_itself:
        answer = await provider_itself.sends("/aanmelden/einde", data={"logout_token": token})
    assert answer.headers["cache-control"] == "no-store"
    return answer


async def is_signed_in(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/")).status_code == 200


async def test_a_sign_out_at_the_provider_ends_the_session_and_a_repeated_message_ends_no_later_one(
    site: CounterSite,
) -> None:
    token = logout_token(site)
    with provider(says=roles("Balie Drenthe")):
        async with site.visitor() as client:
            await signs_in(site, client)
            assert await is_signed_in(client)
            assert (await told(site, logout_token(site, sub="another"))).status_code == 200
            assert await is_signed_in(client)
            assert (await told(site, token)).status_code == 200
            assert not await is_signed_in(client)
            await signs_in(site, client)
            assert (await told(site, token)).status_code == 200
            assert await is_signed_in(client)


async def test_a_session_of_the_provider_ends_alone(site: CounterSite) -> None:
    async with site.visitor() as one, site.visitor() as other:
        for client, session in ((one, "s-1"), (other, "s-2")):
            with provider(says=roles("Balie Drenthe") | {"sid": session}):
                await signs_in(site, client)
        await told(site, logout_token(site, sid="s-1"))
        assert (await is_signed_in(one), await is_signed_in(other)) == (False, True)
        await told(site, logout_token(site, sid="s-2", sub=None))
        assert not await is_signed_in(other)


async def test_a_message_that_does_not_count_ends_nothing(
    site: CounterSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = [
        "",
        "no token",
        "x" * 10_000,
        logout_token(site, ECKey.generate_key("P-256")),
        logout_token(site, iss="https://another.example"),
        logout_token(site, aud="another"),
        logout_token(site, events={}),
        logout_token(site, jti=None),
        logout_token(site, nonce="n"),
        logout_token(site, sub=7),
        logout_token(site, sub=None),
        logout_token(site, iat=int(time.time()) - 1000),
    ]
    with provider(says=roles("Balie Drenthe")):
        async with site.visitor() as client:
            await signs_in(site, client)
            with capture_logs() as lines:
                for token in wrong:
                    answer = await told(site, token)
                    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
                monkeypatch.setattr(site.app.app.state.sign_in._client, "keys", JwksKeys(nothing))
                assert (await told(site, logout_token(site))).status_code == 503
            assert await is_signed_in(client)
    assert "m.visser" not in str(lines)


async def nothing() -> dict[str, Any]:
    raise ValueError("it says nothing")


async def test_old_messages_are_forgotten(site: CounterSite, monkeypatch: pytest.MonkeyPatch) -> None:
    await told(site, logout_token(site))
    service, count = site.app.service, "SELECT count(*) FROM logout_tokens"
    assert await service.pool.fetchval(count) > 0
    later = site.app.clock.moment + KEEP_LOGOUT_TOKENS
    monkeypatch.setattr(site.app.clock, "moment", later)
    await service.staff_sessions.forget_old(365)
    assert await service.pool.fetchval(count) == 0
