"""The page of a guest as a clerk uses it over HTTP, and what identity says of its account."""

from collections.abc import Callable
from uuid import UUID, uuid4

import httpx2

from registration.application.repository import load_guest
from registration.bootstrap import view_source
from registration.domain.guest import Guest as Aggregate
from registration.domain.verdict import Reason, Refused, Verdict
from registration.read_models import VIEWS
from shared.event_log import Metadata
from tests.support.counter_pages import (
    CounterSite,
    fields_of,
    form_of,
)
from tests.support.projections import follow_all
from tests.support.registration_service import HOME

ENDED = Refused((Reason.EXPIRED,), because_ended=True)
USERNAMES = {"jan": "jan.jansen", "shared": "shared"}


class Guest:
    """A guest of the clerk's, and the card by which home is asked about it."""

    def __init__(self, counter_site: CounterSite, path: str, card: str) -> None:
        self.counter_site, self.path, self.card = counter_site, path, card

    def home_says(self, verdict: Verdict) -> None:
        self.counter_site.app.home.answers(HOME, self.card, verdict)

    async def expires(self, clerk: httpx2.AsyncClient) -> None:
        self.home_says(ENDED)
        assert (await self.does(clerk, "thuischeck")).status_code == 303

    async def does(self, clerk: httpx2.AsyncClient, action: str, **more: str) -> httpx2.Response:
        """Send the form of the guest's page, or of the action's own page, that leads there."""
        page = await clerk.get(f"{self.path}/{action}")
        if page.status_code != 200:
            page = await clerk.get(self.path)
        fields = form_of(page.text, f"{self.path}/{action}")
        return await clerk.post(f"{self.path}/{action}", data=fields | more)

    async def links(self, clerk: httpx2.AsyncClient, name: str = "jan") -> httpx2.Response:
        """Search the account, see whose it is, and press Koppelen."""
        link, fields = f"{self.path}/koppelen", fields_of(await self.shown(clerk, "inlogaccount"), "link")
        username = USERNAMES.get(name, name)
        found = await clerk.post(link, data=fields | {"username": f" {username}", "step": "zoek"})
        assert f"{name}@example.org" in found.text
        return await clerk.post(link, data=fields_of(found.text, "link") | {"step": "koppel"})

    async def shown(self, clerk: httpx2.AsyncClient, tab: str = "klant") -> str:
        answer = await clerk.get(f"{self.path}?tab={tab}")
        assert answer.status_code == 200
        return answer.text


async def posts(client: httpx2.AsyncClient, guest: Guest, action: str, **sent: str) -> httpx2.Response:
    """With this session's own token."""
    token = form_of((await client.get("/zoeken")).text, "/zoeken")
    return await client.post(f"{guest.path}/{action}", data=token | sent)


async def identity_links(guest: Guest, account_id: str = "acc-jan") -> None:
    now = guest.counter_site.app.clock.now()
    await of_identity(guest, lambda it: it.confirm_link(account_id, too_late=False, now=now))


async def identity_refuses(guest: Guest, account_id: str = "acc-shared") -> None:
    now = guest.counter_site.app.clock.now()
    await of_identity(guest, lambda it: it.refuse_link(account_id, "account-in-use", now=now))


async def of_identity(guest: Guest, outcome: Callable[[Aggregate], None]) -> None:
    deps = guest.counter_site.app.service.deps
    loaded = await load_guest(UUID(guest.path.rpartition("/")[2]), "1001", deps)
    outcome(loaded)
    await deps.store.save(loaded, metadata=Metadata("identity", uuid4()))


async def history_of(client: httpx2.AsyncClient, guest: Guest) -> str:
    service = guest.counter_site.app.service
    await follow_all(service, VIEWS, view_source(service.settings))
    return await guest.shown(client, "historie")
