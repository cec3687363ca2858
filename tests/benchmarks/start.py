"""Seconds until either service is ready on a migrated database, and until its `--help` is shown."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from time import perf_counter

from pydantic import SecretStr

from identity.adapters.tables import SCHEMA as IDENTITY_SCHEMA
from infra.local.ports import LOOPBACK, free_port
from infra.local.postgres import Postgres
from infra.local.processes import Program
from registration.adapters.tables import SCHEMA
from shared.platform.settings import ServiceSettings
from tests.benchmarks.guests import PERSON_REF_KEY
from tests.benchmarks.results import Result
from tests.support import identity_service, registration_service
from tests.support.commands import without_settings_of_services
from tests.support.servers import Databases
from tests.support.tokens import Signer

ROUNDS = 5
READY_WITHIN, HELP_WITHIN = 2.0, 0.3  # seconds
LOOK_EVERY_SECONDS = 0.01
GIVE_UP_SECONDS = 60.0
MOST = "the most wanted"


async def measure(server: Postgres) -> Sequence[Result]:
    """Start both services and their commands in turns."""
    databases = Databases(server)
    ready, shown = dict[str, list[float]](), dict[str, list[float]]()
    with tempfile.TemporaryDirectory(prefix="bench-start-") as name:
        folder = Path(name)
        signer = Signer(folder / "jwks.json")
        environments = {
            "registration": _environment(
                registration_service.settings_in(folder, databases("registration", SCHEMA), signer)
            ),
            "identity": _environment(
                identity_service.settings_in(
                    folder, databases("identity", IDENTITY_SCHEMA), signer, PERSON_REF_KEY
                )
            ),
        }
        for _ in range(ROUNDS):
            for service, environment in environments.items():
                seconds = await asyncio.to_thread(_until_ready, service, environment, folder)
                ready.setdefault(service, []).append(seconds)
                shown.setdefault(service, []).append(await asyncio.to_thread(_help, service, environment))
    return [
        Result(f"{service}: {what}", "s", median(times[service]), most, MOST, "lower", 1.0)
        for what, times, most in (("serve is ready", ready, READY_WITHIN), ("--help", shown, HELP_WITHIN))
        for service in environments
    ]


def _environment(settings: ServiceSettings) -> Mapping[str, str]:
    named = {
        f"{settings.prefix()}{name.upper()}": str(
            value.get_secret_value() if isinstance(value, SecretStr) else value
        )
        for name, value in settings.model_dump(exclude_none=True).items()
    }
    inherited = without_settings_of_services(os.environ)
    inherited.pop("RUN_DIR", None)
    return inherited | named


def _command(service: str) -> str:
    return str(Path(sys.executable).parent / service)


def _until_ready(service: str, environment: Mapping[str, str], folder: Path) -> float:
    port = free_port()
    program = Program(
        service,
        [_command(service), "serve"],
        folder / f"{service}.log",
        {**environment, f"{service.upper()}_PORT": str(port)},
    )
    began = perf_counter()
    program.spawn()
    try:
        _wait(lambda: _is_ready(port), program, began)
        return perf_counter() - began
    finally:
        program.stop(10)


def _wait(is_done: Callable[[], bool], program: Program, began: float) -> None:
    while not is_done():
        if not program.running or perf_counter() - began > GIVE_UP_SECONDS:
            raise RuntimeError(f"{program.name} is not ready: {program.last_words()}")
        time.sleep(LOOK_EVERY_SECONDS)


def _is_ready(port: int) -> bool:
    connection = HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _help(service: str, environment: Mapping[str, str]) -> float:
    began = perf_counter()
    subprocess.run([_command(service), "--help"], check=True, capture_output=True, env=dict(environment))
    return perf_counter() - began
