"""The whole local stack as real processes, for the tests that look at it from outside."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]
PROCESSES = (
    "registration_api",
    "registration_worker",
    "identity_api",
    "identity_worker",
    "home_library",
    "sign_in",
    "wisecat",
)


class RunningStack:
    """A local stack with a RUN_DIR of its own; its description is read from `stack.json` each time.

    `environment`: of a server that is there, say; without `DATABASE_URL` and `AMQP_URL` it starts its own.
    """

    def __init__(self, run_dir: Path, transport: str, environment: Mapping[str, str] | None = None) -> None:
        self.run_dir = run_dir
        self._environment = environment or {}
        self.transport = transport
        self.started_in = 0.0
        """Seconds, of the last start."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, within: float = 60.0) -> None:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "AMQP_URL")
            and not name.startswith(("REGISTRATION_", "IDENTITY_"))
        } | {
            "RUN_DIR": str(self.run_dir),
            "TRANSPORT": self.transport,
            "REGISTRATION_PORT": "0",
            "IDENTITY_PORT": "0",
            **self._environment,
        }
        if self._process is not None:
            self._process.wait(timeout=20)  # it was stopped or killed before
        began = time.monotonic()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        (self.run_dir / "stack.json").unlink(missing_ok=True)
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.local", "--no-story"],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                umask=0o022,  # as most users have it: the stack itself makes its files private
            )
        asyncio.run(eventually(self._is_up, within=within))
        self.started_in = time.monotonic() - began

    def stop(self) -> int:
        """Stop it as an operator would; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=20)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill_if_running(self) -> None:
        """For the end of a test, however that came."""
        if self._process is not None and self.is_running:
            self._process.terminate()
            self._process.wait(timeout=20)

    @property
    def own_pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def family(self) -> list[psutil.Process]:
        """Every process of the stack, its own included."""
        process = psutil.Process(self.own_pid)
        return [process, *process.children(recursive=True)]

    @property
    def output(self) -> Path:
        return self.run_dir / "output.txt"

    @property
    def description(self) -> dict[str, Any]:
        return dict(json.loads((self.run_dir / "stack.json").read_text(encoding="utf-8")))

    def pid(self, name: str) -> int:
        return int(self.description["pids"][name])

    @contextmanager
    def paused(self, *names: str) -> Iterator[None]:
        """Those processes get no time (SIGSTOP) inside the block."""
        pids = [self.pid(name) for name in names]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def kill(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGKILL)

    def client(self, service: str, token: str, **more: Any) -> httpx2.AsyncClient:
        """A client of one service's API with the token of that name."""
        description = self.description
        return httpx2.AsyncClient(
            base_url=description[f"{service}_url"],
            headers={"Authorization": f"Bearer {description['tokens'][token]}"},
            timeout=more.pop("timeout", 30.0),
            **more,
        )

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the stack did not start:\n{self.output.read_text(encoding='utf-8')[-3000:]}")
        return (self.run_dir / "stack.json").exists()


def load_card(number: int) -> str:
    """One of the thousand home library cards that are always valid."""
    return f"0991{number:06d}"


def registration_of(card: str, **changed: Any) -> dict[str, Any]:
    """The body of `POST /v1/guests` for a load card and the login account that belongs to it."""
    return {
        "card_number": card,
        "home_isil": "NL-070288",
        "branch": "9453",
        "subscription_code": "346",
        "card_has_chip": True,
        "identity_document_checked": True,
        "login_account": {"choice": "existing", "account_id": f"acc-{card}"},
    } | changed
