"""What the release before wrote (`tests/recorded`), and the present code installed over it.

Only by commands and HTTP, with the settings that the release before knew. What serves and works has processes
of its own; commands run in this one, because starting a process takes longer than most of them.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from infra.local.ports import free_port
from infra.local.processes import Program, stop_all
from tests.support.commands import run_command, without_settings_of_services
from tests.support.eventually import eventually
from tests.support.servers import owner_url
from tests.support.tokens import ISSUER, Signer

SERVICES = ("registration", "identity")
ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "recorded" / "before_0_1"
SETTINGS_AND_KEYS = ("*.key", "organisations.toml")
START_SECONDS = 30.0


def expected() -> dict[str, Any]:
    """What HTTP and commands answered then."""
    return dict(json.loads((RECORDED / "expected.json").read_text("utf-8")))


def recorded_log(service: str) -> list[dict[str, Any]]:
    """The lines of the exported log."""
    return lines_of(gzip.decompress((RECORDED / f"{service}.jsonl.gz").read_bytes()).decode())


def lines_of(text: str) -> list[dict[str, Any]]:
    """JSON, one object a line."""
    return [json.loads(line) for line in text.splitlines()]


def restore_dump(service: str, url: str) -> None:
    """The whole database, as psql would restore it."""
    dump = gzip.decompress((RECORDED / f"{service}.sql.gz").read_bytes()).decode()

    async def restored() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(dump)
        finally:
            await connection.close()

    asyncio.run(restored())


class Upgraded:
    """Both services of the present code, over these databases, with the keys of before."""

    def __init__(self, folder: Path, databases: Mapping[str, str]) -> None:
        self.folder = folder
        self._ports = {
            name: free_port()
            for name in (*SERVICES, *(f"{service}_worker" for service in SERVICES), "sip", "accounts")
        }
        self._signer = Signer(folder / "jwks.json")
        for pattern in SETTINGS_AND_KEYS:
            for file in RECORDED.glob(pattern):
                shutil.copy(file, folder)
        libraries = (RECORDED / "home_libraries.toml").read_text("utf-8")
        (folder / "home_libraries.toml").write_text(
            libraries.replace("port = 0", f"port = {self._ports['sip']}"), "utf-8"
        )
        for service in SERVICES:
            token = self._signer.token("feed accounts", None, service, exp=int(time.time()) + 3600)
            (folder / f"{service}.token").write_text(token, "ascii")
            settings = self._settings(service, databases[service])
            prefix = service.upper()
            (folder / f"{service}.env").write_text(
                "".join(f"{prefix}_{name}='{value}'\n" for name, value in settings.items()), "utf-8"
            )

    def run(self, service: str, *arguments: str) -> str:
        """What a command that succeeds writes to standard output."""
        done = run_command(service, *arguments, RUN_DIR=str(self.folder))
        words = f"{service} {' '.join(arguments)}\n{done.out[-3000:]}\n{done.errors[-3000:]}"
        assert done.code == 0, words
        return done.out

    def told(self, service: str, *arguments: str) -> Any:
        """The same of a command that speaks JSON."""
        return json.loads(self.run(service, *arguments, "--json"))

    def take_over_log(self, service: str) -> None:
        """A new database takes over the exported log; its views follow from that."""
        file = self.folder / f"{service}.jsonl"
        file.write_bytes(gzip.decompress((RECORDED / f"{service}.jsonl.gz").read_bytes()))
        self.run(service, "migrate")
        self.run(service, "events", "import", str(file))
        self.run(service, "projections", "rebuild", "all")

    def export(self, service: str) -> list[dict[str, Any]]:
        """The lines of the log as it is now."""
        file = self.folder / f"{service}.exported.jsonl"
        self.run(service, "events", "export", str(file))
        return lines_of(file.read_text("utf-8"))

    def client(
        self, service: str, scope: str, organisation: str | None = None, sub: str = "m.visser"
    ) -> httpx2.Client:
        """A caller of the API while it is served."""
        token = self._signer.token(scope, organisation, sub, exp=int(time.time()) + 600)
        return httpx2.Client(
            base_url=f"http://127.0.0.1:{self._ports[service]}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10.0,
        )

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Both APIs, and the outside world that they ask; nothing happens by itself."""
        listens = ["--sip-port", str(self._ports["sip"]), "--http-port", str(self._ports["accounts"])]
        home = [sys.executable, "-m", "infra.local.home_library", *listens, "--run-dir", str(self.folder)]
        apis = [self._program(f"{service}_api", [_command(service), "serve"]) for service in SERVICES]
        with self._running(self._program("home_library", home), *apis):
            asyncio.run(eventually(self._is_ready, within=START_SECONDS))
            yield

    @contextmanager
    def working(self) -> Iterator[None]:
        """Both workers too: messages travel, views follow."""
        workers = [self._program(f"{service}_worker", [_command(service), "work"]) for service in SERVICES]
        with self._running(*workers):
            yield

    def last_words(self) -> str:
        """How the logs of all processes end."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}:\n{log.read_text('utf-8', 'replace')[-2000:]}" for log in logs)

    @contextmanager
    def _running(self, *programs: Program) -> Iterator[None]:
        try:
            for program in programs:
                program.spawn()
            yield
        finally:
            stop_all(programs)

    def _program(self, name: str, command: list[str]) -> Program:
        environment = self._environment() | {"PYTHONPATH": str(ROOT)}
        return Program(name, command, self.folder / f"{name}.log", environment=environment)

    def _is_ready(self) -> bool:
        for service in SERVICES:
            try:
                with self.client(service, "") as client:
                    answer = client.get("/health/ready")
            except httpx2.TransportError as error:
                raise AssertionError(self.last_words()) from error
            assert answer.status_code == 200, f"{answer.text}\n{self.last_words()}"
        return True

    def _environment(self) -> dict[str, str]:
        return without_settings_of_services(os.environ) | {"RUN_DIR": str(self.folder)}

    def _settings(self, service: str, database: str) -> dict[str, object]:
        other = "identity" if service == "registration" else "registration"
        own: dict[str, dict[str, object]] = {
            "registration": {
                "HOME_LIBRARIES": self.folder / "home_libraries.toml",
                "HOME_LIBRARY_USERNAME": "landelijk-lenen",
                "HOME_LIBRARY_PASSWORD": "alleen-op-deze-machine",
                "NIGHTLY_AT": "06:59",  # only for a minute: nobody is asked about while a test looks
            },
            "identity": {"ACCOUNT_DIRECTORY_URL": f"http://127.0.0.1:{self._ports['accounts']}"},
        }
        return {
            "DATABASE_URL": database,
            "OWNER_DATABASE_URL": owner_url(database),
            "OIDC_ISSUER": ISSUER,
            "OIDC_JWKS": self._signer.jwks,
            "SERVICE_TOKEN_FILE": self.folder / f"{service}.token",
            "MASTER_KEY_FILE": self.folder / f"{service}-master.key",
            "PERSON_REF_KEY_FILE": self.folder / "person_ref.key",
            "ERASURE_LEDGER": self.folder / "ledger" / f"{service}.jsonl",
            "ORGANISATIONS": self.folder / "organisations.toml",
            "HOST": "127.0.0.1",
            "PORT": self._ports[service],
            "WORKER_PORT": self._ports[f"{service}_worker"],
            f"{other.upper()}_URL": f"http://127.0.0.1:{self._ports[other]}",
            **own[service],
        }


def _command(service: str) -> str:
    return str(Path(sys.executable).with_name(service))
