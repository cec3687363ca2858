"""What operators and browsers see of the service."""

import asyncio

import httpx2
import pytest
import yaml

from shared.event_log import LogUnavailable
from shared.platform.logging import configure_logging
from shared.web.app import Operations, make_app
from tests.support.registration_service import RegistrationApp, registering
from tests.support.servers import execute_as_owner


async def test_live_and_ready(registration_app: RegistrationApp, clerk: httpx2.AsyncClient) -> None:
    assert (await clerk.get("/health/live")).json() == {"status": "live"}
    ready = await clerk.get("/health/ready")
    assert (ready.status_code, ready.json()) == (
        200,
        {
            "status": "ready",
            "checks": {"database": "ok", "token_keys": "ok"},
            "warnings": {"views": "ok"},
        },
    )
    await registration_app.service.pool.execute("UPDATE projections SET failure = 'x' WHERE name = 'history'")
    warned = await clerk.get("/health/ready")  # clerks can go on without this view
    assert (warned.status_code, warned.json()["warnings"]) == (200, {"views": "ViewStopped"})
    await execute_as_owner(registration_app.service.pool, "DELETE FROM schema_migrations")
    not_ready = await clerk.get("/health/ready")
    assert (not_ready.status_code, not_ready.json()["checks"]["database"]) == (503, "RuntimeError")


async def test_every_answer_carries_security_headers_and_its_id(clerk: httpx2.AsyncClient) -> None:
    for path in ("/v1/subscriptions", "/nowhere", "/v1/guests/x", "/health/live"):
        headers = (await clerk.get(path)).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert len(headers["X-Correlation-ID"]) == 36
        assert "server" not in headers


async def test_a_correlation_id_that_is_no_uuid_is_replaced(clerk: httpx2.AsyncClient) -> None:
    answer = await clerk.get("/health/live", headers={"X-Correlation-ID": "x\tinjected"})
    assert "injected" not in answer.headers["X-Correlation-ID"]


async def test_unknown_pages_and_methods_are_problems(clerk: httpx2.AsyncClient) -> None:
    nowhere = await clerk.get("/v1/nowhere")
    wrong = await clerk.put("/v1/guests", json=registering())
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not-found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
    assert "POST" in wrong.headers["Allow"]


async def test_an_unexpected_error_shows_nothing_and_is_logged_without_its_words(
    registration_app: RegistrationApp,
    clerk: httpx2.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("registration")

    async def broken(*_: object) -> None:
        raise KeyError("0990139305 J. Jansen")

    monkeypatch.setattr(registration_app.home, "ask", broken)
    async with registration_app.nothing_written():
        answer = await clerk.post("/v1/guests", json=registering())
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    logged = capsys.readouterr().err
    assert '"action": "request.failed"' in logged
    assert "KeyError" in logged
    for text in (logged, answer.text):
        assert "0990139305" not in text
        assert "Jansen" not in text
    assert "Traceback" not in answer.text


async def test_the_log_has_no_card_number_query_or_body(
    clerk: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("registration")
    await clerk.post("/v1/guests", json=registering())
    await clerk.get("/v1/home-patrons/NL-070288/0990139305")
    await clerk.get("/v1/login-accounts", params={"username": "jan.jansen", "home_isil": "NL-070288"})
    logged = capsys.readouterr().err
    assert logged.count('"action": "request.served"') == 3
    for personal in ("0990139305", "jan.jansen", "Jansen", "1980", "username="):
        assert personal not in logged


async def test_health_is_for_everybody_and_says_nothing_but_states(registration_app: RegistrationApp) -> None:
    async def broken() -> None:
        raise LookupError("NL-070288: 12 guests")

    app = make_app(
        title="Any",
        description="",
        problem_types={},
        verifier=registration_app.app.state.token_verifier,
        operations=Operations({"sound": lambda: asyncio.sleep(0), "broken": broken}),
    )
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as visitor:
        assert (await visitor.get("/health/live")).json() == {"status": "live"}
        ready = await visitor.get("/health/ready")
    checks = {"sound": "ok", "broken": "LookupError"}
    assert (ready.status_code, ready.json()) == (
        503,
        {"status": "not-ready", "checks": checks, "warnings": {}},
    )


async def metrics_of(registration_app: RegistrationApp) -> str:
    async with registration_app.client(scope="metrics", organisation=None) as reader:
        answer = await reader.get("/metrics")
    assert answer.status_code == 200
    return answer.text


async def test_metrics_count_requests_by_route_and_never_by_path(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    await clerk.get("/v1/home-patrons/NL-070288/0990139305")
    metrics = await metrics_of(registration_app)
    assert 'http_requests_total{method="GET",route="/v1/home-patrons/{isil}/{card_number:scanned}"' in metrics
    assert "0990139305" not in metrics


async def test_metrics_show_parked_guests_and_views_that_make_no_progress(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    """The worker parks guests and follows views; it serves no HTTP."""
    await clerk.post("/v1/guests", json=registering())
    await registration_app.service.pool.execute(
        "INSERT INTO held_guests (guest_id, state, reason, next_try)"
        " VALUES (gen_random_uuid(), 'parked', 'KeyError', now())"
    )
    await registration_app.service.pool.execute("UPDATE projections SET failure = 'x' WHERE name = 'history'")
    metrics = await metrics_of(registration_app)
    assert 'messages_parked_guests{state="parked"} 1.0' in metrics
    assert 'view_failed{view="history"} 1.0' in metrics
    assert 'view_lag_events{view="contributions"} 2.0' in metrics


async def test_a_log_that_cannot_be_reached_is_503_and_not_an_error(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> int:
        raise LogUnavailable

    monkeypatch.setattr(registration_app.service.log, "append", gone)
    answer = await clerk.post("/v1/guests", json=registering())
    assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
    assert "Retry-After" in answer.headers


async def test_the_documentation_is_there(clerk: httpx2.AsyncClient) -> None:
    assert "swagger" in (await clerk.get("/docs")).text
    paths = (await clerk.get("/openapi.json")).json()["paths"]
    register = paths["/v1/guests"]["post"]
    examples = register["responses"]["409"]["content"]["application/problem+json"]["examples"]
    assert examples["guest-refused"]["value"]["detail"].startswith("Gastlener kan niet worden ingeschreven")
    assert "/v1/home-patrons/{isil}/{card_number}" in paths
    operators = (await clerk.get("/openapi.operations.json")).json()["paths"]
    assert "/v1/operations" in operators
    assert paths.keys().isdisjoint(operators)
    messages = await clerk.get("/asyncapi.yaml")
    assert messages.headers["content-type"].startswith("application/yaml")
    assert yaml.safe_load(messages.text)["asyncapi"] == "3.1.0"
