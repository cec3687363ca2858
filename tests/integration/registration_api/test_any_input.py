"""Whatever is sent: a reply as described, never an error of ours (schemathesis over a real server)."""

import asyncio
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.registration_service import RegistrationApp
from tests.support.served import served

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 12


def send_anything(address: str, tokens: dict[str, str]) -> int:
    """Generated requests to every operation; how many were answered."""
    operations: list[Any] = [
        operation
        for name in ("openapi.json", "openapi.operations.json")
        for operation in schemathesis.openapi.from_dict(described(f"{address}/{name}")).get_all_operations()
    ]
    return sum(send_to(operation.ok(), address, tokens) for operation in operations)


def described(url: str) -> dict[str, Any]:
    """The document there, without the ranges of statuses: a reply must be one that its route describes."""
    document: dict[str, Any] = httpx2.get(url).raise_for_status().json()
    for operations in document["paths"].values():
        for operation in operations.values():
            for beside in ("4XX", "5XX"):
                del operation["responses"][beside]
    return document


def send_to(operation: Any, address: str, tokens: dict[str, str]) -> int:
    part = operation.path.split("/")[2]
    token = tokens[{"feed": "feed", "operations": "installation"}.get(part, "counter")]
    sent = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def send(case: Any) -> None:
        nonlocal sent
        for waits in {"wait", "after_position"} & set(case.query):
            case.query[waits] = 0  # for what never comes here: rightly a long poll, or a 503
        case.call_and_validate(base_url=address, headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)
        sent += 1

    send()
    return sent


@pytest.mark.timeout(180)
async def test_no_input_makes_an_error_of_ours(registration_app: RegistrationApp) -> None:
    scopes = {"counter": "counter accounts", "feed": "feed", "installation": "installation"}
    tokens = {name: registration_app.signer.token(scope, exp=4_000_000_000) for name, scope in scopes.items()}
    async with served(registration_app.app) as address:
        sent = await asyncio.to_thread(send_anything, address, tokens)
    assert sent > 100
