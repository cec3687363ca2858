"""The local stack from outside: what it writes, what dies is started again, what stops is gone."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest
from rich.console import Console

from infra.local.__main__ import NARROWEST
from infra.local.processes import alive
from infra.local.story import StoryRun
from tests.support.commands import run_command
from tests.support.eventually import until
from tests.support.stack import PROCESSES, ROOT, RunningStack, load_card, registration_of

UP_WITHIN = {"feed": 8.0, "amqp": 20.0}  # seconds, on a machine with nothing else to do
SHARED = 4  # beside other tests, which start stacks and browsers of their own
GONE_WITHIN = 10.0
ASKING = httpx2.Client(limits=httpx2.Limits(max_keepalive_connections=0))
"""One for all questions, since making one takes longer than to ask; a connection for each."""


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningStack]]:
    """One over each transport, for all tests of the module: a start takes longer than most of them."""
    folder = tmp_path_factory.mktemp("stacks")
    both = {transport: RunningStack(folder / transport, transport) for transport in UP_WITHIN}
    yield both
    for stack in both.values():
        stack.kill_if_running()


@pytest.fixture
def stack(request: pytest.FixtureRequest, stacks: dict[str, RunningStack]) -> RunningStack:
    """One of them, up: started now, unless an earlier test left it running."""
    return up(stacks[request.param])


def up(stack: RunningStack) -> RunningStack:
    if not stack.is_running:
        stack.start()
    return stack


def over(*transports: str) -> pytest.MarkDecorator:
    """One of them for what both have in common."""
    return pytest.mark.parametrize("stack", transports, indirect=True)


@over("feed", "amqp")
def test_is_up_in_time_and_says_where_everything_is(stack: RunningStack) -> None:
    assert stack.started_in < SHARED * UP_WITHIN[stack.transport]
    description = stack.description
    assert set(description) == {
        *("registration_url", "identity_url", "sign_in_url", "wisecat_url", "transport", "tokens"),
        "worker_urls",
        *("database_urls", "owner_database_urls", "reader_database_urls", "amqp_url", "pids"),
    }
    assert set(description["tokens"]) == {"counter", "counter_other", "operator", "wisecat", "feed"}
    assert set(description["database_urls"]) == {"registration", "identity"}
    assert set(description["pids"]) == set(PROCESSES)
    assert description["transport"] == stack.transport
    assert bool(description["amqp_url"]) == (stack.transport == "amqp")
    for service in ("registration", "identity"):
        assert ASKING.get(f"{description[f'{service}_url']}/health/ready").status_code == 200
        too_much = ASKING.get(
            f"{description[f'{service}_url']}/health/live", headers={"X-More": "x" * 20_000}
        )
        assert too_much.status_code == 431
        worker = f"{description['worker_urls'][service]}/health/ready"
        until(lambda: ASKING.get(worker).status_code == 200, within=10)  # noqa: B023
        assert run_command(service, "doctor", RUN_DIR=str(stack.run_dir)).code == 0
        tokens = (stack.run_dir / "keys" / "metrics.token").read_text(), description["tokens"]["operator"]
        for token, status in ((tokens[0], 200), (tokens[1], 200), (description["tokens"]["feed"], 403)):
            asked = {"Authorization": f"Bearer {token}"}
            metrics = ASKING.get(f"{description[f'{service}_url']}/metrics", headers=asked)
            assert (metrics.status_code, "http_requests_total" in metrics.text) == (status, status == 200)
    library = {"library": "3003", "taal": "en"}  # where Jan is a member
    with httpx2.Client(follow_redirects=True) as patron:
        page = patron.post(f"{description['wisecat_url']}/login", data=library).url
        assert "You are recognised" in patron.post(page, data={**page.params, "person": "acc-jan"}).text
    _must_be_private(stack)


def _must_be_private(stack: RunningStack) -> None:
    """Nobody but the owner can read a file or enter a folder, also those of the servers and of the story."""
    files = [path for path in stack.run_dir.rglob("*") if path != stack.output and not path.is_symlink()]
    assert {"stack.json", "registration.env", "lock", "organisations.toml", "home_library.json"} <= {
        path.name for path in files
    }
    assert [(str(path), oct(path.stat().st_mode)) for path in files if path.stat().st_mode & 0o077] == []


@over("feed", "amqp")
def test_the_story_comes_out_right(stack: RunningStack) -> None:
    told = io.StringIO()
    story = StoryRun(stack.description, stack.run_dir, Console(file=told, width=NARROWEST))
    until(lambda: story.ended, within=60)
    assert story.passed, told.getvalue()
    _has_its_sentences(told.getvalue())


@over("feed")
def test_what_is_killed_is_started_again_on_the_same_port(stack: RunningStack) -> None:
    for name in PROCESSES:
        before = stack.description
        stack.kill(name)
        # 0.5 s, and as much for a busy machine
        until(lambda: stack.pid(name) != before["pids"][name], within=1.0, every=0.01)  # noqa: B023
        after = stack.description
        assert {k: v for k, v in after.items() if k != "pids"} == {
            k: v for k, v in before.items() if k != "pids"
        }
        assert f"{name} is started again as process {after['pids'][name]}" in stack.output.read_text()
    _until_ready(stack)


def test_two_live_side_by_side_but_not_in_one_folder(stacks: dict[str, RunningStack]) -> None:
    feed, amqp = (up(stacks[transport]) for transport in ("feed", "amqp"))
    guests = [_register(stack, load_card(3)) for stack in (feed, amqp)]
    assert guests[0] != guests[1]

    before = feed.description
    third = _run(feed.run_dir, "--no-story")
    assert (third.returncode, "RUN_DIR" in third.stderr) == (1, True)
    assert feed.description == before

    _stops_in_time(feed)
    assert _guest(amqp, guests[1]) == guests[1]


@over("amqp")
def test_finds_its_data_again_whatever_was_killed_or_suspended_and_leaves_no_process(
    stack: RunningStack,
) -> None:
    guest = _register(stack, load_card(1))
    servers = [
        p for p in stack.family() if p.name() in ("postgres", "beam.smp") and p.ppid() == stack.own_pid
    ]
    assert len(servers) == 2
    for server in servers:
        server.kill()
    _until_ready(stack, within=30)
    until(lambda: _is_there(stack, guest), within=30)
    family = stack.family()
    os.kill(stack.own_pid, signal.SIGKILL)
    until(lambda: not alive(family), within=5)

    stack.start()
    assert _guest(stack, guest) == guest
    _stops_in_time(stack, "registration_api", "identity_worker", "postgres", "beam.smp")


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = _run(tmp_path, "--no-story", REGISTRATION_PORT=port)
    assert (refused.returncode, f"port {port} is in use" in refused.stderr) == (1, True)


@pytest.mark.parametrize("port", ["abc", "-1", "65536"])
def test_a_port_that_is_not_a_port_is_refused_in_one_line(port: str, tmp_path: Path) -> None:
    refused = _run(tmp_path, "--no-story", REGISTRATION_PORT=port)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"REGISTRATION_PORT={port} is not a port" in refused.stderr


def test_the_story_comes_out_right_again_exits_with_0_and_with_1_when_it_does_not(
    stacks: dict[str, RunningStack],
) -> None:
    """In the end the refused card of the story is made valid: what the story expects of it does not come."""
    run_dir = stacks["feed"].run_dir  # where the story was told before
    stacks["feed"].kill_if_running()
    story = _run(run_dir, "--exit")
    assert story.returncode == 0, story.stdout + story.stderr
    _has_its_sentences(story.stdout)
    patrons = json.loads((run_dir / "home_library.json").read_text())
    patrons["0990139339"]["status"] = "valid"
    (run_dir / "home_library.json").write_text(json.dumps(patrons))
    story = _run(run_dir, "--exit")
    assert story.returncode == 1
    assert "expected (409, 'guest-refused')" in story.stdout


def _has_its_sentences(told: str) -> None:
    assert "Gastlener kan niet worden ingeschreven: reden [ Klant is geblokkeerd ]" in told
    assert "Ongeldig  Opgezegd, reden overig" in told
    assert "Pas niet geldig!" in told


def _stops_in_time(stack: RunningStack, *suspended: str) -> None:
    """By itself, or while these are suspended; nothing of it is left."""
    family = stack.family()
    assert len(family) > len(PROCESSES)
    pids = [stack.description["pids"].get(name) for name in suspended]
    for process in family:
        if process.pid in pids or process.name() in suspended:
            process.suspend()
    began = time.monotonic()
    code = stack.stop()
    assert code == 0, stack.output.read_text("utf-8")[-2000:]
    assert time.monotonic() - began < GONE_WITHIN
    assert not alive(family)


def _run(run_dir: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "AMQP_URL")}
    ours = {"RUN_DIR": str(run_dir), "TRANSPORT": "feed", "REGISTRATION_PORT": "0", "IDENTITY_PORT": "0"}
    command = [sys.executable, "-m", "infra.local", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=inherited | ours | settings,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def _register(stack: RunningStack, card: str) -> str:
    """The id of the new guest."""
    with _counter(stack) as counter:
        response = counter.post("/v1/guests", json=registration_of(card))
    assert response.status_code == 201, response.text
    return str(response.json()["guest_id"])


def _is_there(stack: RunningStack, guest_id: str) -> bool:
    """False after a 503: backends of a killed postmaster live on for a moment, and make a service ready."""
    with _counter(stack) as counter:
        return counter.get(f"/v1/guests/{guest_id}").status_code == 200


def _guest(stack: RunningStack, guest_id: str) -> str:
    """The id of a guest that is there."""
    with _counter(stack) as counter:
        return str(counter.get(f"/v1/guests/{guest_id}").raise_for_status().json()["guest_id"])


def _counter(stack: RunningStack) -> httpx2.Client:
    description = stack.description
    token = {"Authorization": f"Bearer {description['tokens']['counter']}"}
    return httpx2.Client(base_url=description["registration_url"], headers=token, timeout=20)


def _until_ready(stack: RunningStack, within: float = 15.0) -> None:
    for service in ("registration", "identity"):
        until(partial(_is_ready, stack.description[f"{service}_url"]), within, every=0.05)


def _is_ready(url: str) -> bool:
    try:
        return ASKING.get(f"{url}/health/ready").status_code == 200
    except httpx2.TransportError:
        return False
