"""What OpenTelemetry exports of requests: nothing, or routes; never a card number, a name or a token."""

from pathlib import Path
from typing import Any

import pytest
from opentelemetry import _logs, metrics, trace

from registration.adapters.tables import SCHEMA
from tests.support.registration_service import CARD, HOME, RegistrationApp, open_registration_app, registering
from tests.support.servers import Databases

NAME = "Jansen"
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Exported(list[Any]):
    """All that reached an exporter."""


class _Span(trace.NonRecordingSpan):
    def __init__(self, context: trace.SpanContext, exported: Exported) -> None:
        super().__init__(context)
        self._exported = exported

    def set_attribute(self, *given: Any) -> None:
        self._exported.append(given)

    def set_attributes(self, attributes: Any) -> None:
        self._exported.append(dict(attributes))

    def update_name(self, name: str) -> None:
        self._exported.append(name)

    def add_event(self, *given: Any, **more: Any) -> None:
        self._exported.append((given, more))

    def record_exception(self, *given: Any, **more: Any) -> None:
        self._exported.append((given, more))

    def set_status(self, *given: Any) -> None:
        self._exported.append(given)

    def is_recording(self) -> bool:
        return True


class _Traces(trace.TracerProvider, trace.Tracer):
    def __init__(self, exported: Exported) -> None:
        self.exported = exported

    def get_tracer(self, *given: Any, **more: Any) -> trace.Tracer:
        return self

    def start_span(self, name: str, context: Any = None, *given: Any, **more: Any) -> trace.Span:
        caller = trace.get_current_span(context).get_span_context()
        self.exported.append(
            ("span", name, caller, dict(caller.trace_state), dict(context or {}), given, more)
        )
        return _Span(caller, self.exported)

    def start_as_current_span(self, name: str, *given: Any, **more: Any) -> Any:
        return trace.use_span(self.start_span(name, *given, **more))


class _Histogram(metrics.NoOpHistogram):
    exported: Exported

    def record(self, *given: Any, **more: Any) -> None:
        self.exported.append(("metric", given, more))


class _Counter(metrics.NoOpUpDownCounter):
    exported: Exported

    def add(self, *given: Any, **more: Any) -> None:
        self.exported.append(("metric", given, more))


class _Metrics(metrics.MeterProvider, metrics.NoOpMeter):
    def __init__(self, exported: Exported) -> None:
        metrics.NoOpMeter.__init__(self, "test")
        self.exported = exported

    def get_meter(self, *given: Any, **more: Any) -> metrics.Meter:
        return self

    def create_histogram(self, name: str, *given: Any, **more: Any) -> Any:
        made = _Histogram(name)
        made.exported = self.exported
        return made

    def create_up_down_counter(self, name: str, *given: Any, **more: Any) -> Any:
        made = _Counter(name)
        made.exported = self.exported
        return made


class _Logs(_logs.LoggerProvider, _logs.NoOpLogger):
    def __init__(self, exported: Exported) -> None:
        _logs.NoOpLogger.__init__(self, "test")
        self.exported = exported

    def get_logger(self, *given: Any, **more: Any) -> _logs.Logger:
        return self

    def emit(self, *given: Any, **more: Any) -> None:
        self.exported.append(("log", given, more))


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Exported:
    """An exporter of traces, metrics and logs is attached to this process, as an operator's agent does it."""
    exported = Exported()
    for module, providers in (
        ("opentelemetry.trace.get_tracer_provider", _Traces(exported)),
        ("opentelemetry.metrics.get_meter_provider", _Metrics(exported)),
        ("opentelemetry._logs.get_logger_provider", _Logs(exported)),
        ("opentelemetry._logs.get_logger", _Logs(exported)),
    ):
        monkeypatch.setattr(module, lambda *_given, provider=providers, **_more: provider)
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    return exported


async def is_used(app: RegistrationApp) -> str:
    """Ask in all ways with a card number and a name; the token."""
    token = app.signer.token("counter operator")
    headers = {
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
        "tracestate": f"card={CARD}",
        "baggage": f"name={NAME}",
        "Host": f"{NAME}.example",
        "User-Agent": NAME,
    }
    async with app.client(token) as client:
        client.headers.update(headers)
        await client.post("/v1/guests", json=registering())
        await client.post("/v1/guests", json=registering() | {"branch": {"name": NAME}})
        for path in (
            f"/v1/home-patrons/{HOME}/{CARD}",
            f"/{NAME}/{CARD}",
            f"/docs/files/{CARD}",
            "/v1/guests/",
        ):
            await client.get(path, params={"name": NAME, "card_number": CARD})
        await client.request(NAME.upper(), "/v1/guests", params={"name": NAME})
        app.app.state.deps = None  # the next request fails unexpectedly
        assert (await client.get(f"/v1/home-patrons/{HOME}/{CARD}")).status_code == 500
    return token


@pytest.mark.parametrize("telemetry", [False, True])
async def test_nothing_is_exported_unless_set_and_then_routes_only(
    databases: Databases, tmp_path: Path, exported: Exported, telemetry: bool
) -> None:
    async with open_registration_app(databases(scripts=SCHEMA), tmp_path, telemetry=telemetry) as app:
        token = await is_used(app)
    everything = repr(exported)
    if not telemetry:
        assert exported == []
        return
    assert "GET /v1/home-patrons/{" in everything
    assert "POST /v1/guests" in everything
    assert f"trace_id=0x{TRACE}" in everything
    assert {line[0] for line in exported if isinstance(line, tuple)} >= {"span", "metric"}
    assert [
        secret for secret in (CARD, NAME, NAME.upper(), NAME.lower(), token) if secret in everything
    ] == []
