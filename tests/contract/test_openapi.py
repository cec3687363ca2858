"""Both HTTP APIs take and return what the release before described: a client of that release still works."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from identity.adapters.tables import SCHEMA as IDENTITY
from registration.adapters.tables import SCHEMA as REGISTRATION
from tests.support.identity_service import open_identity_app
from tests.support.json_paths import differences
from tests.support.registration_service import open_registration_app
from tests.support.servers import Databases

RECORDED = Path(__file__).parents[1] / "recorded" / "before_0_1"
WORDS = {"description", "summary", "title", "example", "examples"}
_JSON = '["application/json"]'
_CHOICES = {
    "/v1/guests": ".properties.login_account.oneOf",
    "/v1/guests/{guest_id}/reregistration": ".properties.login_account.anyOf[0].oneOf",
    "/v1/guests/{guest_id}/login-account": ".oneOf",
}
CHANGES: dict[str, list[str]] = {
    "registration": [
        # An account is named by its handle, or by its id as before.
        *(
            f'$["POST {path}"].body{_JSON}{choice}[0].properties.account_id.'
            for path, choice in _CHOICES.items()
        ),
        # A new account has an address to which mail can be sent.
        *(
            f'$["POST {path}"].body{_JSON}{choice}[1].properties.email.pattern'
            for path, choice in _CHOICES.items()
        ),
        # It has a path with POST now. The call with a body still works, and is in no description any more.
        '$["DELETE /v1/guests/{guest_id}/login-account"] is missing',
        # The ids of accounts have a grammar.
        '$["GET /v1/feed/registrations"].parameters["query account_id"].anyOf[0].pattern',
        '$["GET /v1/feed/guests/{guest_id}/new-account"].parameters["query account_id"].anyOf[0].pattern',
        # The home library of an imported guest was not asked yet.
        *(
            f'$["{call}"].answers["{status}"]{_JSON}.properties.{part}home.properties.verdict.enum'
            for call, status, part in (
                ("POST /v1/guests", 201, ""),
                ("GET /v1/guests/{guest_id}", 200, ""),
                ("POST /v1/guests/{guest_id}/home-check", 200, ""),
                ("POST /v1/guests/{guest_id}/reregistration", 200, ""),
                ("POST /v1/guests/{guest_id}/deregistration", 200, ""),
                ("POST /v1/guests/{guest_id}/merge", 200, "guest.properties."),
                ("POST /v1/guests/{guest_id}/merge", 200, "into.properties."),
                ("POST /v1/guests/{guest_id}/login-account", 202, ""),
            )
        ),
        # A message is described: it was any object.
        f'$["GET /v1/feed/registrations"].answers["200"]{_JSON}.properties.registrations.items.properties.m',
    ],
    "identity": [
        # A login may be proven by an ID token instead.
        f'$["POST /v1/logins"].body{_JSON}.properties.account_id.',
        # A new account has an id with a grammar, and an address to which mail can be sent.
        f'$["POST /v1/login-accounts"].body{_JSON}.properties.account_id.anyOf[0].pattern',
        f'$["POST /v1/login-accounts"].body{_JSON}.properties.email.pattern',
        # Null after an erasure.
        f'$["GET /v1/actors/{{actor_id}}"].answers["200"]{_JSON}.properties.account_id.type',
        *(
            f'$["POST /v1/actors/{{actor_id}}/merge"].answers["200"]{_JSON}'
            f".properties.{name}.properties.account_id.type"
            for name in ("actor", "into")
        ),
        # What was described here was the framework's own error, which was never sent.
        f'$["GET /v1/feed"].answers["422"]{_JSON}',
        f'$["GET /v1/feed/guests/{{guest_id}}"].answers["422"]{_JSON}',
    ],
}
"""What the API says since then on purpose: how the line of each difference begins."""


def calls_of(document: dict[str, Any]) -> dict[str, Any]:
    """What a caller relies on, by method and path: no words, no names of schemas, no ids of operations."""
    return {
        f"{method.upper()} {path}": _call(operation, document)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def _call(operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    parameters = [_resolved(each, document) for each in operation.get("parameters", [])]
    body = operation.get("requestBody")
    return {
        "parameters": {
            f"{each['in']} {each['name']}": schema_of(each["schema"], document, sent=True)
            | {"may be left out": not each.get("required", False)}
            for each in parameters
        },
        "body": _contents(body, document, sent=True) if body else {},
        "answers": {
            status: _contents(answer, document, sent=False)
            for status, answer in operation["responses"].items()
        },
    }


def _contents(node: dict[str, Any], document: dict[str, Any], *, sent: bool) -> dict[str, Any]:
    return {
        media_type: schema_of(content.get("schema", {}), document, sent=sent)
        | {"codes": dict.fromkeys(content.get("examples", {}), True)}
        for media_type, content in node.get("content", {}).items()
    }


def schema_of(schema: Any, document: dict[str, Any], *, sent: bool) -> Any:
    """The schema, with its references resolved.

    Of what is sent it holds which members may be left out, of what is returned which are always there:
    neither may become less.
    """
    if isinstance(schema, list):
        return [schema_of(each, document, sent=sent) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        name: schema_of(value, document, sent=sent)
        for name, value in _resolved(schema, document).items()
        if name not in {*WORDS, "properties", "required", "mapping"}
    }
    properties, required = _members(_resolved(schema, document))
    if properties:
        shown = {name: schema_of(value, document, sent=sent) for name, value in properties.items()}
        found["properties"] = shown
        counted = set(properties) - required if sent else set(properties) & required
        found["may be left out" if sent else "always there"] = dict.fromkeys(sorted(counted), True)
    return found


def _members(schema: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    return schema.get("properties", {}), set(schema.get("required", []))


def _resolved(node: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    while reference := node.get("$ref"):
        _, _, kind, name = reference.split("/")
        node = document["components"][kind][name]
    return node


def demanded(node: Any, at: str = "") -> Iterator[str]:
    """The members and parameters that a caller has to send."""
    if not isinstance(node, dict):
        return
    if node.get("may be left out") is False:
        yield at
    if isinstance(left_out := node.get("may be left out", {}), dict):
        yield from (f"{at}.{name}" for name in node.get("properties", {}) if name not in left_out)
    for name, value in node.items():
        if name != "answers":
            yield from demanded(value, f"{at}.{name}")


def losses(recorded: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What a client of the recorded API would miss, or would have to send now."""
    before, after = calls_of(recorded), calls_of(now)
    known = {call: after[call] for call in before if call in after}
    more = set(demanded(known)) - set(demanded(before))
    return [*differences(before, after, may_grow=True), *(f"{each} is demanded now" for each in sorted(more))]


def must_be_as_recorded(service: str, now: dict[str, Any]) -> None:
    recorded = json.loads((RECORDED / f"openapi.{service}.json").read_text("utf-8"))
    found, meant = losses(recorded, json.loads(json.dumps(now))), tuple(CHANGES[service])
    lost = [each for each in found if not each.startswith(meant)]
    assert lost == [], "\n".join(lost)
    assert [each for each in meant if not any(line.startswith(each) for line in found)] == []


async def test_registrations_api_is_as_before(databases: Databases, tmp_path: Path) -> None:
    async with open_registration_app(databases(scripts=REGISTRATION), tmp_path) as registration:
        must_be_as_recorded("registration", registration.app.openapi())


async def test_identitys_api_is_as_before(databases: Databases, tmp_path: Path) -> None:
    async with open_identity_app(databases(scripts=IDENTITY), tmp_path) as identity:
        must_be_as_recorded("identity", identity.app.openapi())


TITLED: dict[str, Any] = {"type": "object", "properties": {"title": {"type": "string"}}}


def api(sent: Any = TITLED, returned: Any = TITLED, status: str = "200") -> dict[str, Any]:
    """An API with one route."""
    content = {"application/json": {"schema": sent}}
    answer = {"content": {"application/json": {"schema": returned}}}
    return {"paths": {"/a": {"post": {"requestBody": {"content": content}, "responses": {status: answer}}}}}


def test_other_words_and_more_members_are_no_loss() -> None:
    more = {"type": "object", "title": "More", "properties": TITLED["properties"] | {"b": {"type": "null"}}}
    assert losses(api(), api(more, more | {"required": ["title", "b"]})) == []


@pytest.mark.parametrize(
    "now",
    [
        {"paths": {}},
        api(status="202"),
        api(returned={"type": "object", "properties": {}}),
        api(returned={"type": "object", "properties": {"title": {"type": "integer"}}}),
        api(sent=TITLED | {"required": ["title"]}),
        api(sent=TITLED | {"properties": TITLED["properties"] | {"b": {}}, "required": ["b"]}),
    ],
    ids=str,
)
def test_what_a_client_would_miss_is_a_loss(now: dict[str, Any]) -> None:
    assert losses(api(), now) != []


def test_a_member_that_is_not_always_there_any_more_is_a_loss() -> None:
    assert losses(api(returned=TITLED | {"required": ["title"]}), api()) != []
