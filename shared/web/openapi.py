"""The description of a service's API (OpenAPI 3.1): what FastAPI knows of each route, and what all have.

There are two documents: `/openapi.json` for counters, catalogues and readers of the feed, and OPERATORS_PATH
for operators. A client that is generated from one holds nothing of the other.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts
from typing_extensions import TypeAliasType

from shared.web.idempotency import idempotent_write
from shared.web.problem_handlers import PROBLEM, PROBLEM_SCHEMAS
from shared.web.problems import MEDIA_TYPE
from shared.web.security import RequiredScope, TokenVerifier

JsonSchema = dict[str, Any]

Fields = TypeAliasType("Fields", dict[str, Any])
"""Members that differ by type, such as those of an event. One name, so one class in a generated client."""

OPERATORS_PATH = "/openapi.operations.json"
OPERATIONS_PREFIX = "/v1/operations"
OPEN_ID_CONNECT = "openIdConnect"
BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class Documents:
    """The two descriptions of one service."""

    public: JsonSchema
    operators: JsonSchema


class DescribedApp(FastAPI):
    """An app whose `openapi()` also has scopes, headers and the problems that every route can have."""

    def __init__(self, *, contact: str | None, **settings: Any) -> None:
        super().__init__(
            separate_input_output_schemas=False,
            license_info={"name": "MIT", "identifier": "MIT"},
            servers=[{"url": "/", "description": "The service that this document is read from"}],
            generate_unique_id_function=lambda route: camel_case(route.name),
            **settings,
        )
        self._contact = contact
        self._described: tuple[JsonSchema, Documents] | None = None

    def documents(self) -> Documents:
        """Return both documents. They are made once."""
        raw = super().openapi()
        if self._described is None or self._described[0] is not raw:
            verifier: TokenVerifier = self.state.token_verifier
            routes = iter_route_contexts(self.routes)
            self._described = raw, describe(raw, routes, verifier.issuer, self._contact)
        return self._described[1]

    def openapi(self) -> JsonSchema:
        """Return the document of `/openapi.json`."""
        return self.documents().public


def camel_case(name: str) -> str:
    """Return the id of an operation for the name of its function: `register_guest` -> `registerGuest`."""
    first, *others = name.strip("_").split("_")
    return first + "".join(part.capitalize() for part in others)


def describe(raw: JsonSchema, routes: Iterator[RouteContext], issuer: str, contact: str | None) -> Documents:
    """Return the documents that FastAPI's own one becomes. `issuer` is who signs the tokens."""
    document = copy.deepcopy(raw)
    # Not by FastAPI, which asks for one more package to look at an e-mail address.
    document["info"]["contact"] = _contact(contact)
    document["externalDocs"] = {"url": "/asyncapi.yaml", "description": "The messages (AsyncAPI)"}
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(PROBLEM_SCHEMAS)
    components |= {"securitySchemes": _schemes(issuer), "headers": _HEADERS, "parameters": _PARAMETERS}
    for route in routes:
        dependant = getattr(route, "dependant", None)
        operations = document["paths"].get(route.path_format, {})
        for method in sorted(route.methods or ()):
            if dependant is not None and (operation := operations.get(method.lower())):
                _complete(operation, list(_below(dependant)))
    return Documents(_part(document, operators=False), _part(document, operators=True))


def _below(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for below in dependant.dependencies:
        yield from _below(below)


def _complete(operation: JsonSchema, dependants: Sequence[Dependant]) -> None:
    operation["security"] = _security(dependants)
    parameters = operation.setdefault("parameters", [])
    parameters.extend({"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS)
    responses: JsonSchema = operation["responses"]
    responses |= {status: answer for status, answer in _OF_EVERY_ROUTE.items() if status not in responses}
    writes = any(dependant.call is idempotent_write for dependant in dependants)
    for status, answer in responses.items():
        names = [*_headers_of(status, answer), *(["EventPosition"] if writes and status[0] == "2" else [])]
        headers = answer.setdefault("headers", {})
        headers |= {_NAMES[name]: {"$ref": f"#/components/headers/{name}"} for name in names}


def _headers_of(status: str, answer: JsonSchema) -> Iterator[str]:
    yield "CorrelationId"
    if MEDIA_TYPE in answer.get("content", {}):
        yield "ContentLanguage"
    if status == "201":
        yield "Location"
    if status in {"401", "403"}:
        yield "WwwAuthenticate"
    if status in {"429", "503", "5XX"}:
        yield "RetryAfter"


def _security(dependants: Sequence[Dependant]) -> list[dict[str, list[str]]]:
    """Return what a token needs, as alternatives: one scope of each dependency that asks for some."""
    required = dict.fromkeys(needs.call for needs in dependants if isinstance(needs.call, RequiredScope))
    needed = dict.fromkeys(frozenset(scopes) for scopes in product(*(asked.scopes for asked in required)))
    return [{scheme: sorted(scopes)} for scopes in needed for scheme in (OPEN_ID_CONNECT, BEARER)]


def _schemes(issuer: str) -> JsonSchema:
    return {
        OPEN_ID_CONNECT: {
            "type": "openIdConnect",
            "description": "An access token of the sign-in service, with this service as its audience.",
            "openIdConnectUrl": f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        },
        BEARER: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The same token, for tools that do not know OpenID Connect.",
        },
    }


_TEXT = {"type": "string"}
_NAMES = {
    "ContentLanguage": "Content-Language",
    "CorrelationId": "X-Correlation-ID",
    "EventPosition": "Event-Position",
    "Location": "Location",
    "RetryAfter": "Retry-After",
    "WwwAuthenticate": "WWW-Authenticate",
}
_HEADERS: JsonSchema = {
    "ContentLanguage": {"description": "The language of `detail`.", "schema": {"enum": ["nl", "en"]} | _TEXT},
    "CorrelationId": {
        "description": "The id under which this request is in the log: the caller's own, or a new one.",
        "schema": _TEXT | {"format": "uuid"},
    },
    "EventPosition": {
        "description": "Where the log now ends for this write; for `after_position` of a search.",
        "schema": {"type": "integer"},
    },
    "Location": {"description": "The path of what was made.", "schema": _TEXT | {"format": "uri-reference"}},
    "RetryAfter": {"description": "After how many seconds to try again.", "schema": {"type": "integer"}},
    "WwwAuthenticate": {"description": "What the token lacks (RFC 6750).", "schema": _TEXT},
}
_PARAMETERS: JsonSchema = {
    "AcceptLanguage": {
        "name": "Accept-Language",
        "in": "header",
        "description": "`en` for English sentences in problems; Dutch otherwise.",
        "schema": _TEXT,
    },
    "CorrelationId": {
        "name": "X-Correlation-ID",
        "in": "header",
        "description": "A UUID of the caller, for the log. Anything else is replaced.",
        "schema": _TEXT,
    },
}
EVENT_POSITION: JsonSchema = {"Event-Position": {"$ref": "#/components/headers/EventPosition"}}
"""For the `responses` of a route that sets this header itself."""


def _other(description: str) -> JsonSchema:
    return {"description": description, "content": {MEDIA_TYPE: {"schema": PROBLEM}}}


_OF_EVERY_ROUTE: Mapping[str, JsonSchema] = {
    "4XX": _other(
        "Any other fault of the request, such as 400 `bad-request`, 408 `request-timeout`, 413"
        " `content-too-large`, 415 `unsupported-media-type`, 431 `request-header-fields-too-large`"
    ),
    "5XX": _other("Any other fault of the service, such as 500 `internal-error` and `record-unreadable`"),
}


def _contact(contact: str | None) -> dict[str, str]:
    """Return who runs this installation: an e-mail address or the address of a page."""
    named = {"name": "The operators of this installation"}
    if contact is None:
        return named
    return named | {"url" if "://" in contact else "email": contact.removeprefix("mailto:")}


def _part(document: JsonSchema, *, operators: bool) -> JsonSchema:
    """Return the document with the paths of operators, or with all others, and what these refer to."""
    part = copy.deepcopy(document)
    part["paths"] = {
        path: item for path, item in part["paths"].items() if path.startswith(OPERATIONS_PREFIX) is operators
    }
    if operators:
        part["info"]["title"] += ", for operators"
    part["components"] = _referred(part["paths"], part["components"])
    return part


def _referred(paths: JsonSchema, components: JsonSchema) -> JsonSchema:
    """Return the components that the paths need."""
    found, waiting = set[str](), list(_references(paths))
    while waiting:
        if (reference := waiting.pop()) not in found:
            found.add(reference)
            _, _, kind, name = reference.split("/")
            waiting += _references(components[kind][name])
    return {
        kind: {
            name: value
            for name, value in members.items()
            if kind == "securitySchemes" or f"#/components/{kind}/{name}" in found
        }
        for kind, members in components.items()
    }


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
