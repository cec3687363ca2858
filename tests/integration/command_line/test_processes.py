"""`serve --processes`: real processes behind one address, killed, counted and stopped."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import Program, alive
from shared.platform import limits
from tests.support.eventually import eventually
from tests.support.installation import Installation

REFUSED = "/v1/guests/00000000-0000-4000-8000-000000000000"  # without a token: 401, and counted


@dataclass
class Served:
    """`serve --processes 2`, as its operator starts it."""

    program: Program
    port: int

    @property
    def parent(self) -> psutil.Process:
        return psutil.Process(self.program.pid)

    def children(self) -> list[psutil.Process]:
        return self.parent.children()

    def serving(self) -> list[psutil.Process]:
        """The children that have said that they listen."""
        listening = self.program.log.read_text().count('"server.listening"')
        return self.children() if listening >= 2 else []

    def clients_of(self, process: psutil.Process) -> int:
        """How many connections of clients this process has."""
        return sum(
            bool(c.raddr) and bool(c.laddr) and c.laddr.port == self.port
            for c in process.net_connections("tcp")
            if c.status == psutil.CONN_ESTABLISHED
        )


@pytest.fixture
def served(installed: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Two processes that serve."""
    figures = tmp_path / "temporary"
    figures.mkdir()
    port = free_port()
    monkeypatch.setenv(installed.variable("port"), str(port))
    monkeypatch.setenv("TMPDIR", str(figures))
    with _running(tmp_path, [_command(installed.name), "serve", "--processes", "2"]) as program:
        yield Served(program, port)
    assert list(figures.glob("*-figures-*")) == [], "the folder of figures is left behind"


@contextmanager
def _running(folder: Path, command: Sequence[str]) -> Iterator[Program]:
    program = Program("served", command, folder / "served.log")
    with ExitStack() as stopped:
        program.spawn()
        stopped.callback(program.stop, grace=limits.STOP + 1)
        yield program


def _command(service: str) -> str:
    return str(Path(sys.executable).parent / service)


def _clients_of(served: Served) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=f"http://{LOOPBACK}:{served.port}", timeout=10)


async def _answers(served: Served, path: str = "/health/live") -> int:
    async with _clients_of(served) as http:
        return (await http.get(path)).status_code


async def test_a_hangup_is_passed_on_and_all_take_their_files_again(served: Served) -> None:
    before = {process.pid for process in await eventually(served.serving, within=30)}

    def taken() -> bool:
        served.program.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr] # it was started
        lines = [
            line for line in served.program.log.read_text().splitlines() if "configuration.taken" in line
        ]
        return len({line.partition("SIGHUP to ")[2][:60] for line in lines}) == 2

    await eventually(taken, within=30, every=1.0)
    assert {process.pid for process in served.children()} == before, "nobody died of it"


async def test_both_answer_and_one_that_is_killed_comes_back(served: Served, installed: Installation) -> None:
    await eventually(lambda: len(served.serving()) == 2, within=30)
    first, second = served.children()

    # They share the clients; one that is busy at that moment takes fewer of them.
    async def are_shared() -> bool:
        async with _clients_of(served) as http:
            await asyncio.gather(*(http.get("/health/live") for _ in range(20)))
            return min(served.clients_of(first), served.clients_of(second)) >= 5

    await eventually(are_shared)
    async with _clients_of(served) as http:
        await asyncio.gather(*(http.get("/health/live") for _ in range(20)))

        # What each of them counted is added, whichever is asked.
        asked = await asyncio.gather(*(http.get(REFUSED) for _ in range(40)))
        assert {answer.status_code for answer in asked} <= {401, 404}
        token = installed.signer.token(scope="metrics", sub="prometheus")
        shown = [await _counted(http, token) for _ in range(5)]
        assert {requests for requests, _ in shown} == {40}
        connections = {count for _, count in shown}
        assert max(connections) == served.clients_of(first) + served.clients_of(second)

    # One dies: the other one answers, and soon there are two again.
    first.kill()
    assert [await _answers(served) for _ in range(20)] == [200] * 20
    await eventually(lambda: len(served.children()) == 2 and first.pid not in _pids(served), within=30)
    assert second.pid in _pids(served)
    async with _clients_of(served) as http:
        requests, count = await _counted(http, token)
    assert requests == 40, "what the dead process counted stays"
    assert count == 1, "its connections are not counted any more"

    children = served.children()
    served.program.stop(grace=limits.STOP + 1)
    assert alive(children) == []
    assert served.program.process is not None
    assert served.program.process.returncode == 0


async def _counted(http: httpx2.AsyncClient, token: str) -> tuple[int, int]:
    """The refused requests and the connections of all processes; no figure of one process alone."""
    answer = await http.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    assert "process_resident_memory_bytes" not in answer.text
    assert "pid=" not in answer.text
    refused = re.findall(r'^http_requests_total\{.*status="40[14]".*\} (\S+)$', answer.text, re.MULTILINE)
    (connections,) = re.findall(r"^http_connections (\S+)$", answer.text, re.MULTILINE)
    return int(sum(map(float, refused))), int(float(connections))


def _pids(served: Served) -> set[int]:
    return {child.pid for child in served.children()}


async def test_nothing_is_left_when_the_parent_is_killed(
    installed: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(installed.variable("port"), str(port := free_port()))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with _running(tmp_path, [_command(installed.name), "serve", "--processes", "2"]) as program:
        served = Served(program, port)
        await eventually(lambda: len(served.serving()) == 2, within=30)
        children = served.children()
        served.parent.kill()
        await eventually(lambda: alive(children) == [], within=limits.STOP + 2)


DIE_AT_ONCE = """
import sys
from shared.cli import processes
from shared.cli.running import code_of
from shared.web.server import listening

processes.FIRST_PAUSE_SECONDS = 0.01

async def serving(shared):
    raise OSError(2, "No such file", "key")

with listening("127.0.0.1", 0) as listener:
    sys.exit(code_of("identity", processes.Processes("identity", 2, listener, serving).keep))
"""


def test_processes_that_cannot_start_end_the_parent_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with _running(tmp_path, [sys.executable, "-c", DIE_AT_ONCE]) as program:
        assert program.process is not None
        assert program.process.wait(timeout=30) == 1
    said = program.log.read_text()
    assert said.count("identity: key: No such file.") == 10
    assert "identity: No process can start." in said


async def test_a_process_that_hangs_is_killed_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    hanging = DIE_AT_ONCE.replace('raise OSError(2, "No such file", "key")', "import time; time.sleep(600)")
    hanging = hanging.replace("0.01", "0.01; processes.limits.STOP = 0.5")
    with _running(tmp_path, [sys.executable, "-c", hanging]) as program:
        parent = psutil.Process(program.pid)
        await eventually(lambda: len(parent.children()) == 2)
        children = parent.children()
        for child in children:
            child.suspend()
        parent.send_signal(signal.SIGTERM)
        await eventually(lambda: alive(children) == [] and not program.running)
