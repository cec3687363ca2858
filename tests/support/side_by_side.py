"""The release before and this one over the same databases and broker, each process of one of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2

from infra.local.ports import free_port
from infra.local.processes import Program, stop_all
from tests.support.release_before import ROOT, SERVICES, Upgraded

RELEASE_BEFORE = "1f0e9cd9a032ddee6ac963497682d0aaf9ac219a"
"""The last state before what CHANGELOG.md lists as new; a tag, once there is one."""
BEFORE, NOW = "before", "now"


class NoReleaseBefore(Exception):
    """The release before is not in this clone. The text says what to do."""


def release_before() -> Path:
    """Return the folder of the release before with its own locked Python environment, made once.

    Raises NoReleaseBefore.
    """
    named = os.environ.get("RELEASE_BEFORE") or RELEASE_BEFORE
    commit = _git("rev-parse", "--verify", "--quiet", f"{named}^{{commit}}").decode().strip()
    if not commit:
        raise NoReleaseBefore(
            f"the release before ({named}) is not in this clone: `git fetch --unshallow --tags`,"
            " or name another one that is: make upgrade RELEASE_BEFORE=TAG"
        )
    folder = ROOT / ".artefacts" / "release-before" / commit[:12]
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", str(folder)], input=_git("archive", commit), check=True)
        subprocess.run(["sh", "infra/environment.sh", ".venv"], cwd=folder, check=True)
        (folder / "ready").touch()
    return folder


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False).stdout


class SideBySide(Upgraded):
    """Both services over these databases and this broker; each process is of one of the two releases.

    `old`: the folder of the release before.
    """

    def __init__(
        self, folder: Path, databases: Mapping[str, str], brokers: Mapping[str, str], old: Path
    ) -> None:
        super().__init__(folder, databases)
        self.databases = databases
        self._old = old
        self._running_now: dict[tuple[str, str], Program] = {}
        self._second_ports = {service: free_port() for service in SERVICES}
        for service, other in zip(SERVICES, reversed(SERVICES), strict=True):
            own, theirs = (folder / f"{name}-messages.key" for name in (service, other))
            own.write_text(MESSAGES_KEYS[service], "ascii")
            more = {"AMQP_URL": brokers[service], "SIGNING_KEY_FILE": own, "VERIFICATION_KEY_FILE": theirs}
            with (folder / f"{service}.env").open("a", encoding="utf-8") as settings:
                settings.writelines(f"{service.upper()}_{name}='{value}'\n" for name, value in more.items())

    def command(self, release: str, service: str, *arguments: str) -> str:
        """What a command of a release writes to standard output; it must succeed."""
        done = subprocess.run(
            [*self._program_of(release, service), *arguments],
            env=self._environment_of(release),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, (
            f"{release} {service} {arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
        return done.stdout

    def start(self, release: str, service: str, kind: str) -> None:
        """Start an API (`serve`) or a worker (`work`), also beside a worker of the other release."""
        environment = self._environment_of(release)
        if kind == "work" and release == NOW:  # two workers on one machine have two ports
            environment[f"{service.upper()}_WORKER_PORT"] = str(self._second_ports[service])
        program = Program(
            f"{service} {kind} {release}",
            [*self._program_of(release, service), kind],
            self._log(release, service, kind),
            environment=environment,
        )
        if (log := self._log(release, service, kind)).exists():
            log.rename(log.with_suffix(f".{len(list(self.folder.iterdir()))}.log"))
        program.spawn()
        self._running_now[service, f"{kind} {release}"] = program

    def stop(self, release: str, service: str, kind: str) -> None:
        """Stop it as an operator does; it must end by itself."""
        program = self._running_now.pop((service, f"{kind} {release}"))
        assert program.running, f"{program.name} died: {program.last_words(30)}"
        assert program.process is not None
        program.process.terminate()
        program.process.wait(timeout=15)

    def all_run(self) -> None:
        """Nothing has died."""
        for program in self._running_now.values():
            assert program.running, f"{program.name} died: {program.last_words(30)}"

    @contextmanager
    def outside_world(self) -> Iterator[None]:
        """The home library and the account directory; at the end everything is stopped."""
        listens = ["--sip-port", str(self._ports["sip"]), "--http-port", str(self._ports["accounts"])]
        home = [sys.executable, "-m", "infra.local.home_library", *listens, "--run-dir", str(self.folder)]
        try:
            with self._running(self._program("home_library", home)):
                yield
        finally:
            stop_all([*self._running_now.values()])

    def async_client(
        self, service: str, scope: str, organisation: str | None = None, sub: str = "m.visser"
    ) -> httpx2.AsyncClient:
        """A caller of the API, whichever release answers; its token is good for an hour."""
        with self.client(service, scope, organisation, sub) as client:
            return httpx2.AsyncClient(base_url=client.base_url, headers=client.headers, timeout=15.0)

    def is_ready(self, service: str) -> bool:
        """Whether the API is ready."""
        try:
            with self.client(service, "") as client:
                return client.get("/health/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def worker_is_ready(self, release: str, service: str) -> bool:
        """Whether the worker is ready: the one of the release before says so once, in its log."""
        if release == BEFORE:
            return b"worker.ready" in self._log(release, service, "work").read_bytes()
        try:
            answer = httpx2.get(f"http://127.0.0.1:{self._second_ports[service]}/health/ready")
        except httpx2.TransportError:
            return False
        return answer.status_code == 200

    def _log(self, release: str, service: str, kind: str) -> Path:
        return self.folder / f"{service}-{kind}-{release}.log"

    def _program_of(self, release: str, service: str) -> list[str]:
        folder = self._old if release == BEFORE else ROOT
        return [str(folder / ".venv" / "bin" / service)]

    def _environment_of(self, release: str) -> dict[str, str]:
        folder = self._old if release == BEFORE else ROOT
        return self._environment() | {"PYTHONPATH": f"{folder / 'services'}:{folder}"}


MESSAGES_KEYS: Mapping[str, str] = {
    "registration": "cmVnaXN0cmF0aW9uLXJlZ2lzdHJhdGlvbi1yZWdpc3Q=\n",
    "identity": "aWRlbnRpdHktaWRlbnRpdHktaWRlbnRpdHktaWRlbnQ=\n",
}
"""Thirty-two bytes each."""
