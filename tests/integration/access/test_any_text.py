"""Whatever text, number or header a caller sends: a problem that names it, never an error of ours.

Requests are made from the description of every route (OpenAPI) and from the forms of every page. In each, one
value after the other is replaced by one that PostgreSQL, JSON or Python cannot hold.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from tests.support.identity_service import IdentityApp
from tests.support.registration_service import RegistrationApp, registering

SCOPES = "counter feed operator installation accounts login"
NUL = ("\0", "a\0b")
RAW_JSON = (  # not what a JSON library would write
    *('"a\\u0000b"', '"\\ud800"', "1e400", "NaN", "9" * 5000, str(2**63), '"0000-00-00"', "null"),
    "[" * 400 + "]" * 400,
    '{"a":' * 400 + "1" + "}" * 400,
)
RAW_NAMES = ('"\\u0000"', '"\\ud800"', f'"{"x" * 100_000}"')
WHOLE_BODIES = (b"\0", b"\xff\xfe", b"[" * 200_000, b'"\\ud800"', b"1" * 5000, b"{" + b'"a":{' * 50_000)
HEADERS = (
    *("Accept-Language", "X-Correlation-ID", "Idempotency-Key", "Content-Type", "Content-Length", "Cookie"),
    *("Authorization", "Host", "Accept", "X-Forwarded-For"),
)
HEADER_VALUES = (b"a\0b", b"\xff\xfe", b"[", b"nl;q=nan", b"9" * 5000)
NUMBERS = ("9" * 400, str(2**63), str(-(2**63) - 1), "nan", "1e999", "")


@dataclass(frozen=True)
class Operation:
    """One route of an app as OpenAPI describes it, with a request that is well formed."""

    method: str
    path: str
    parameters: dict[tuple[str, str], Any]
    bodies: tuple[Any, ...]

    def address(self, replaced: dict[tuple[str, str], str] | None = None) -> tuple[str, dict[str, str]]:
        """The path and the query, with these parameters replaced."""
        values = {**self.parameters, **(replaced or {})}
        path = self.path
        for (where, name), value in values.items():
            if where == "path":
                path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
        return path, {name: str(value) for (where, name), value in values.items() if where == "query"}


def operations_of(app: FastAPI) -> Iterator[Operation]:
    """Every described route."""
    description = app.openapi()
    for path, methods in description["paths"].items():
        for method, described in methods.items():
            parameters = {
                (each["in"], each["name"]): samples(each["schema"], description)[0]
                for each in (resolved(one, description) for one in described.get("parameters", []))
                if each["in"] in {"path", "query"}
            }
            body = described.get("requestBody", {}).get("content", {}).get("application/json")
            bodies = samples(body["schema"], description) if body else []
            yield Operation(method.upper(), path, parameters, tuple(bodies))


def resolved(described: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    """What is described here, or where it refers to."""
    if "$ref" not in described:
        return described
    found = description
    for name in described["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


PLAIN = {"integer": 1, "number": 1, "boolean": True, "null": None, "string": "a@b"}


def samples(schema: dict[str, Any], description: dict[str, Any]) -> list[Any]:
    """Values as the schema asks for them: one for each of its alternatives."""
    if "$ref" in schema:
        referred = description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return [*referred.get("examples", []), *samples(referred, description)]
    if alternatives := schema.get("oneOf", schema.get("anyOf")):
        return [value for alternative in alternatives for value in samples(alternative, description)]
    if "const" in schema or "enum" in schema:
        return [schema.get("const", schema.get("enum", [None])[0])]
    if schema["type"] == "object":
        return objects(schema, description)
    if schema["type"] == "array":
        return [samples(schema["items"], description)[:1]]
    formats = {"uuid": str(uuid4()), "date": "2025-09-11"}
    return [formats.get(schema.get("format", ""), PLAIN[schema["type"]])]


def objects(schema: dict[str, Any], description: dict[str, Any]) -> list[Any]:
    """One object for each alternative of each member."""
    members = {name: samples(each, description) for name, each in schema.get("properties", {}).items()}
    first = {name: values[0] for name, values in members.items()}
    others = [{**first, name: value} for name, values in members.items() for value in values[1:]]
    return [first, *others]


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every leaf."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from places_in(below, (*path, name))
    else:
        yield path


def with_raw(body: Any, path: tuple[Any, ...], raw: str) -> bytes:
    """The body as JSON, with this text at this place."""
    changed, mark = copy.deepcopy(body), str(uuid4())
    at = changed
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = mark
    return json.dumps(changed).replace(f'"{mark}"', raw).encode()


def with_member(body: dict[str, Any], raw_name: str) -> bytes:
    """The body as JSON, with one member more, which has this name."""
    return f"{json.dumps(body)[:-1]}{', ' if body else ''}{raw_name}: 1}}".encode()


class Caller:
    """Calls an app in this process, with a token that may do everything."""

    def __init__(self, client: httpx2.AsyncClient, known: dict[str, str]) -> None:
        self.client, self._known, self.sent = client, known, 0
        self.faults: list[str] = []

    async def call(
        self,
        operation: Operation,
        replaced: dict[tuple[str, str], str] | None = None,
        content: bytes | None = None,
        headers: dict[bytes, bytes] | None = None,
        *,
        refused: bool = False,
    ) -> httpx2.Response:
        """Send one request; note an error of ours, an error that is no problem, or a missing refusal."""
        known = {where: self._known[where[1]] for where in operation.parameters if where[1] in self._known}
        path, query = operation.address({**known, **(replaced or {})})
        if content is None and operation.bodies:
            content = json.dumps(operation.bodies[0]).encode()
        answer = await self.client.request(
            operation.method,
            path,
            params=query,
            content=content,
            headers={
                b"Content-Type": b"application/json",
                b"Idempotency-Key": str(uuid4()).encode(),
            }
            | (headers or {}),
        )
        self.sent += 1
        asked = f"{operation.method} {operation.path} {replaced} {(content or b'')[:300]!r} {headers}"
        if answer.status_code >= 500:
            self.faults.append(f"{answer.status_code} to {asked}: {answer.text[:500]}")
        elif answer.status_code >= 400 and answer.headers["Content-Type"] != "application/problem+json":
            self.faults.append(f"{answer.headers['Content-Type']} to {asked}")
        elif refused and answer.status_code < 400:
            self.faults.append(f"{answer.status_code} to {asked}")
        return answer


@pytest.fixture
async def callers(
    registration_app: RegistrationApp, identity_app: IdentityApp
) -> dict[str, tuple[FastAPI, Caller]]:
    """Both apps; registration has a guest, and identity an account with an actor."""
    clerk = registration_app.client(scope=SCOPES, sub="identity")
    guest = (await clerk.post("/v1/guests", json=registering())).json()
    accounts = identity_app.client(scope=SCOPES)
    account = await accounts.post(
        "/v1/login-accounts",
        json={
            "username": "nieuw",
            "email": "nieuw@example.org",
            "home_isil": "NL-070288",
            "home_card_number": "0990139399",
        },
    )
    known = {
        "guest_id": guest["guest_id"],
        "actor_id": account.json()["actor_id"],
        "wait": "0",
        "after_position": "0",
    }
    return {
        "registration": (registration_app.app, Caller(clerk, known)),
        "identity": (identity_app.app, Caller(accounts, known)),
    }


SERVICES = pytest.mark.parametrize("service", ["registration", "identity"])
Callers = dict[str, tuple[FastAPI, Caller]]


@SERVICES
async def test_no_text_of_a_body_is_an_error_of_ours(callers: Callers, service: str) -> None:
    app, caller = callers[service]
    for operation in operations_of(app):
        for body in operation.bodies:
            for place in places_in(body):
                for raw in RAW_JSON:
                    content = with_raw(body, place, raw)
                    await caller.call(operation, content=content, refused="\\u0000" in raw)
            for raw_name in RAW_NAMES:
                await caller.call(operation, content=with_member(body, raw_name), refused=True)
        if operation.bodies:
            for whole in WHOLE_BODIES:
                await caller.call(operation, content=whole, refused=True)
    assert caller.sent > 100
    assert caller.faults == []


@SERVICES
async def test_no_text_of_an_address_is_an_error_of_ours(callers: Callers, service: str) -> None:
    app, caller = callers[service]
    for operation in operations_of(app):
        for where in operation.parameters:
            for text in (*NUL, *NUMBERS, "0000-00-00", "\ufffe", "x" * 5000):
                await caller.call(operation, {where: text}, refused=text in NUL)
    assert caller.sent > 100
    assert caller.faults == []


@SERVICES
async def test_no_header_is_an_error_of_ours(callers: Callers, service: str) -> None:
    app, caller = callers[service]
    for operation in operations_of(app):
        for name in HEADERS:
            for value in HEADER_VALUES:
                await caller.call(operation, headers={name.encode(): value})
    assert caller.sent > 100
    assert caller.faults == []


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "m\0visser"},
        {"sub": "m\u202evisser"},
        {"organisation": "10\00001"},
        {"organisation": ["1001\0"]},
        {"sub": "x" * 256},
    ],
    ids=str,
)
@SERVICES
async def test_a_claim_that_cannot_be_stored_is_no_identity(
    callers: Callers,
    registration_app: RegistrationApp,
    identity_app: IdentityApp,
    service: str,
    claims: dict[str, Any],
) -> None:
    app, caller = callers[service]
    called = registration_app if service == "registration" else identity_app
    token = called.signer.token(**({"scope": SCOPES, "organisation": "1001"} | claims))
    async with called.nothing_written():
        for operation in operations_of(app):
            answer = await caller.call(operation, headers={b"Authorization": f"Bearer {token}".encode()})
            assert answer.status_code in {401, 403}, operation.path
