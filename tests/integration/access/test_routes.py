"""Who may call what: each route has a row here, and every other caller is refused (R20)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts

from identity.adapters.tables import SCHEMA as IDENTITYS_SCHEMA
from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from shared.web.security import RequiredScope
from tests.integration.access.tokens import FAULTS, Fault
from tests.support.identity_service import IdentityApp, login, open_identity_app
from tests.support.registration_service import RegistrationApp, open_registration_app, registering
from tests.support.routes import called_in_a_thread, dependants_of
from tests.support.servers import Databases
from tests.support.tokens import Signer

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCOPES = {"counter", "feed", "operator", "installation", "accounts", "login", "metrics"}
ONE = "one organisation"
"""The claim `organisation` must name one: the route acts for that one only."""
OWN = "an own organisation"
"""The claim `organisation` must hold the organisation of what is asked for."""
OWN_OR_ALL = "an own organisation, or the scope `installation`"
ANY = "no organisation"
"""The route belongs to no organisation."""
IDENTITY_ONLY = "no organisation, and the subject of identity"
OPEN = "everybody"


@dataclass(frozen=True)
class Rule:
    """Who may call a route: a token with one of these scopes, and what its organisation must be."""

    scopes: frozenset[str]
    organisation: str


def rule(organisation: str, *scopes: str) -> Rule:
    """A row of the table."""
    return Rule(frozenset(scopes), organisation)


OPERATIONS = {
    "GET /health/live": rule(OPEN),
    "GET /health/ready": rule(OPEN),
    "GET /metrics": rule(ANY, "metrics"),
    "GET /docs": rule(OPEN),
    "GET /docs/operations": rule(OPEN),
    "GET /openapi.json": rule(OPEN),
    "GET /openapi.operations.json": rule(OPEN),
    "GET /asyncapi.yaml": rule(OPEN),
    "GET /v1/feed": rule(ANY, "feed"),
    "GET /v1/feed/guests/{guest_id}": rule(ANY, "feed"),
    "GET /v1/operations": rule(ANY, "operator", "installation"),
    "GET /v1/operations/views/{name}": rule(ANY, "operator", "installation"),
    "POST /v1/operations/views/{name}/rebuild": rule(ANY, "installation"),
    "GET /v1/operations/parked/{guest_id}": rule(ANY, "installation"),
    "POST /v1/operations/parked/{guest_id}/retry": rule(ANY, "installation"),
    "POST /v1/operations/parked/{guest_id}/discard": rule(ANY, "installation"),
    "GET /v1/operations/guests/{guest_id}/events": rule(ANY, "installation"),
    "GET /v1/operations/configuration": rule(ANY, "operator", "installation"),
    "POST /v1/operations/configuration/reload": rule(ANY, "installation"),
}
REGISTRATION = OPERATIONS | {
    "GET /v1/feed/registrations": rule(ANY, "feed"),
    "GET /v1/feed/birth-dates": rule(IDENTITY_ONLY, "feed"),
    "GET /v1/feed/guests/{guest_id}/home-library": rule(IDENTITY_ONLY, "feed"),
    "GET /v1/feed/own-library": rule(IDENTITY_ONLY, "feed"),
    "GET /v1/feed/guests/{guest_id}/new-account": rule(IDENTITY_ONLY, "feed"),
    "GET /v1/guests": rule(ONE, "counter"),
    "POST /v1/guests": rule(ONE, "counter"),
    "GET /v1/guests/{guest_id}": rule(ONE, "counter"),
    "GET /v1/guests/{guest_id}/history": rule(ONE, "counter"),
    "POST /v1/guests/{guest_id}/home-check": rule(ONE, "counter"),
    "POST /v1/guests/{guest_id}/reregistration": rule(ONE, "counter"),
    "PUT /v1/guests/{guest_id}/preferences": rule(ONE, "counter"),
    "POST /v1/guests/{guest_id}/deregistration": rule(ONE, "counter"),
    "POST /v1/guests/{guest_id}/card-chip": rule(ONE, "counter"),
    "GET /v1/guests/{guest_id}/login-account": rule(ONE, "counter"),
    "POST /v1/guests/{guest_id}/merge": rule(ONE, "counter"),
    "POST /v1/guests/{guest_id}/login-account": rule(ONE, "counter"),
    "POST /v1/guests/{guest_id}/login-account/removal": rule(ONE, "counter"),
    "DELETE /v1/guests/{guest_id}/login-account": rule(ONE, "counter"),
    "GET /v1/guests/{guest_id}/actor-merge": rule(ONE, "counter", "accounts"),
    "POST /v1/guests/{guest_id}/actor-merge": rule(ONE, "counter", "accounts"),
    "DELETE /v1/guests/{guest_id}/personal-data": rule(OWN_OR_ALL, "operator", "installation"),
    "GET /v1/login-accounts": rule(ONE, "counter"),
    "GET /v1/home-libraries": rule(ONE, "counter"),
    "GET /v1/home-patrons/{isil}/{card_number:scanned}": rule(ONE, "counter"),
    "GET /v1/subscriptions": rule(ONE, "counter"),
    "GET /v1/operations/nightly-checks": rule(ANY, "operator", "installation"),
    "POST /v1/operations/nightly-checks": rule(ANY, "installation"),
    "GET /v1/operations/home-libraries": rule(ANY, "operator", "installation"),
    "POST /v1/operations/home-libraries/{isil}/probe": rule(ANY, "installation"),
    "POST /v1/operations/lookups": rule(ONE, "operator"),
    "POST /v1/operations/card-prefixes/check": rule(ANY, "installation"),
    "PUT /v1/operations/card-prefixes": rule(ANY, "installation"),
    "GET /v1/operations/card-prefixes/imports": rule(ANY, "operator", "installation"),
    "GET /v1/operations/webhooks": rule(ANY, "operator", "installation"),
    "GET /v1/operations/webhooks/{name}": rule(ANY, "installation"),
    "POST /v1/operations/webhooks/{name}/resume": rule(ANY, "installation"),
    "POST /v1/operations/webhooks/{name}/guests/{guest_id}/retry": rule(ANY, "installation"),
    "POST /v1/operations/webhooks/{name}/guests/{guest_id}/skip": rule(ANY, "installation"),
}
IDENTITY = OPERATIONS | {
    "POST /v1/logins": rule(OWN, "login"),
    "GET /v1/login-accounts": rule(ANY, "accounts"),
    "POST /v1/login-accounts": rule(ANY, "accounts"),
    "GET /v1/login-accounts/{account_id}": rule(ANY, "accounts"),
    "POST /v1/login-accounts/names": rule(ANY, "accounts"),
    "POST /v1/login-accounts/with-username": rule(ANY, "accounts"),
    "GET /v1/actors/{actor_id}": rule(ANY, "accounts"),
    "POST /v1/actors/{actor_id}/merge": rule(ANY, "accounts"),
}


def routes_of(app: FastAPI) -> Iterator[tuple[str, Rule]]:
    """Every route of an app with the scopes that its code asks for; the organisation stands in the table."""
    route: RouteContext
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        scopes = frozenset(_scopes_of(dependant)) if dependant else frozenset()
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield f"{method} {route.path}", Rule(scopes, "")


def _scopes_of(dependant: Dependant) -> Iterator[str]:
    for below in dependants_of(dependant):
        if isinstance(below.call, RequiredScope):
            yield from below.call.scopes


@dataclass(frozen=True)
class Called:
    """A service and its table."""

    app: RegistrationApp | IdentityApp
    table: dict[str, Rule]

    @property
    def signer(self) -> Signer:
        """Its sign-in service."""
        return self.app.signer

    async def call(self, route: str, header: str | None, **body: Any) -> httpx2.Response:
        """Call a route with this `Authorization`. Ids in its path are of nobody."""
        method, _, path = route.partition(" ")
        for name, value in IDS.items():
            path = path.replace(name, value)
        headers = {"Idempotency-Key": str(uuid4())} | ({} if header is None else {"Authorization": header})
        transport = httpx2.ASGITransport(self.app.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, headers=headers, **body)


IDS = {
    "{guest_id}": str(uuid4()),
    "{actor_id}": str(uuid4()),
    "{account_id}": "acc-nobody",
    "{isil}": "NL-070288",
    "{name}": "history",
    "{card_number:scanned}": "0990139305",
}
SERVICES = ("registration", "identity")
CASES = [
    *(("registration", route) for route in REGISTRATION),
    *(("identity", route) for route in IDENTITY),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Called]]:
    """Both services, by name; once for all of these tests, which change nothing but what they made."""
    databases, folder = Databases(postgres), tmp_path_factory.mktemp("routes")
    async with (
        open_registration_app(databases(scripts=SCHEMA), folder) as registration,
        open_identity_app(
            databases(scripts=IDENTITYS_SCHEMA), folder, signer=registration.signer
        ) as identity,
    ):
        yield {
            "registration": Called(registration, REGISTRATION),
            "identity": Called(identity, IDENTITY),
        }
    databases.drop_all()


@pytest.mark.parametrize("service", SERVICES)
async def test_r20_every_route_has_a_row_and_asks_for_the_scope_that_it_says(
    services: dict[str, Called], service: str
) -> None:
    called = services[service]
    found = {route: rule.scopes for route, rule in routes_of(called.app.app)}
    assert found == {route: rule.scopes for route, rule in called.table.items()}


@pytest.mark.parametrize("service", SERVICES)
async def test_no_route_waits_for_a_thread(services: dict[str, Called], service: str) -> None:
    found = [
        getattr(route, "dependant", None) for route in iter_route_contexts(services[service].app.app.routes)
    ]
    assert {name for dependant in found if dependant for name in called_in_a_thread(dependant)} == set()


async def must_be(
    called: Called, cases: Sequence[tuple[str, str | None]], status: int, codes: set[str]
) -> None:
    """Every case (route, header) is refused with this status, and nothing is written."""
    async with called.app.nothing_written():
        for route, header in cases:
            answer = await called.call(route, header)
            assert (route, header, answer.status_code) == (route, header, status), answer.text
            assert answer.json()["code"] in codes
            assert answer.headers["Content-Type"] == "application/problem+json"
            if status == 401:
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_r20_no_route_takes_a_token_that_proves_nothing(
    services: dict[str, Called], service: str, fault: Fault
) -> None:
    called = services[service]
    cases = [
        (route, fault.header(called.signer, service, " ".join(rule.scopes), ["1001"]))
        for route, rule in called.table.items()
        if rule.organisation != OPEN
    ]
    assert len(cases) > 6
    await must_be(called, cases, 401, {"unauthenticated"})


@pytest.mark.parametrize("service", SERVICES)
async def test_r20_no_route_takes_another_scope(services: dict[str, Called], service: str) -> None:
    called = services[service]
    cases: list[tuple[str, str | None]] = [
        (route, f"Bearer {called.signer.token(other, '1001')}")
        for route, rule in called.table.items()
        if rule.organisation != OPEN
        for other in (*sorted(SCOPES - rule.scopes), "", " ".join(SCOPES - rule.scopes))
    ]
    await must_be(called, cases, 403, {"wrong-scope"})


@pytest.mark.parametrize("scope", ["counter", "accounts"])
async def test_r20_who_merges_actors_works_at_the_counter_and_has_the_scope_accounts(
    services: dict[str, Called], scope: str
) -> None:
    called = services["registration"]
    cases: list[tuple[str, str | None]] = [
        (route, f"Bearer {called.signer.token(scope, '1001')}")
        for route in called.table
        if route.endswith("/actor-merge")
    ]
    assert len(cases) == 2
    await must_be(called, cases, 403, {"wrong-scope"})


@pytest.mark.parametrize("organisation", [None, [], ["1001", "2002"]], ids=str)
async def test_r20_a_route_of_one_organisation_takes_no_token_of_none_or_of_several(
    services: dict[str, Called], organisation: object
) -> None:
    called = services["registration"]
    cases: list[tuple[str, str | None]] = [
        (route, f"Bearer {called.signer.token(' '.join(rule.scopes), organisation)}")
        for route, rule in called.table.items()
        if rule.organisation == ONE
    ]
    assert len(cases) > 12
    await must_be(called, cases, 403, {"no-organisation"})


async def test_r20_what_is_for_identity_is_for_no_other_reader_of_the_feed(
    services: dict[str, Called],
) -> None:
    called = services["registration"]
    cases: list[tuple[str, str | None]] = [
        (route, f"Bearer {called.signer.token('feed', None, sub)}")
        for route, rule in called.table.items()
        if rule.organisation == IDENTITY_ONLY
        for sub in ("feed-reader", "Identity", "identity ", "registration")
    ]
    assert len(cases) == 16
    await must_be(called, cases, 403, {"not-identity"})


GUESTS = [
    route
    for route, rule in REGISTRATION.items()
    if "{guest_id}" in route and rule.organisation in {ONE, OWN_OR_ALL}
]
BODIES: dict[str, Any] = {
    "reregistration": {"patron_type": "346"},
    "deregistration": {"reason": "vergissing"},
    "card-chip": {"card_has_chip": False, "reason": "vergissing"},
    "preferences": {"lending_history": True},
    "merge": {"into": str(uuid4()), "confirm": True},
    "DELETE login-account": {"reason": "vergissing"},
    "removal": {"reason": "vergissing"},
    "POST actor-merge": {"reason": "had al ingelogd"},
    "POST login-account": {"choice": "existing", "account_id": "acc-jan"},
}


def _body(route: str) -> dict[str, Any]:
    method, last = route.split(" ", maxsplit=1)[0], route.rpartition("/")[2]
    body = BODIES.get(last, BODIES.get(f"{method} {last}"))
    return {} if body is None else {"json": body}


@pytest.mark.parametrize("route", GUESTS)
async def test_r20_another_organisations_guest_is_not_found_and_not_changed(
    services: dict[str, Called], route: str
) -> None:
    called, card = services["registration"], f"0660{GUESTS.index(route):06d}"
    assert isinstance(called.app, RegistrationApp)
    called.app.member(card)
    async with called.app.client() as clerk:
        guest_id = (await clerk.post("/v1/guests", json=registering(card))).json()["guest_id"]
        before = (await clerk.get(f"/v1/guests/{guest_id}")).json()
        token = called.signer.token("counter operator accounts", "2002")
        async with called.app.nothing_written():
            where = route.replace("{guest_id}", guest_id)
            answer = await called.call(where, f"Bearer {token}", **_body(route))
        assert (answer.status_code, answer.json()["code"]) == (404, "guest-not-found"), answer.text
        assert (await clerk.get(f"/v1/guests/{guest_id}")).json() == before


async def test_r20_a_catalogue_of_another_organisation_learns_and_writes_nothing(
    services: dict[str, Called],
) -> None:
    called = services["identity"]
    async with called.app.nothing_written():
        for organisation in ([], ["2002"], ["2002", "3003"], None):
            token = called.signer.token("login", organisation)
            answer = await called.call("POST /v1/logins", f"Bearer {token}", json=login("jan", "1001"))
            assert (answer.status_code, answer.json()["code"]) == (403, "wrong-organisation")
