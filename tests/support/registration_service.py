"""The whole of registration over a real database, reached over HTTP; only the outside world is a fake."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx2
from fastapi import FastAPI

from registration.adapters.in_memory import InMemoryHomeLibraries, SetClock
from registration.application.dependencies import ActorMerge, FoundAccount, GuestAccount, LoginActor
from registration.application.nightly_check import run_nightly_check
from registration.application.nightly_report import NightlyReport
from registration.application.repository import load_guest
from registration.application.show_guest import GuestView, show_guest
from registration.bootstrap import Replacements, Service, http_app, open_service, view_source
from registration.domain.errors import LoginAccountsUnavailable
from registration.domain.term_check import NightlyCheck
from registration.domain.verdict import PatronDetails, Valid, Verdict
from registration.read_models.terms_due import VIEW as TERMS_DUE
from registration.settings import Settings
from shared.event_log import Metadata
from shared.kernel.library_card import isil_base, person_ref
from shared.platform.leases import Leases
from tests.support.projections import follow_all
from tests.support.registration import on_day
from tests.support.servers import owner_url
from tests.support.tokens import ISSUER, Signer

CARD = "0990139305"
HOME = "NL-070288"
FRYSLAN = "NL-083424"
TODAY = date(2025, 9, 11)
JAN = PatronDetails("J. Jansen", date(1980, 2, 3), "Brink 1, Groningen", "jan@example.org")

ORGANISATIONS = """
[organisations.1001]
name = "Biblionet Drenthe"
isils = ["NL-070297"]
branches = { 9453 = "Roden" }

[organisations.2002]
name = "Andere bibliotheek"
isils = ["NL-083559"]
branches = { 9453 = "Delft" }
strips = false
"""
WRITTEN_TABLES = (
    "stored_events",
    "registrations",
    "registration_accounts",
    "data_keys",
    "idempotency_keys",
    "inbox",
)
TOMORROW = TODAY + timedelta(days=1)


class FakeLoginAccounts:
    """Login accounts of identity; `down`: identity cannot be reached. Jan's is on the seed's card.

    `silent`: it never says what accounts are called. `questions`: which accounts were named in one question.
    `person_ref_key`: the one of the service, once it is open.
    """

    def __init__(self) -> None:
        self.down = False
        self.silent = False
        self.questions: list[list[str]] = []
        self.person_ref_key = b""
        self.asked: list[str] = []
        self.merges: dict[UUID, ActorMerge] = {}
        self.merged: list[ActorMerge] = []
        self._known: dict[str, tuple[str, str, str]] = {}
        self.opens("jan")

    def opens(self, name: str, card: str = CARD, isil: str = HOME, account_id: str | None = None) -> str:
        """From now on there is an account `acc-<name>`, or under this id, on this card; its id."""
        known_as = account_id or f"acc-{name}"
        self._known[known_as] = (name, card, isil)
        return known_as

    async def find(self, username: str, home_isil: str) -> FoundAccount | None:
        self._ask(username)
        found = [self._found(account_id) for account_id in self._known]
        wanted = (username, isil_base(home_isil))
        return next((each for each in found if (each.username, isil_base(each.home_isil)) == wanted), None)

    async def by_id(self, account_id: str) -> FoundAccount | None:
        self._ask(account_id)
        return self._found(account_id) if account_id in self._known else None

    async def names(self, account_ids: Sequence[str]) -> Sequence[GuestAccount]:
        self.questions.append(list(account_ids))
        if self.silent:
            await asyncio.Event().wait()
        found = [await self.by_id(account_id) for account_id in account_ids]
        return [
            GuestAccount(account_id, "found", account.username, account.email)
            if account
            else GuestAccount(account_id, "unknown")
            for account_id, account in zip(account_ids, found, strict=True)
        ]

    async def with_username(self, username: str, home_isils: Sequence[str]) -> Sequence[str]:
        found = [await self.find(username, isil) for isil in home_isils]
        return [account.account_id for account in found if account]

    def has_two_actors(self, guest_id: UUID, *, blocked: str | None = None) -> None:
        """From now on the login of this guest has an actor of its own, since before the guest was linked."""
        actor = LoginActor(uuid4(), [(guest_id, "1001")], {"1001": datetime(2025, 9, 1, 9, 30, tzinfo=UTC)})
        into = LoginActor(uuid4(), [(uuid4(), "2002")], {"2002": datetime(2025, 8, 1, tzinfo=UTC)})
        born: Literal["different", "unknown"] = "different" if blocked else "unknown"
        self.merges[guest_id] = ActorMerge(actor, into, born, blocked)

    async def actor_merge(self, account_id: str, guest_id: UUID) -> ActorMerge | None:
        self._ask(account_id)
        return self.merges.get(guest_id)

    async def merge_actors(self, merge: ActorMerge, correlation_id: UUID) -> None:
        self.merged.append(merge)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.down:
            raise LoginAccountsUnavailable

    def _found(self, account_id: str) -> FoundAccount:
        name, card, isil = self._known[account_id]
        person = person_ref(self.person_ref_key, isil_base(isil), card)
        username = "jan.jansen" if name == "jan" else name
        return FoundAccount(account_id, username, f"{name}@example.org", isil, person)


@dataclass
class RegistrationApp:
    """Registration, running, with what a test turns and looks at."""

    service: Service
    app: FastAPI
    signer: Signer
    home: InMemoryHomeLibraries
    accounts: FakeLoginAccounts
    clock: SetClock

    def client(self, token: str | None = None, **claims: Any) -> httpx2.AsyncClient:
        """A caller with this token, or with a token of these claims."""
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.app),
            base_url="http://registration",
            headers={"Authorization": f"Bearer {token or self.signer.token(**claims)}"},
        )

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

    async def links(self, guest_id: UUID, account_id: str) -> int:
        """Identity links this account to the guest of Drenthe; the position of that event."""
        deps = self.service.deps
        guest = await load_guest(guest_id, "1001", deps)
        guest.confirm_link(account_id, too_late=False, now=deps.clock.now())
        return await deps.store.save(guest, metadata=Metadata("identity", uuid4()))

    def member(self, card: str = CARD, isil: str = HOME, ends_on: date | None = date(2026, 12, 31)) -> None:
        """From now on this card is a member's."""
        self.home.answers(isil, card, Valid(JAN, ends_on, card))


def registering(card: str = CARD, **more: Any) -> dict[str, Any]:
    """The body of a registration."""
    return {
        "card_number": card,
        "home_isil": HOME,
        "branch": "9453",
        "subscription_code": "346",
        "card_has_chip": True,
        "identity_document_checked": True,
        "login_account": {"choice": "none"},
        **more,
    }


def settings_in(folder: Path, database: str, signer: Signer) -> Settings:
    """Registration's settings, with every file that they name."""
    for name in ("master.key", "person_ref.key"):
        (folder / name).write_text(base64.b64encode(os.urandom(32)).decode() + "\n", "ascii")
    (folder / "organisations.toml").write_text(ORGANISATIONS, "utf-8")
    (folder / "home_libraries.toml").write_text("[libraries]\n", "utf-8")
    (folder / "service.token").write_text(
        signer.token("feed accounts installation", None, "registration"), "ascii"
    )
    for name in ("master.key", "person_ref.key", "service.token"):
        (folder / name).chmod(0o600)
    return Settings.model_validate(
        {
            "database_url": database,
            "owner_database_url": owner_url(database),
            "oidc_issuer": ISSUER,
            "oidc_jwks": str(signer.jwks),
            "service_token_file": folder / "service.token",
            "master_key_file": folder / "master.key",
            "person_ref_key_file": folder / "person_ref.key",
            "identity_url": "http://127.0.0.1:9",
            "home_libraries": folder / "home_libraries.toml",
            "organisations": folder / "organisations.toml",
            "erasure_ledger": folder / "ledger" / "registration.jsonl",
            # A test looks up more in a minute than a clerk does; those of the limit set their own.
            "lookups_per_minute": 10_000,
            "lookups_per_hour": 10_000,
        }
    )


@asynccontextmanager
async def open_registration_app(database: str, folder: Path, **more: Any) -> AsyncIterator[RegistrationApp]:
    """A counter on 11 September 2025, over a database that has its schema; the seed's member is at home.

    `more` overrides settings.
    """
    signer = Signer(folder / "jwks.json")
    home, accounts, clock = (
        InMemoryHomeLibraries([HOME, FRYSLAN]),
        FakeLoginAccounts(),
        SetClock(on_day(TODAY)),
    )
    replaced = Replacements(home_libraries=home, login_accounts=accounts, clock=clock)
    settings = settings_in(folder, database, signer).model_copy(update=more)
    async with open_service(settings, replaced) as service:
        accounts.person_ref_key = service.deps.person_ref_key
        registration_app = RegistrationApp(service, http_app(service), signer, home, accounts, clock)
        registration_app.member()
        yield registration_app


class InterceptedHomeLibraries(InMemoryHomeLibraries):
    """Remembers what was asked, and does something before each reply."""

    def __init__(self, home: InMemoryHomeLibraries) -> None:
        self.__dict__.update(home.__dict__)
        self.asked: list[tuple[str, str]] = []
        self.before: Callable[[str, str], Awaitable[Verdict | None]] | None = None

    async def ask(self, isil: str, card_number: str) -> Verdict:
        self.asked.append((isil, card_number))
        if self.before is not None and (instead := await self.before(isil, card_number)) is not None:
            return instead
        return await super().ask(isil, card_number)


class NightlyApp:
    """Registration whose guests are checked by the nightly check."""

    def __init__(self, registration_app: RegistrationApp, home: InterceptedHomeLibraries) -> None:
        self.app, self.home, self.service = registration_app, home, registration_app.service

    async def register(self, card: str, isil: str = HOME) -> UUID:
        self.app.member(card, isil)
        async with self.app.client(scope="counter", organisation="1001") as client:
            answer = await client.post("/v1/guests", json=registering(card, home_isil=isil))
        assert answer.status_code == 201, answer.text
        self.home.asked.clear()
        return UUID(answer.json()["guest_id"])

    async def at(self, moment: datetime) -> None:
        """It is then, and the view of the due has caught up."""
        self.app.clock.moment = moment
        await follow_all(self.service, [TERMS_DUE], view_source(self.service.settings))

    async def run(self, day: date = TOMORROW) -> NightlyReport:
        await self.at(on_day(day))
        return await self.run_now(day)

    async def run_now(self, day: date = TOMORROW) -> NightlyReport:
        """The nightly check of that day, whatever the clock says."""
        report = await run_nightly_check(
            NightlyCheck(day),
            "operator",
            self.service.nightly_checks,
            Leases(self.service.pool),
            self.service.deps,
        )
        assert report is not None
        return report

    async def show(self, guest_id: UUID) -> GuestView:
        return await show_guest(guest_id, "1001", self.service.deps)


@asynccontextmanager
async def open_nightly_app(database: str, folder: Path) -> AsyncIterator[NightlyApp]:
    """A counter over this database, its home library replaced by one that remembers."""
    async with open_registration_app(database, folder) as registration_app:
        home = InterceptedHomeLibraries(registration_app.home)
        object.__setattr__(registration_app.service.deps, "home_libraries", home)
        yield NightlyApp(registration_app, home)
