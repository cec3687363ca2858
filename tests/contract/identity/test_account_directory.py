"""The account directory over HTTP and the one in memory return the same (I1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from identity.adapters.account_directory import HttpAccountDirectory, NoAccountDirectory
from identity.adapters.in_memory import InMemoryAccountDirectory
from identity.application.dependencies import AccountDetails, AccountDirectory, DirectoryUnavailable
from shared.platform.http_client import HttpClient

JAN = AccountDetails("acc-jan", "jan.jansen", "jan@voorbeeld.nl", "NL-070288", "0990139305")
ODD = AccountDetails("auth0|a:b@c", "odd", "odd@voorbeeld.nl", "NL-070288", "0990139313")


def served(request: httpx2.Request) -> httpx2.Response:
    """A directory that speaks the protocol."""
    known = [
        {
            "account_id": each.account_id,
            "username": each.username,
            "email": each.email,
            "home_isil": each.home_isil,
            "home_card_number": each.home_card_number,
        }
        for each in (JAN, ODD)
    ]
    asked: dict[str, Any] = dict(request.url.params)
    if asked:
        found = [
            each
            for each in known
            if each["username"] == asked["username"].lower() and each["home_isil"] == asked["home_isil"]
        ]
        return httpx2.Response(200, json={"account": found[0] if found else None})
    for each in known:
        if httpx2.URL(f"http://directory/accounts/{quote(str(each['account_id']), safe='')}") == request.url:
            return httpx2.Response(200, json=each)
    return httpx2.Response(404, json={})


@pytest.fixture(params=["http", "in memory"])
async def directory(request: pytest.FixtureRequest) -> AsyncIterator[AccountDirectory]:
    if request.param == "in memory":
        yield InMemoryAccountDirectory([JAN, ODD])
        return
    async with HttpClient(transport=httpx2.MockTransport(served)) as http:
        yield HttpAccountDirectory("http://directory/", http)


async def test_an_account_is_known_by_its_id(directory: AccountDirectory) -> None:
    assert await directory.by_id("acc-jan") == JAN
    assert await directory.by_id("acc-nobody") is None


async def test_an_id_may_hold_what_a_path_may_hold(directory: AccountDirectory) -> None:
    assert await directory.by_id(ODD.account_id) == ODD


async def test_a_username_finds_one_or_none(directory: AccountDirectory) -> None:
    assert await directory.by_username("Jan.Jansen", "NL-070288") == JAN
    assert await directory.by_username("jan", "NL-070288") is None
    assert await directory.by_username("jan.jansen", "NL-083424") is None


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


async def asked(**changed: str) -> AccountDetails | None:
    """An account as a directory describes it."""

    def respond(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"account": ENTRY | changed})

    async with HttpClient(transport=httpx2.MockTransport(respond)) as http:
        return await HttpAccountDirectory("http://directory/", http).by_username("x", "NL-070288")


async def test_what_a_directory_sends_is_kept_as_it_looks() -> None:
    found = await asked(username=" j\u202ean\u200b ", email="j\u00adan@voorbeeld.nl\n")
    assert found is not None
    assert (found.username, found.email) == ("jan", "jan@voorbeeld.nl")


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
