"""What both APIs say of themselves: ids, scopes, headers, problems."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import jsonschema_rs
import pytest

from identity.api.problems import PROBLEM_TYPES as IDENTITYS
from identity.domain import errors as identitys_errors
from infra.api_tools.__main__ import APPS, ISSUER, described
from registration.api.problems import PROBLEM_TYPES as REGISTRATIONS
from registration.domain import errors
from shared.web.feed_api import MessageJson, message_json
from shared.web.openapi import Documents, camel_case
from shared.web.problem_handlers import PROBLEM_SCHEMAS
from shared.web.problems import ProblemType
from tests.unit.messaging.test_envelope import MESSAGE

DOCUMENTS: dict[str, Documents] = {service: described(app).documents() for service, app in APPS.items()}
"""By service."""
EVERY = [
    pytest.param(document, id=f"{service} {name}")
    for service, documents in DOCUMENTS.items()
    for name, document in (("public", documents.public), ("operators", documents.operators))
]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


@pytest.mark.parametrize("document", EVERY)
def test_an_operation_is_named_by_a_verb_and_a_noun(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert [name for name in ids if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", name)] == []
    assert len(set(ids)) == len(ids)


def test_what_both_services_have_is_named_the_same() -> None:
    registration, identity = (
        dict(operations(documents.public)) | dict(operations(documents.operators))
        for documents in DOCUMENTS.values()
    )
    both = {
        call: (registration[call]["operationId"], identity[call]["operationId"])
        for call in registration.keys() & identity.keys()
    }
    assert len(both) > 9
    assert [names for names in both.values() if len(set(names)) > 1] == []


@pytest.mark.parametrize("document", EVERY)
def test_every_fault_is_the_one_problem(document: dict[str, Any]) -> None:
    for call, operation in operations(document):
        faults = {status: answer for status, answer in operation["responses"].items() if status[0] in "45"}
        assert {"401", "403", "4XX", "5XX"} <= faults.keys(), call
        for answer in faults.values():
            assert list(answer["content"]) == ["application/problem+json"]
            problem = answer["content"]["application/problem+json"]["schema"]
            assert problem == {"$ref": "#/components/schemas/Problem"}


@pytest.mark.parametrize("document", EVERY)
def test_headers_are_described(document: dict[str, Any]) -> None:
    for call, operation in operations(document):
        for status, answer in operation["responses"].items():
            assert "X-Correlation-ID" in answer["headers"], call
            assert ("Retry-After" in answer["headers"]) == (status in {"429", "503", "5XX"}), (call, status)
            assert ("Location" in answer["headers"]) == (status == "201"), (call, status)
        assert "requestBody" not in operation or not call.startswith(("DELETE", "GET")), call


@pytest.mark.parametrize(
    ("service", "call", "scopes"),
    [
        ("registration", "POST /v1/guests", [["counter"]]),
        ("registration", "GET /v1/feed", [["feed"]]),
        ("registration", "POST /v1/guests/{guest_id}/actor-merge", [["accounts", "counter"]]),
        ("registration", "DELETE /v1/guests/{guest_id}/personal-data", [["operator"], ["installation"]]),
        ("identity", "POST /v1/logins", [["login"]]),
    ],
)
def test_r20_scopes_are_described(service: str, call: str, scopes: list[list[str]]) -> None:
    document = DOCUMENTS[service].public
    security = dict(operations(document))[call]["security"]
    assert [needed["openIdConnect"] for needed in security if "openIdConnect" in needed] == scopes
    assert [needed["bearer"] for needed in security if "bearer" in needed] == scopes
    scheme = document["components"]["securitySchemes"]["openIdConnect"]
    assert scheme["openIdConnectUrl"] == f"{ISSUER}/.well-known/openid-configuration"


def test_writes_tell_their_position_and_reads_do_not() -> None:
    calls = dict(operations(DOCUMENTS["registration"].public))
    assert "Event-Position" in calls["POST /v1/guests"]["responses"]["201"]["headers"]
    assert (
        "Event-Position" in calls["DELETE /v1/guests/{guest_id}/personal-data"]["responses"]["204"]["headers"]
    )
    assert "Event-Position" not in calls["GET /v1/guests/{guest_id}"]["responses"]["200"]["headers"]
    names = {parameter.get("name") for parameter in calls["POST /v1/guests"]["parameters"]}
    assert "Idempotency-Key" in names


@pytest.mark.parametrize(("audience", "prefix"), [("public", False), ("operators", True)])
def test_operators_have_a_document_of_their_own(audience: str, prefix: bool) -> None:
    for documents in DOCUMENTS.values():
        paths = getattr(documents, audience)["paths"]
        assert {path.startswith("/v1/operations") for path in paths} == {prefix}


def test_a_message_of_the_feed_is_as_described() -> None:
    schemas = DOCUMENTS["identity"].public["components"]["schemas"]
    validator = jsonschema_rs.validator_for(
        {"$ref": "#/components/schemas/MessageJson", "components": {"schemas": schemas}},
        validate_formats=True,
    )
    validator.validate(MESSAGE.to_cloudevent())
    assert message_json(MESSAGE).model_dump(exclude_unset=True) == MESSAGE.to_cloudevent()
    assert not validator.is_valid(MESSAGE.to_cloudevent() | {"causationid": None})
    assert set(MESSAGE.to_cloudevent()) <= set(MessageJson.model_fields)


SAMPLES: list[tuple[ProblemType, Exception]] = [
    (REGISTRATIONS[errors.AlreadyRegistered], errors.AlreadyRegistered(UUID(int=1))),
    (REGISTRATIONS[errors.GuestMerged], errors.GuestMerged(UUID(int=1))),
    (REGISTRATIONS[errors.GuestRefused], errors.GuestRefused(["fines"])),
    (REGISTRATIONS[errors.NotFoundTwice], errors.NotFoundTwice()),
    (REGISTRATIONS[errors.ActorMergeBlocked], errors.ActorMergeBlocked("different-birth-dates")),
    (
        REGISTRATIONS[errors.LikelyDuplicate],
        errors.LikelyDuplicate([errors.LikelyGuest(UUID(int=1), same_home_library=True)]),
    ),
    (
        REGISTRATIONS[errors.AmbiguousHomeLibrary],
        errors.AmbiguousHomeLibrary([errors.Candidate("NL-070288", "Groningen", "Forum")]),
    ),
    (IDENTITYS[identitys_errors.IdTokenInvalid], identitys_errors.IdTokenInvalid("expired")),
    (
        IDENTITYS[identitys_errors.LinkRequired],
        identitys_errors.LinkRequired({"handle": "h", "expires_at": "2025-09-11T09:30:00Z", "url": None}),
    ),
]


@pytest.mark.parametrize(("kind", "error"), SAMPLES, ids=lambda value: getattr(value, "code", None))
def test_the_members_of_a_problem_are_described(kind: ProblemType, error: Exception) -> None:
    members = kind.of(error).extra
    assert members
    properties = PROBLEM_SCHEMAS["Problem"]["properties"]
    schema = {
        "properties": properties,
        "additionalProperties": False,
        "components": {"schemas": PROBLEM_SCHEMAS},
    }
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(members)


def test_an_id_is_made_of_the_name_of_a_function() -> None:
    assert [camel_case(name) for name in ("register_guest", "show", "_of_all")] == [
        "registerGuest",
        "show",
        "ofAll",
    ]


@pytest.mark.parametrize(
    ("contact", "shown"),
    [
        (None, {}),
        ("lenen@example.org", {"email": "lenen@example.org"}),
        ("https://a.example/x", {"url": "https://a.example/x"}),
    ],
)
def test_who_runs_the_installation_is_named(
    contact: str | None, shown: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    app = described(APPS["identity"], contact=contact)
    info = app.documents().operators["info"]
    assert info["contact"] == {"name": "The operators of this installation"} | shown
    assert info["license"]["identifier"] == "MIT"
    assert caplog.messages == []
