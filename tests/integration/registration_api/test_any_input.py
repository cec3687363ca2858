"""Whatever is sent: a reply as described, never an error of ours (schemathesis over a real server)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from infra.local.ports import free_port
from shared.web.server import serve
from tests.support.registration_service import RegistrationApp

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 12


@asynccontextmanager
async def served(registration_app: RegistrationApp) -> AsyncIterator[str]:
    """The app on a port, as in production."""
    stopping, port = asyncio.Event(), free_port()
    serving = asyncio.create_task(serve(registration_app.app, "127.0.0.1", port, stopping))
    await asyncio.sleep(0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stopping.set()
        await serving


def send_anything(address: str, tokens: dict[str, str]) -> int:
    """Generated requests to every operation; how many were answered."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations: list[Any] = list(schema.get_all_operations())
    return sum(send_to(operation.ok(), tokens) for operation in operations)


def send_to(operation: Any, tokens: dict[str, str]) -> int:
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
        case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)
        sent += 1

    send()
    return sent


@pytest.mark.timeout(180)
async def test_no_input_makes_an_error_of_ours(registration_app: RegistrationApp) -> None:
    scopes = {"counter": "counter accounts", "feed": "feed", "installation": "installation"}
    tokens = {name: registration_app.signer.token(scope, exp=4_000_000_000) for name, scope in scopes.items()}
    async with served(registration_app) as address:
        sent = await asyncio.to_thread(send_anything, address, tokens)
    assert sent > 100
