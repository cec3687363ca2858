"""The processes of the local stack: both services, and the programs that replace outside systems."""

import os
import sys
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from infra.local.configuration import Addresses
from infra.local.ports import LOOPBACK, answers
from infra.local.processes import Child, Program, StartFailed

NAMES = (
    "registration_api",
    "registration_worker",
    "identity_api",
    "identity_worker",
    "home_library",
    "sign_in",
    "wisecat",
)


def home_library(run_dir: Path, at: Addresses) -> Child:
    """Return the process of the demo home library: SIP2 and the account directory."""
    ports = ["--sip-port", str(at.home_library_port), "--http-port", str(at.account_directory_port)]
    command = [sys.executable, "-m", "infra.local.home_library", *ports, "--run-dir", str(run_dir)]
    return Child(
        _program("home_library", command, run_dir),
        is_ready=lambda: answers(at.home_library_port) and answers(at.account_directory_port),
    )


def sign_in(run_dir: Path, at: Addresses) -> Child:
    """Return the process of the issuers at which the demo staff and patrons sign in."""
    where = ["--port", str(at.sign_in_port), "--counter", at.counter, "--catalogue", at.wisecat]
    where += ["--run-dir", str(run_dir)]
    command = [sys.executable, "-m", "infra.local.issuer", *where]
    return Child(_program("sign_in", command, run_dir), is_ready=lambda: answers(at.sign_in_port))


def wisecat(run_dir: Path, at: Addresses) -> Child:
    """Return the process of the demo catalogue, where patrons log in."""
    where = ["--port", str(at.wisecat_port), "--identity", at.identity, "--accounts", at.accounts]
    where += ["--run-dir", str(run_dir)]
    command = [sys.executable, "-m", "infra.local.wisecat", *where]
    return Child(_program("wisecat", command, run_dir), is_ready=lambda: answers(at.wisecat_port))


def apis(run_dir: Path, at: Addresses) -> list[Child]:
    return [
        _api("registration", run_dir, at.registration_port),
        _api("identity", run_dir, at.identity_port),
    ]


def workers(run_dir: Path, at: Addresses) -> list[Child]:
    return [_worker(service, run_dir, port) for service, port in at.worker_ports.items()]


def migrate(run_dir: Path) -> None:
    """Bring both database schemas up to date, side by side. Raises StartFailed."""
    programs = [
        _program(f"{service}_migrate", [_command(service), "migrate"], run_dir)
        for service in ("registration", "identity")
    ]
    for program in programs:
        program.spawn()
    for program in programs:
        if program.process is None or program.process.wait(timeout=60) != 0:
            raise StartFailed(f"{program.name} failed. The end of {program.log}:\n{program.last_words()}")


def _api(service: str, run_dir: Path, port: int) -> Child:
    program = _program(f"{service}_api", [_command(service), "serve"], run_dir)
    return Child(program, is_ready=lambda: program.running and _answers(port, "/health/ready"))


def _worker(service: str, run_dir: Path, port: int) -> Child:
    program = _program(f"{service}_worker", [_command(service), "work"], run_dir)
    # Not ready: without the broker a worker goes on over the feed, and reports it.
    return Child(program, is_ready=lambda: program.running and _answers(port, "/health/live"))


def _program(name: str, command: Sequence[str], run_dir: Path) -> Program:
    logs = run_dir / "logs"
    logs.mkdir(exist_ok=True)
    return Program(name, command, logs / f"{name}.log", environment=_environment(run_dir))


def _environment(run_dir: Path) -> dict[str, str]:
    """Return the environment without the settings of `$RUN_DIR/<service>.env`, which it would override."""
    in_files = {
        line.partition("=")[0]
        for service in ("registration", "identity")
        for line in (run_dir / f"{service}.env").read_text(encoding="utf-8").splitlines()
    } | {"REGISTRATION_AMQP_URL", "IDENTITY_AMQP_URL"}
    inherited = {name: value for name, value in os.environ.items() if name not in in_files}
    return inherited | {"RUN_DIR": str(run_dir), "PYTHONUNBUFFERED": "1"}


def _command(service: str) -> str:
    return str(Path(sys.executable).parent / service)


def _answers(port: int, path: str) -> bool:
    if not answers(port):
        return False
    connection = HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
