"""Either service as its operator finds it: settings in the environment, a database, the command line."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
import typer
from fastapi import FastAPI
from pydantic import SecretStr

from identity.adapters.in_memory import InMemoryAccountDirectory, InMemoryRegistration
from identity.application.dependencies import Clock
from identity.bootstrap import Replacements as IdentityReplacements
from identity.bootstrap import http_app as identity_app
from identity.bootstrap import open_service as open_identity
from identity.cli.main import app as identity_commands
from registration.adapters.in_memory import InMemoryHomeLibraries, SetClock
from registration.bootstrap import Replacements as RegistrationReplacements
from registration.bootstrap import http_app as registration_app
from registration.bootstrap import open_service as open_registration
from registration.cli.main import app as registration_commands
from registration.domain.verdict import Valid
from shared.cli.running import exit_code
from shared.platform.settings import ServiceSettings
from tests.support import identity_service, registration_service
from tests.support.identity import PERSON_REF_KEY, SimulatedCounter, account_details, existing
from tests.support.registration import on_day
from tests.support.servers import owner_url
from tests.support.tokens import Signer

Answer = tuple[int, Any]


def answered(response: httpx2.Response) -> Answer:
    """Status and body; a problem's own number (`instance`) is another one each time."""
    body = response.json()
    return response.status_code, {name: body[name] for name in body if name != "instance"}


def _key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": f"choice-{name}"}


class Installation(ABC):
    """One service, installed. `database` may be changed; everything else stays."""

    name: str
    caller: str
    commands: typer.Typer
    settings: Any
    guest_id: UUID
    """A guest of `live`; of the other service's messages about it `received` were applied."""
    received: int
    harmless: str
    """A message that can be applied to that guest, and one that cannot when its data is empty."""
    faulty: str

    def __init__(self, database: str, folder: Path, environment: pytest.MonkeyPatch) -> None:
        self.signer = Signer(folder / "jwks.json")
        self.folder = folder
        self._environment = environment
        self.settings = self._settings(database)
        environment.delenv("RUN_DIR", raising=False)
        environment.delenv(self.variable("token"), raising=False)
        for field in type(self.settings).model_fields:
            environment.delenv(self.variable(field), raising=False)
        for field, value in self.settings.model_dump(exclude_none=True).items():
            secret = value.get_secret_value() if isinstance(value, SecretStr) else value
            environment.setenv(self.variable(field), str(secret))

    def variable(self, field: str) -> str:
        """The name of a setting in the environment."""
        return f"{self.name}_{field}".upper()

    def use(self, database: str) -> None:
        """From now on another database, with everything else as before."""
        urls = {"database_url": database, "owner_database_url": owner_url(database)}
        self.settings = self.settings.model_copy(update={name: SecretStr(url) for name, url in urls.items()})
        for name, url in urls.items():
            self._environment.setenv(self.variable(name), url)

    def carry(self, token: str) -> None:
        """Put a token where commands look for one."""
        self._environment.setenv(self.variable("token"), token)

    def run(self, *arguments: str) -> int:
        """A command; its exit code."""
        return exit_code(self.commands, self.name, list(arguments))

    def live(self) -> list[Answer]:
        """Use the service for a while; what it says afterwards."""
        asyncio.run(self._live())
        return self.answers()

    def answers(self) -> list[Answer]:
        """What its HTTP API says of everything that `live` did."""
        return asyncio.run(self._answers())

    @abstractmethod
    def _settings(self, database: str) -> Any: ...

    @abstractmethod
    async def _live(self) -> None: ...

    @abstractmethod
    async def _answers(self) -> list[Answer]: ...

    @asynccontextmanager
    async def _client(self, app: FastAPI, scope: str) -> AsyncIterator[httpx2.AsyncClient]:
        token = self.signer.token(scope=scope, sub=self.caller)
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://service",
            headers={"Authorization": f"Bearer {token}"},
        ) as client:
            yield client


class RegistrationInstallation(Installation):
    """Registration: two guests, one with a request for a new account."""

    name = "registration"
    caller = "identity"
    commands = registration_commands
    received = 0
    harmless = "guest-noted.v1"
    faulty = "login-account-linked.v1"

    def _settings(self, database: str) -> Any:
        return registration_service.settings_in(self.folder, database, self.signer)

    def _open(self) -> AbstractAsyncContextManager[Any]:
        home = InMemoryHomeLibraries([registration_service.HOME])
        for card in ("0990139305", "0990139313"):
            home.answers(registration_service.HOME, card, Valid(registration_service.JAN, None, card))
        clock = SetClock(on_day(registration_service.TODAY))
        accounts = registration_service.FakeLoginAccounts()
        replaced = RegistrationReplacements(home_libraries=home, login_accounts=accounts, clock=clock)
        return open_registration(self.settings, replaced)

    async def _live(self) -> None:
        async with self._open() as service, self._client(registration_app(service), "counter") as clerk:
            new = {"choice": "new", "username": "jan", "email": "jan@example.org"}
            for card, choice in (("0990139305", new), ("0990139313", {"choice": "none"})):
                body = registration_service.registering(card, login_account=choice)
                answer = await clerk.post("/v1/guests", json=body, headers=_key(choice["choice"]))
                assert answer.status_code == 201
                self.guest_id = UUID(answer.json()["guest_id"])
            await clerk.post(f"/v1/guests/{self.guest_id}/deregistration", json={"reason": "vergissing"})

    async def _answers(self) -> list[Answer]:
        async with self._open() as service, self._client(registration_app(service), "counter feed") as clerk:
            body = registration_service.registering("0990139313")
            again = await clerk.post("/v1/guests", json=body, headers=_key("none"))
            feed = (await clerk.get("/v1/feed?after=0")).json()
            guests = {item["subject"]: item for item in feed["items"]}
            paths = (
                "/v1/feed?after=0",
                *(f"/v1/guests/{guest}" for guest in guests),
                *(f"/v1/feed/guests/{guest}" for guest in guests),
                *(f"/v1/feed/guests/{guest}/new-account" for guest in guests),
                "/v1/home-libraries?card_number=1844700015",
            )
            return [answered(again), *[answered(await clerk.get(path)) for path in paths]]


class IdentityInstallation(Installation):
    """Identity: an account with a link that came in time, and one that logged in first."""

    name = "identity"
    caller = "wisecat"
    commands = identity_commands
    received = 2
    harmless = "guest-reinstated.v1"
    faulty = "term-confirmed.v1"
    clock: Clock | None = None

    def _settings(self, database: str) -> Any:
        return identity_service.settings_in(self.folder, database, self.signer, PERSON_REF_KEY)

    def _open(self) -> AbstractAsyncContextManager[Any]:
        self.registration = InMemoryRegistration()
        directory = InMemoryAccountDirectory([account_details(name) for name in ("jan", "piet")])
        replaced = IdentityReplacements(
            registration=self.registration,
            registration_feed=identity_service.FeedOfRegistration(self.registration),
            directory=directory,
            clock=self.clock,
        )
        return open_identity(self.settings, replaced)

    async def _live(self) -> None:
        async with self._open() as service, self._client(identity_app(service), "login") as wisecat:
            counter = SimulatedCounter(self.registration)
            self.guest_id = counter.registers("jan", existing("jan"))
            counter.happens(self.guest_id, "subscription-expired.v1", on="2025-09-12", reason="overig")
            for message in self.registration.messages[self.guest_id]:
                await service.inbox.receive(message)
            for name in ("jan", "piet"):
                answer = await wisecat.post("/v1/logins", json=identity_service.login(name))
                assert answer.status_code == 200

    async def _answers(self) -> list[Answer]:
        scopes = "login accounts feed"
        async with self._open() as service, self._client(identity_app(service), scopes) as client:
            logins = [
                await client.post("/v1/logins", json=identity_service.login(name)) for name in ("jan", "piet")
            ]
            others = [
                await client.get(path)
                for path in (
                    "/v1/feed?after=0",
                    f"/v1/feed/guests/{self.guest_id}",
                    "/v1/login-accounts/acc-jan",
                    "/v1/login-accounts/acc-piet",
                    "/v1/login-accounts?username=jan&home_isil=NL-070288",
                    *(f"/v1/actors/{answer.json()['actor_id']}" for answer in logins),
                )
            ]
            return [answered(answer) for answer in (*logins, *others)]


INSTALLATIONS: dict[str, Callable[[str, Path, pytest.MonkeyPatch], Installation]] = {
    "registration": RegistrationInstallation,
    "identity": IdentityInstallation,
}


def put_into_environment(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """These settings and no others; no local stack is looked at."""
    monkeypatch.delenv("RUN_DIR", raising=False)
    for name, value in settings.model_dump().items():
        variable = f"{settings.prefix()}{name.upper()}"
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            text = value.get_secret_value() if isinstance(value, SecretStr) else value
            monkeypatch.setenv(variable, str(text))
