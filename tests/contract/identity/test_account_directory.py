"""Every account directory returns the same, whatever it is asked over (I1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest

from identity.adapters.account_directory import HttpAccountDirectory, NoAccountDirectory
from identity.adapters.in_memory import InMemoryAccountDirectory
from identity.adapters.listed_accounts import AttributeMap
from identity.adapters.scim_directory import ScimAccountDirectory
from identity.application.dependencies import (
    AccountDetails,
    AccountDirectory,
    AccountReference,
    ById,
    ByUsername,
    DirectoryUnavailable,
)
from shared.platform.http_client import HttpClient
from tests.support.account_directories import (
    ACTIVE,
    CANAILLE_ATTRIBUTES,
    ELSEWHERE,
    HOME,
    JAN,
    LOCKED,
    NAMESAKE,
    ODD,
    TRICKY,
    LdapHost,
    ScimServer,
    SlapdWithAccounts,
    canaille_with_accounts,
    http_accounts,
    scim_client,
    scim_over,
    scim_users,
    token_of,
)
from tests.support.peers.canaille import Canaille


class Peers:
    """The foreign directories, each started when a test first asks for it."""

    def __init__(self, folder: Path) -> None:
        self.opened = ExitStack()
        self.canaille = cache(lambda: self.opened.enter_context(canaille_with_accounts()))
        self.slapd = cache(lambda: self.opened.enter_context(SlapdWithAccounts(folder)))


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    started = Peers(tmp_path_factory.mktemp("peers"))
    with started.opened:
        yield started


async def of_canaille(server: Canaille, http: HttpClient) -> AccountDirectory:
    bearer = await token_of(server)

    async def token() -> str:
        return bearer

    return ScimAccountDirectory(http, token, AttributeMap.model_validate(CANAILLE_ATTRIBUTES))


def of_slapd(host: LdapHost, kind: str) -> AccountDirectory:
    if kind == "slapd, STARTTLS":
        return host.directory()
    return host.directory(url=f"ldaps://localhost:{host.server.tls_port}", starttls=False)


KINDS = (
    *("in memory", "http", "scim", "scim that ignores filters", "scim without filters"),
    *("canaille", "slapd, STARTTLS", "slapd, ldaps"),
)


@pytest.fixture(params=KINDS)
async def directory(request: pytest.FixtureRequest, peers: Peers) -> AsyncIterator[AccountDirectory]:
    match request.param:
        case "in memory":
            yield InMemoryAccountDirectory(list(ACTIVE))
        case "http":
            async with HttpClient(transport=httpx2.MockTransport(http_accounts)) as http:
                yield HttpAccountDirectory("http://directory/", http)
        case "canaille":
            server = peers.canaille()
            async with HttpClient(base_url=server.scim_url) as http:
                yield await of_canaille(server, http)
        case "slapd, STARTTLS" | "slapd, ldaps" as kind:
            yield of_slapd(peers.slapd(), kind)
        case kind:
            server_ = ScimServer(
                scim_users(), filters="without" not in kind, ignores_filter="ignores" in kind
            )
            async with scim_client(server_) as http:
                yield scim_over(http)


async def test_an_account_is_known_by_its_id(directory: AccountDirectory) -> None:
    assert await directory.by_id("acc-jan") == JAN
    assert await directory.by_id("acc-nobody") is None
    assert await directory.by_id("ACC-JAN") is None


async def test_an_id_may_hold_what_a_path_may_hold(directory: AccountDirectory) -> None:
    assert await directory.by_id(ODD.account_id) == ODD


async def test_a_username_finds_one_or_none(directory: AccountDirectory) -> None:
    assert await directory.by_username("Jan.Jansen", HOME) == JAN
    assert await directory.by_username("jan", HOME) is None
    assert await directory.by_username("odd", ELSEWHERE) is None


async def test_a_username_is_of_its_library(directory: AccountDirectory) -> None:
    assert await directory.by_username("jan.jansen", ELSEWHERE) == NAMESAKE


async def test_a_username_is_never_a_part_of_the_question(directory: AccountDirectory) -> None:
    assert await directory.by_username(TRICKY.username, HOME) == TRICKY
    for injected in ("*", 'x" or userName pr or userName eq "x', "x)(|(uid=*", "jan.jans*", "\\6aan.jansen"):
        assert await directory.by_username(injected, HOME) is None
        assert (await directory.find_many([ByUsername(injected, HOME)])) == {ByUsername(injected, HOME): None}


async def test_a_username_that_two_accounts_have_finds_nobody(directory: AccountDirectory) -> None:
    assert await directory.by_username("tweeling", HOME) is None


async def test_an_account_that_is_not_active_is_nobodys(directory: AccountDirectory) -> None:
    assert await directory.by_id(LOCKED.account_id) is None
    assert await directory.by_username(LOCKED.username, HOME) is None


async def test_many_are_found_at_once(directory: AccountDirectory) -> None:
    wanted: dict[AccountReference, AccountDetails | None] = {
        ById("acc-jan"): JAN,
        ById(ODD.account_id): ODD,
        ById("acc-nobody"): None,
        ById(LOCKED.account_id): None,
        ByUsername("JAN.JANSEN", HOME): JAN,
        ByUsername("jan.jansen", ELSEWHERE): NAMESAKE,
        ByUsername(TRICKY.username, HOME): TRICKY,
        ByUsername("tweeling", HOME): None,
        ByUsername("niemand", HOME): None,
    }
    assert await directory.find_many([*wanted, ById("acc-jan")]) == wanted
    assert await directory.find_many([]) == {}


async def test_no_directory_knows_nobody() -> None:
    assert await NoAccountDirectory().by_id("acc-jan") is None
    assert await NoAccountDirectory().by_username("jan.jansen", "NL-070288") is None


async def test_the_one_in_memory_can_be_unplugged() -> None:
    unplugged = InMemoryAccountDirectory([JAN], unplugged=True)
    with pytest.raises(DirectoryUnavailable):
        await unplugged.by_id("acc-jan")


def breaks(_request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadTimeout("too late")


@pytest.mark.parametrize(
    "answer",
    [
        breaks,
        lambda _: httpx2.Response(500, json={}),
        lambda _: httpx2.Response(200, text="<html>"),
        lambda _: httpx2.Response(200, json={"account": {"account_id": "acc-jan"}}),
        lambda _: httpx2.Response(
            200,
            json={
                "account_id": "acc-other",
                "username": "u",
                "email": "e",
                "home_isil": "NL-070288",
                "home_card_number": "1",
            },
        ),
        lambda _: httpx2.Response(
            200,
            json={
                "account_id": "acc-jan",
                "username": "u",
                "email": "e",
                "home_isil": "elsewhere",
                "home_card_number": "1",
            },
        ),
        lambda _: httpx2.Response(302, headers={"Location": "http://elsewhere/"}),
    ],
)
async def test_whatever_is_no_answer_is_unavailable_and_never_nobody(answer: Any) -> None:
    async with HttpClient(transport=httpx2.MockTransport(answer)) as http:
        with pytest.raises(DirectoryUnavailable):
            await HttpAccountDirectory("http://directory", http).by_id("acc-jan")


ENTRY = {
    "account_id": "acc-x",
    "username": "x",
    "email": "x@voorbeeld.nl",
    "home_isil": "NL-070288",
    "home_card_number": "0990139305",
}


async def asked(name: str = "x", **changed: str) -> AccountDetails | None:
    """An account as a directory describes it."""

    def respond(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"account": ENTRY | changed})

    async with HttpClient(transport=httpx2.MockTransport(respond)) as http:
        return await HttpAccountDirectory("http://directory/", http).by_username(name, "NL-070288")


async def test_what_a_directory_sends_is_kept_as_it_looks() -> None:
    found = await asked("jan", username=" j\u202ean\u200b ", email="j\u00adan@voorbeeld.nl\n")
    assert found is not None
    assert (found.username, found.email) == ("jan", "jan@voorbeeld.nl")


@pytest.mark.parametrize("changed", [{"username": "y"}, {"home_isil": "NL-083424"}], ids=str)
async def test_a_reply_about_somebody_else_is_no_answer(changed: dict[str, str]) -> None:
    with pytest.raises(DirectoryUnavailable, match="another account"):
        await asked(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        *({"username": text} for text in ("", "\u200b", "a\0b", "x" * 201)),
        *({"account_id": text} for text in ("", "a\0", "acc\u202e", "x" * 256)),
    ],
    ids=str,
)
async def test_an_account_that_cannot_be_one_is_no_answer(changed: dict[str, str]) -> None:
    with pytest.raises(DirectoryUnavailable):
        await asked(**changed)
