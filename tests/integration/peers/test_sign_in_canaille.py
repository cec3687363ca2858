"""A clerk signs in at Canaille: its pages are filled in, and its groups say what is allowed."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from infra.local.ports import LOOPBACK, free_port
from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from registration.bootstrap import sign_in_of
from tests.support.counter_pages import CounterSite, Visitor, form_of, open_counter_site
from tests.support.foreign_sign_in import go_on
from tests.support.peers.canaille import OIDC_CLIENT, Canaille, CanailleUser, canaille
from tests.support.servers import Databases

pytestmark = pytest.mark.asyncio(loop_scope="module")
BACK = "/aanmelden/terug"
PASSWORD = "een heel lang wachtwoord"
CLERK = CanailleUser(
    "m.visser",
    ("m.visser@voorbeeld.nl",),
    PASSWORD,
    given_name="Marijke",
    family_name="Visser",
    groups=("balie-drenthe", "kantine"),
)
STRANGER = CanailleUser(
    "kok", ("kok@voorbeeld.nl",), PASSWORD, given_name="Kees", family_name="Kok", groups=("kantine",)
)
GROUPS = """
[groups.balie-drenthe]
scopes = ["counter"]
organisations = ["1001"]
"""


@dataclass
class Place:
    """A counter and the provider of its staff."""

    site: CounterSite
    provider: Canaille


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder, databases, port = tmp_path_factory.mktemp("canaille"), Databases(postgres), free_port()
    secret = folder / "secret"
    secret.write_text("not known yet", "utf-8")
    (folder / "groups.toml").write_text(GROUPS, "utf-8")
    async with open_counter_site(
        databases(scripts=SCHEMA),
        folder,
        oidc_issuer=f"http://{LOOPBACK}:{port}",
        oidc_client_id=OIDC_CLIENT,
        oidc_client_secret_file=secret,
        oidc_groups=folder / "groups.toml",
        oidc_request_scope="openid profile groups",
        oidc_name_claim="given_name",
    ) as site:
        for provider in served(site, port):
            secret.write_text(provider.oidc_secret, "utf-8")
            site.app.app.state.sign_in = sign_in_of(site.app.service.settings)
            yield Place(site, provider)
    databases.drop_all()


def served(site: CounterSite, port: int) -> Iterator[Canaille]:
    with canaille(
        [CLERK, STRANGER],
        redirect_uris=[site.address + BACK],
        post_logout_redirect_uris=[site.address + "/afmelden"],
        port=port,
    ) as provider:
        yield provider


async def back_from(visitor: Visitor, person: str) -> str:
    leaving = await visitor.get("/aanmelden")
    assert leaving.is_redirect, leaving.text
    return await go_on(visitor, leaving, BACK, {"login": person, "password": PASSWORD}, button="accept")


async def test_a_clerk_signs_in_and_out(place: Place) -> None:
    async with place.site.visitor() as visitor:
        answer = await visitor.get(await back_from(visitor, "m.visser"))
        assert (answer.status_code, answer.headers.get("location")) == (303, "/"), answer.text
        page = (await visitor.get("/")).text
        assert "Marijke" in page
        assert "Biblionet Drenthe" in page
        assert (await visitor.get("/beheer")).status_code == 403
        form = form_of((await visitor.get("/afmelden")).text, "/afmelden")
        await visitor.sends("/afmelden", data=form)
        leaving = (await visitor.get("/afmelden")).headers["refresh"].partition("url=")[2]
        assert leaving.startswith(place.provider.url)
        back = await go_on(visitor, await visitor.get(leaving), "/afmelden", {}, button="logout")
        assert (await visitor.get(back)).status_code == 200
        assert (await visitor.get("/")).status_code == 303


async def test_who_is_in_no_group_of_ours_hears_what_to_do(place: Place) -> None:
    with capture_logs() as lines:
        async with place.site.visitor() as visitor:
            answer = await visitor.get(await back_from(visitor, "kok"))
    assert answer.status_code == 400
    assert "Vraag een beheerder om uw account in te stellen" in answer.text
    [line] = [line for line in lines if line["event"] == "sign_in.failed"]
    assert "OIDC_GROUPS says nothing of the groups in groups" in line["reason"]


async def test_the_doctor_finds_nothing(place: Place) -> None:
    await sign_in_of(place.site.app.service.settings).ready()
