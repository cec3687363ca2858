"""Both services, each over a database of its own, speaking HTTP to each other in one process.

Nothing is delivered unless a test asks for it: `deliver_all` brings each what the other has published since.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from identity import bootstrap as identity_bootstrap
from identity import read_models as identity_views
from identity.adapters.registration_client import RegistrationApi
from identity.adapters.tables import SCHEMA as IDENTITY
from identity.application.dependencies import AccountDetails
from registration import bootstrap as registration_bootstrap
from registration import read_models as registration_views
from registration.adapters.identity_client import IdentityApi
from registration.adapters.tables import SCHEMA as REGISTRATION
from shared.messaging.feed import Feed, HttpFeed
from shared.messaging.inbox import Inbox
from shared.platform.http_client import HttpClient
from shared.projections import View
from shared.projections.rebuild import Source
from tests.support.identity_service import IdentityApp, login, open_identity_app
from tests.support.projections import Running, follow_all, rebuild_all
from tests.support.registration_service import CARD, HOME, RegistrationApp, open_registration_app, registering
from tests.support.servers import Databases
from tests.support.tokens import held_token

JAN = AccountDetails("acc-jan", "jan.jansen", "jan@example.org", HOME, CARD)
OTHER_CARD = "0990139313"
PIET = AccountDetails("acc-piet", "piet", "piet@example.org", HOME, OTHER_CARD)


@dataclass
class BothServices:
    """The two services and their callers. `reachable`: whether identity can reach registration."""

    registration: RegistrationApp
    identity: IdentityApp
    clerk: httpx2.AsyncClient
    wisecat: httpx2.AsyncClient
    network: Network
    positions: dict[str, int]

    async def registers(self, choice: dict[str, Any], card: str = CARD) -> dict[str, Any]:
        answer = await self.clerk.post("/v1/guests", json=registering(card, login_account=choice))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def deliver_all(self) -> None:
        """Each receives all that the other has published, until there is nothing new."""
        quiet = False
        while not quiet:
            quiet = not (await self._receives("identity") + await self._receives("registration"))

    async def _receives(self, who: str) -> int:
        inbox: Inbox = getattr(self, who).service.inbox
        feed: Feed = (
            self.identity.service.registration_feed if who == "identity" else self.identity.service.own_feed
        )
        page = await feed.after(self.positions[who], limit=500, wait=0)
        for message in page.messages:
            await inbox.receive(message)
        new, self.positions[who] = page.position - self.positions[who], page.position
        return new

    async def catch_up_views(self) -> None:
        """All read models catch up with the log."""
        for service, views, source in self._views():
            await follow_all(service, views, source)

    async def rebuild_views(self) -> None:
        """All read models are rebuilt."""
        for _, views, source in self._views():
            await rebuild_all(views, source)

    def _views(self) -> list[tuple[Running, Sequence[View], Source]]:
        first, second = self.registration.service, self.identity.service
        return [
            (first, registration_views.VIEWS, registration_bootstrap.view_source(first.settings)),
            (second, identity_views.VIEWS, identity_bootstrap.view_source(second.settings)),
        ]

    async def erases(self, guest: dict[str, Any]) -> None:
        """An operator destroys the guest's personal data; identity does not receive that by itself."""
        async with self.registration.client(
            scope="installation", organisation=None, sub="beheer"
        ) as operator:
            answer = await operator.delete(f"/v1/guests/{guest['guest_id']}/personal-data")
        assert answer.status_code == 204, answer.text

    async def link_of(self, guest: dict[str, Any]) -> dict[str, Any]:
        await self.deliver_all()
        shown = await self.clerk.get(f"/v1/guests/{guest['guest_id']}")
        return dict(shown.json()["login_link"])

    async def logs_in(self, account: AccountDetails = JAN) -> httpx2.Response:
        return await self.wisecat.post("/v1/logins", json={**login(""), "account_id": account.account_id})


class Network(httpx2.ASGITransport):
    """The network between identity and registration."""

    reachable = True

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if not self.reachable:
            raise httpx2.ConnectError("nobody there")
        return await super().handle_async_request(request)


@asynccontextmanager
async def open_both_services(databases: Databases, tmp_path: Path) -> AsyncIterator[BothServices]:
    """Both services over fresh databases; the directory knows Jan and Piet."""
    async with open_registration_app(databases(scripts=REGISTRATION), tmp_path) as registration_app:
        (tmp_path / "identity").mkdir()
        network = Network(registration_app.app)
        token = registration_app.signer.token("feed", None, "identity")
        accounts_token = registration_app.signer.token("accounts", None, "registration")
        async with (
            HttpClient(transport=network) as http,
            open_identity_app(
                databases(scripts=IDENTITY),
                tmp_path / "identity",
                registration=RegistrationApi("http://registration", http, held_token(token)),
                feed=HttpFeed("http://registration", http, held_token(token)),
                signer=registration_app.signer,
                person_ref_key=registration_app.service.deps.person_ref_key,
            ) as identity_app,
            HttpClient(transport=httpx2.ASGITransport(identity_app.app)) as asking,
            registration_app.client() as clerk,
            identity_app.client() as wisecat,
        ):
            registration_app.member(OTHER_CARD)
            identity_app.directory.accounts[:] = [JAN, PIET]
            identity_api = IdentityApi("http://identity", asking, held_token(accounts_token))
            object.__setattr__(registration_app.service.deps, "login_accounts", identity_api)
            yield BothServices(
                registration_app, identity_app, clerk, wisecat, network, {"identity": 0, "registration": 0}
            )


def existing(account: AccountDetails, reason: str | None = None) -> dict[str, Any]:
    """The choice of an existing account; `reason`: although it is on another card."""
    return {"choice": "existing", "account_id": account.account_id, "reason": reason}
