"""The whole of identity over a real database, reached over HTTP; registration is mostly a fake."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
from fastapi import FastAPI

from identity.adapters.in_memory import InMemoryAccountDirectory, InMemoryRegistration
from identity.application.dependencies import Clock, Organisations, RegistrationFeed
from identity.bootstrap import Replacements, Service, http_app, open_service
from identity.domain.guest_link import GuestLink
from identity.settings import Settings
from shared.messaging.envelope import Message
from shared.messaging.errors import FeedUnavailable
from shared.messaging.feed import Feed, FeedPage
from tests.support.identity import PERSON_REF_KEY, SimulatedCounter, account_details
from tests.support.servers import owner_url
from tests.support.tokens import ISSUER, Signer

ORGANISATIONS = """
[organisations.1001]
name = "Biblionet Drenthe"
isils = ["NL-070297"]

[organisations.2002]
name = "Thuisbibliotheek"
isils = ["NL-070288"]

[organisations.2602]
name = "DOK Delft"
isils = []
"""
ACCOUNTS = "https://accounts.example"
"""The issuer of the account provider, whose ID tokens the same test service signs."""
RETURN_TO = "https://catalogus.example/inloggen"
CATALOGUES = f"""
[issuers."{ACCOUNTS}"]
jwks = "%s"

[issuers."https://other-accounts.example"]
jwks = "%s"
account_claim = "card.account"
id_token_seconds = 60
nonce_required = false

[catalogues.wisecat]
client_ids."{ACCOUNTS}" = ["wisecat-web"]
client_ids."https://other-accounts.example" = ["wisecat-there"]
return_to = "{RETURN_TO}"

[catalogues.careful]
client_ids."{ACCOUNTS}" = ["careful"]
id_token_only = true
"""
WRITTEN_TABLES = ("stored_events", "usernames", "data_keys", "idempotency_keys", "inbox")


class FeedOfRegistration:
    """Registration's feed, over what the fake has committed."""

    def __init__(self, registration: InMemoryRegistration) -> None:
        self._registration = registration

    async def after(self, position: int, *, limit: int, wait: float) -> FeedPage:
        """The messages beyond a position."""
        self._ask()
        every = [each for messages in self._registration.messages.values() for each in messages]
        page = sorted((each for each in every if each.position > position), key=lambda each: each.position)
        return FeedPage(page[:limit], page[:limit][-1].position if page else position)

    async def of_subject(self, guest_id: UUID, *, after_version: int) -> list[Message]:
        """One guest's messages."""
        self._ask()
        return self._registration.messages[guest_id][after_version:]

    def _ask(self) -> None:
        if self._registration.unplugged:
            raise FeedUnavailable("unplugged")


@dataclass
class IdentityApp:
    """Identity, running, with what a test turns and looks at."""

    service: Service
    app: FastAPI
    signer: Signer
    registration: InMemoryRegistration
    counter: SimulatedCounter
    directory: InMemoryAccountDirectory

    def client(
        self,
        scope: str = "login",
        sub: str = "wisecat",
        token: str | None = None,
        organisations: Sequence[str] = ("1001", "2002", "3003"),
    ) -> httpx2.AsyncClient:
        """A caller with this scope, or with this token."""
        signed = token or self.signer.token(scope=scope, organisation=organisations, sub=sub)
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.app),
            base_url="http://identity",
            headers={"Authorization": f"Bearer {signed}"},
        )

    def of_all(self, organisations: Sequence[str]) -> httpx2.AsyncClient:
        """A catalogue of these organisations, which the settings know from now on."""
        known = dict(self.service.deps.organisations.isils) | dict.fromkeys(organisations, frozenset())
        object.__setattr__(self.service.deps, "organisations", Organisations(known))
        return self.client(organisations=organisations)

    async def written(self) -> dict[str, int]:
        """How much there is of everything that a write leaves behind."""
        return {
            table: await self.service.pool.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608
            for table in WRITTEN_TABLES
        }

    @asynccontextmanager
    async def nothing_written(self) -> AsyncIterator[None]:
        """Whatever happens inside leaves no trace in the database."""
        before = await self.written()
        yield
        assert await self.written() == before

    async def topics(self) -> list[str]:
        """Every event, in order."""
        return [event.event_type for event in await self.service.log.read(0, 10_000)]

    async def link(self, guest_id: UUID) -> GuestLink:
        """What became of a guest's link."""
        return await self.service.deps.store.load(GuestLink, guest_id)

    async def deliver_all(self, guest_id: UUID) -> None:
        """The queue brings all that registration has committed of a guest."""
        for message in list(self.registration.messages[guest_id]):
            await self.service.inbox.receive(message)


def login(name: str, organisation: str = "1001") -> dict[str, Any]:
    """The body of a login with the account `acc-<name>`."""
    return {"account_id": f"acc-{name}", "organisation": organisation}


def id_token(signer: Signer, account_id: str = "acc-jan", **changed: Any) -> str:
    """An ID token for the catalogue; `changed` overrides claims, None leaves one out."""
    now = int(time.time())
    claims = {"iss": ACCOUNTS, "aud": "wisecat-web", "sub": account_id, "nonce": "n-1", "iat": now}
    everything = {**claims, "exp": now + 600, **changed}
    return signer.signed({name: value for name, value in everything.items() if value is not None}, "JWT")


def settings_in(folder: Path, database: str, signer: Signer, person_ref_key: bytes) -> Settings:
    """Identity's settings, with every file that they name."""
    (folder / "identity.key").write_text(base64.b64encode(bytes(32)).decode() + "\n", "ascii")
    (folder / "shared.key").write_text(base64.b64encode(person_ref_key).decode() + "\n", "ascii")
    (folder / "identity-organisations.toml").write_text(ORGANISATIONS, "utf-8")
    (folder / "identity.token").write_text(signer.token("feed", None, "identity"), "ascii")
    catalogues = folder / "catalogues.toml"
    catalogues.write_text(CATALOGUES % (signer.jwks, signer.jwks), "utf-8")
    for name in ("identity.key", "shared.key", "identity.token"):
        (folder / name).chmod(0o600)
    return Settings.model_validate(
        {
            "database_url": database,
            "owner_database_url": owner_url(database),
            "oidc_issuer": ISSUER,
            "oidc_jwks": str(signer.jwks),
            "service_token_file": folder / "identity.token",
            "master_key_file": folder / "identity.key",
            "person_ref_key_file": folder / "shared.key",
            "registration_url": "http://127.0.0.1:9",
            "catalogues": catalogues,
            "counter_url": "https://balie.example",
            "organisations": folder / "identity-organisations.toml",
            "erasure_ledger": folder / "ledger" / "identity.jsonl",
        }
    )


@asynccontextmanager
async def open_identity_app(
    database: str,
    folder: Path,
    *,
    registration: RegistrationFeed | None = None,
    feed: Feed | None = None,
    signer: Signer | None = None,
    person_ref_key: bytes = PERSON_REF_KEY,
    clock: Clock | None = None,
    account_directory: Path | None = None,
) -> AsyncIterator[IdentityApp]:
    """Identity over a database that has its schema; the directory knows jan, kind and piet.

    `account_directory`: the file of another directory, which is asked in the place of that one.
    """
    signer = signer or Signer(folder / "jwks.json")
    fake = InMemoryRegistration()
    directory = InMemoryAccountDirectory([account_details(name) for name in ("jan", "kind", "piet")])
    replaced = Replacements(
        registration=registration or fake,
        registration_feed=feed or FeedOfRegistration(fake),
        directory=None if account_directory else directory,
        clock=clock,
    )
    settings = settings_in(folder, database, signer, person_ref_key)
    settings = settings.model_copy(update={"account_directory": account_directory})
    async with open_service(settings, replaced) as service:
        yield IdentityApp(service, http_app(service), signer, fake, SimulatedCounter(fake), directory)
