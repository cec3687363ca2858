"""Who may call what: every route has a scope, and that scope keeps all others out (R20)."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts
from joserfc import jwt
from joserfc.jwk import ECKey

from shared.web.security import RequiredScope
from tests.support.registration_service import RegistrationApp, registering
from tests.support.tokens import ISSUER

OPEN = {"/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json"}
SCOPES = {"counter", "feed", "operator", "accounts", "login"}


def scopes_of(dependant: Dependant) -> Iterator[str]:
    if isinstance(dependant.call, RequiredScope):
        yield dependant.call.scope
    for below in dependant.dependencies:
        yield from scopes_of(below)


def routes_of(app: FastAPI) -> Iterator[tuple[str, str, set[str]]]:
    """Method, path and scopes of every route there is."""
    route: RouteContext
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        scopes = set(scopes_of(dependant)) if dependant else set()
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield method, str(route.path), scopes


def test_every_route_has_exactly_one_scope_but_those_of_operators(registration_app: RegistrationApp) -> None:
    found = {path: scopes for _, path, scopes in routes_of(registration_app.app)}
    assert len(found) > 15
    assert {path for path, scopes in found.items() if not scopes} == OPEN
    assert all(len(scopes) == 1 for path, scopes in found.items() if path not in OPEN)
    assert {path for path, scopes in found.items() if scopes == {"feed"}} == {
        path for path in found if path.startswith("/v1/feed")
    }


async def test_every_route_is_closed_without_the_token_and_with_every_other_scope(
    registration_app: RegistrationApp,
) -> None:
    async with registration_app.nothing_written(), registration_app.client() as caller:
        for method, path, scopes in routes_of(registration_app.app):
            if path in OPEN:
                continue
            where = path.replace("{guest_id}", str(uuid4())).replace("{isil}", "NL-070288")
            where = where.replace("{card_number:scanned}", "0990139305")
            others = " ".join(SCOPES - scopes)
            for header, status in (
                (None, 401),
                ("Basic bTpi", 401),
                ("Bearer not-a-token", 401),
                (f"Bearer {registration_app.signer.token(others)}", 403),
            ):
                caller.headers.pop("Authorization", None)
                answer = await caller.request(
                    method, where, headers={"Authorization": header} if header else {}
                )
                assert (method, where, answer.status_code) == (method, where, status)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")
                assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("organisation", [None, [], ["1001", "2002"]])
async def test_every_route_of_the_counter_needs_one_organisation(
    registration_app: RegistrationApp, organisation: object
) -> None:
    token = registration_app.signer.token("counter", organisation)
    counted = 0
    async with registration_app.nothing_written(), registration_app.client(token) as caller:
        for method, path, scopes in routes_of(registration_app.app):
            if scopes == {"counter"}:
                where = path.replace("{guest_id}", str(uuid4())).replace("{isil}", "NL-070288")
                where = where.replace("{card_number:scanned}", "0990139305")
                answer = await caller.request(method, where, headers={"Idempotency-Key": "x"})
                assert (method, where, answer.status_code) == (method, where, 403)
                assert answer.json()["code"] == "no-organisation"
                counted += 1
    assert counted > 12


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def forged(algorithm: str, claims: dict[str, object], secret: bytes = b"") -> str:
    """A token without a signature, or with one by a secret; made by hand, since no library makes it."""
    header = {"alg": algorithm, "kid": "key-1", "typ": "JWT"}
    text = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256')) if secret else ''}"


async def test_tokens_that_prove_nothing(registration_app: RegistrationApp) -> None:
    signer, now = registration_app.signer, int(time.time())
    good = {"iss": ISSUER, "sub": "m", "scope": "counter", "organisation": "1001", "exp": now + 60}
    stranger = ECKey.generate_key("P-256", {"kid": "key-1"})
    head, _, tail = signer.token().partition(".")
    swapped = encoded(json.dumps({**good, "organisation": "2002"}).encode())
    worthless = {
        "unsigned": forged("none", good),
        "unsigned, in other letters": forged("nOnE", good),
        # The public key, which is no secret, as the secret of a symmetric signature.
        "signed with the public key": forged("HS256", good, signer.key.as_pem(private=False)),
        "signed by a stranger": jwt.encode({"alg": "ES256", "kid": "key-1"}, good, stranger),
        "of an unknown key": jwt.encode({"alg": "ES256", "kid": "key-2"}, good, stranger),
        "changed": ".".join((head, swapped, tail.partition(".")[2])),
        "expired": signer.token(exp=now - 1),
        "of no end": signer.token(exp=None),
        "not yet good": signer.token(nbf=now + 60),
        "of another issuer": signer.token(iss="https://elsewhere.example"),
        "of nobody": signer.token(sub=""),
        "of a number": signer.token(sub=7),
        "of a list of scopes": signer.token(scope=["counter"]),
        "of a numeric organisation": signer.token(organisation=1001),
        "endless": "a" * 10_000,
    }
    for kind, token in worthless.items():
        async with registration_app.client(token) as caller, registration_app.nothing_written():
            answer = await caller.post("/v1/guests", json=registering())
        assert (kind, answer.status_code) == (kind, 401)
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


async def test_a_clerk_of_no_organisation_has_no_guests(registration_app: RegistrationApp) -> None:
    async with registration_app.client(organisation=None) as caller, registration_app.nothing_written():
        answer = await caller.post("/v1/guests", json=registering())
    assert (answer.status_code, answer.json()["code"]) == (403, "no-organisation")


async def test_a_new_key_of_the_issuer_is_read_when_it_is_first_seen(
    registration_app: RegistrationApp, clerk: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await clerk.get("/v1/subscriptions")).status_code == 200
    old = registration_app.signer.token()
    registration_app.signer.rotate("key-2")
    monkeypatch.setattr(registration_app.service.token_keys, "_min_interval", 0.0)
    for token, status in ((registration_app.signer.token(), 200), (old, 401)):
        async with registration_app.client(token) as caller:
            assert (await caller.get("/v1/subscriptions")).status_code == status


async def test_without_any_key_nobody_is_refused_as_a_stranger(registration_app: RegistrationApp) -> None:
    registration_app.signer.jwks.unlink()
    async with registration_app.client() as caller:
        answer = await caller.get("/v1/subscriptions")
        ready = await caller.get("/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "sign-in-unavailable")
    assert (ready.status_code, ready.json()["checks"]["token_keys"]) == (503, "KeysUnavailable")
