"""`--help` imports nothing that is slow: each command imports what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = {
    *("asyncio", "uvloop", "asyncpg", "aio_pika", "httpx2", "fastapi", "starlette", "uvicorn"),
    *("pydantic", "pydantic_settings", "eventsourcing", "cryptography", "joserfc", "prometheus_client"),
    *("structlog", "opentelemetry", "stamina", "orjson", "zoneinfo", "statistics", "rich.progress"),
}
"""Modules and packages that cost the start of a command some milliseconds each."""

OF_OPTIONS = {"pydantic", "zoneinfo"}
"""Typer itself imports these to read the options of one command."""

SHOW_HELP = """
import sys
from {service}.cli.main import main
sys.argv = ["{service}", *{arguments!r}, "--help"]
try:
    main()
finally:
    sys.stderr.write(" ".join(sys.modules))
"""


@pytest.mark.parametrize(
    ("service", "arguments"),
    [
        ("registration", []),
        ("identity", []),
        ("registration", ["serve"]),
        ("registration", ["load"]),
        ("identity", ["accounts", "import"]),
    ],
)
def test_help_imports_no_slow_module(service: str, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW_HELP.format(service=service, arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "Usage" in done.stdout
    allowed = OF_OPTIONS if arguments else set[str]()
    assert SLOW & set(done.stderr.split()) <= allowed
