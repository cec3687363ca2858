"""Registration with receivers of webhooks: the one of docs/webhooks.md as a process, and hostile ones."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from registration.adapters.tables import SCHEMA
from registration.bootstrap import webhooks_of
from shared.messaging import webhook_state, webhooks
from shared.messaging.webhook_state import ReceiverState, WebhookState
from tests.support.registration_service import RegistrationApp, open_registration_app, registering
from tests.support.servers import Databases

DOCS = Path(__file__).parents[3] / "docs" / "webhooks.md"
LOOPBACK = 'allowed_networks = ["127.0.0.0/8"]\nplain_http = true\n'


def new_secret() -> str:
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


@dataclass
class DocumentedReceiver:
    """The receiver of docs/webhooks.md, as a process of its own."""

    folder: Path
    secret_file: Path
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def database(self) -> Path:
        return self.folder / "received.db"

    def start(self) -> None:
        [source] = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
        program = self.folder / "receiver.py"
        program.write_text(source, "utf-8")
        environment = os.environ | {
            "WEBHOOK_SECRET_FILE": str(self.secret_file),
            "WEBHOOK_PORT": str(self.port),
            "WEBHOOK_DATABASE": str(self.database),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(program)], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=10)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def received(self) -> list[tuple[str, str, int, str]]:
        """What it stored, in the order of coming: id, guest, version, type."""
        with closing(sqlite3.connect(self.database)) as stored:
            return stored.execute("SELECT id, guest, version, type FROM messages ORDER BY number").fetchall()


@pytest.fixture
def documented(tmp_path: Path) -> Iterator[DocumentedReceiver]:
    secret_file = tmp_path / "documented.secret"
    secret_file.write_text(new_secret() + "\n")
    receiver = DocumentedReceiver(tmp_path, secret_file)
    receiver.start()
    yield receiver
    receiver.stop()


@dataclass
class Got:
    """One request that a receiver got."""

    headers: dict[str, str]
    body: bytes


Reply = Callable[[Got], bytes | None]
"""Returns what is written; None: nothing, and the connection stays open."""
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class ScriptedReceiver:
    """Answers each request as `reply` says."""

    reply: Reply = lambda _: OK
    port: int = 0
    got: list[Got] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
                got = Got(headers, await reader.readexactly(int(headers["content-length"])))
                self.got.append(got)
                answer = self.reply(got)
                if answer is None:
                    await reader.read()
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def scripted(reply: Reply = lambda _: OK) -> AsyncIterator[ScriptedReceiver]:
    receiver = ScriptedReceiver(reply)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver


@dataclass
class Hooked:
    """Registration with a file of receivers; `delivering`: its worker's task runs."""

    app: RegistrationApp
    folder: Path
    cards: int = 0

    @property
    def state(self) -> WebhookState:
        return WebhookState(self.app.service.pool)

    def receivers(self, **tables: str) -> None:
        """From now on these, by name; `{secret}` stands for a file with a new secret."""
        text = ""
        for name, table in tables.items():
            secret = self.folder / f"{name}.secret"
            if not secret.exists():
                secret.write_text(new_secret())
            text += f"[receivers.{name}]\n{table.format(secret=secret)}\n"
        (self.folder / "webhooks.toml").write_text(text, "utf-8")
        live = self.app.service.live
        live.take(live.read())

    def at(self, port: int, more: str = "", name: str = "one") -> None:
        """From now on one receiver, on this port."""
        self.receivers(**{name: self.table(port, more)})

    def table(self, port: int, more: str = "") -> str:
        address = f'url = "http://127.0.0.1:{port}/hook"\n'
        secret = "" if "secret_file" in more else 'secret_file = "{secret}"\n'
        return address + secret + LOOPBACK + more + "\n"

    async def registers(self, organisation: str = "1001") -> UUID:
        self.cards += 1
        card = f"09901{self.cards:05d}"
        self.app.member(card)
        async with self.app.client(organisation=organisation) as clerk:
            answer = await clerk.post("/v1/guests", json=registering(card))
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["guest_id"])

    async def changes(self, guest: UUID, language: str) -> None:
        async with self.app.client() as clerk:
            body = {"language": language, "lending_history": True, "newsletter": False}
            answer = await clerk.put(f"/v1/guests/{guest}/preferences", json=body)
        assert answer.status_code < 300, answer.text

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        running = asyncio.create_task(webhooks_of(self.app.service).run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def one(self, name: str = "one") -> ReceiverState:
        """The state of a receiver. Before its delivery began there is none: `eventually` waits for it."""
        found = [state for state in await self.state.receivers() if state.name == name]
        assert found, f"no delivery to {name} began yet"
        return found[0]

    async def log_messages(self) -> list[Any]:
        page = await self.app.service.own_feed.after(0, limit=1000, wait=0)
        return page.messages


@pytest.fixture
async def hooked(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hooked]:
    """With short pauses; what is measured in minutes in production is over at once."""
    monkeypatch.setattr(webhooks, "REST_SECONDS", 0.05)
    monkeypatch.setattr(webhook_state, "FIRST_BACK_OFF_SECONDS", 0.05)
    monkeypatch.setattr(webhook_state, "LONGEST_BACK_OFF_SECONDS", 0.2)
    file = tmp_path / "webhooks.toml"
    file.write_text("")
    async with open_registration_app(databases(scripts=SCHEMA), tmp_path, webhooks=file) as app:
        yield Hooked(app, tmp_path)
