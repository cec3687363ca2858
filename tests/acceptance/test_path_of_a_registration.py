"""The modules that one registration runs through, from the clerk's Enter to the link at both services.

`docs/architecture.md` lists them; this test keeps the list true. The whole stack runs as real processes over
RabbitMQ and SIP2, and each records whose functions are called while one guest is registered and linked.
Read models are beside this path and are left out, and so are the entry points (`cli/`).
"""

import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.eventually import eventually
from tests.support.stack import ROOT, RunningStack, load_card, registration_of

PROCESSES = ("registration_api", "registration_worker", "identity_api", "identity_worker")
MOST_MODULES = 75
BESIDE = re.compile(r"/read_models/|^shared/projections/|/cli/")
BACKGROUND = {
    "services/registration/adapters/nightly_checks.py",
    "services/registration/application/follow_aliases.py",
    "services/registration/application/nightly_check.py",
    "services/registration/application/nightly_report.py",
    "services/registration/domain/term_check.py",
    "services/registration/domain/text_matching.py",  # by the view of the guest directory
    "shared/messaging/broker_faults.py",
    "shared/messaging/exchanges.py",
    "shared/messaging/feed_poller.py",
    "shared/messaging/other_log.py",
    "shared/messaging/parked.py",
    "services/registration/adapters/configuration.py",
    "services/identity/adapters/configuration.py",
    "shared/configuration/record.py",
    "shared/messaging/webhooks.py",
    "shared/platform/database_hosts.py",
    "shared/platform/leases.py",
    "shared/platform/lifecycle.py",
    "shared/platform/retry.py",
    "shared/platform/secrets.py",
    "shared/web/feed_api.py",
    "shared/web/openapi.py",  # FastAPI names the operation of a route when it is asked the first time
    "shared/web/server.py",
    "shared/web/service_token.py",
}
"""Called in loops or by views, so the recorded moment may have them or not."""

RECORDER = """
import os, signal, sys
folder, called = os.environ.get("CALLED_MODULES"), set()

def note(frame, event, _argument):
    if event == "call" and frame.f_code.co_name != "<module>":
        called.add(frame.f_code.co_filename)

def begin(_number, _frame):
    sys.setprofile(note)
    open(os.path.join(folder, f"{os.getpid()}.begun"), "w").close()

def end(_number, _frame):
    sys.setprofile(None)
    path = os.path.join(folder, str(os.getpid()))
    with open(path + ".partial", "w") as file:
        file.write("\\n".join(sorted(called)))
    os.rename(path + ".partial", path + ".txt")

if folder:
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningStack]:
    """A stack of our own, whose processes record what is called after SIGUSR1, until SIGUSR2."""
    (tmp_path / "sitecustomize.py").write_text(RECORDER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CALLED_MODULES", str(tmp_path))
    running = RunningStack(tmp_path / "run", "amqp")
    running.start()
    yield running
    running.kill_if_running()


def listed() -> list[str]:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = page.split("## The path of one registration", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"`((?:services|shared)/[\w/]+\.py)`", section)


async def is_linked(counter: httpx2.AsyncClient, guest_id: str) -> bool:
    guest = (await counter.get(f"/v1/guests/{guest_id}")).json()
    return bool(guest["login_link"]["state"] == "linked")


async def filled_in(counter: httpx2.AsyncClient, number: int) -> dict[str, Any]:
    """A registration whose login account the clerk has searched, as on the form before Enter."""
    card = load_card(number)
    query = {"username": f"load.{card}", "home_isil": "NL-070288"}
    found = (await counter.get("/v1/login-accounts", params=query)).json()["account"]
    account = {"choice": "existing", "account_handle": found["account_handle"]}
    return registration_of(card, login_account=account)


async def registers(counter: httpx2.AsyncClient, form: dict[str, Any]) -> None:
    answer = await counter.post("/v1/guests", json=form)
    assert answer.status_code == 201, answer.text
    await eventually(lambda: is_linked(counter, answer.json()["guest_id"]), within=20)


@asynccontextmanager
async def recorded(stack: RunningStack, folder: Path) -> AsyncIterator[set[str]]:
    """The product's modules whose functions are called inside the block, known after it."""
    modules: set[str] = set()
    pids = [stack.pid(name) for name in PROCESSES]
    for pid in pids:
        os.kill(pid, signal.SIGUSR1)
    await eventually(lambda: all((folder / f"{pid}.begun").exists() for pid in pids))
    yield modules
    for pid in pids:
        os.kill(pid, signal.SIGUSR2)
    await eventually(lambda: all((folder / f"{pid}.txt").exists() for pid in pids))
    for pid in pids:
        for path in map(Path, (folder / f"{pid}.txt").read_text(encoding="utf-8").splitlines()):
            if path.is_relative_to(ROOT / "services") or path.is_relative_to(ROOT / "shared"):
                modules.add(str(path.relative_to(ROOT)))


async def test_one_registration_runs_through_the_listed_modules(stack: RunningStack, tmp_path: Path) -> None:
    async with stack.client("registration", "counter") as counter:
        first, second = await filled_in(counter, 501), await filled_in(counter, 502)
        await registers(counter, first)  # what is imported late, and connected once, is not part of the path
        async with recorded(stack, tmp_path) as modules:
            await registers(counter, second)
    called = {module for module in modules if not BESIDE.search(module)}
    page = set(listed())
    assert called - page - BACKGROUND == set(), "not listed in docs/architecture.md"
    assert page - called - BACKGROUND == set(), "listed in docs/architecture.md, but not called"


def test_the_path_has_few_modules() -> None:
    assert 0 < len(set(listed())) <= MOST_MODULES
