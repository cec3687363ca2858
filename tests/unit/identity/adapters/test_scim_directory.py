"""A SCIM directory is not believed: whose account it is, and whether there are more (I1, I4)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import pytest

from identity.application.dependencies import (
    AccountDetails,
    AccountReference,
    ById,
    ByUsername,
    DirectoryUnavailable,
)
from tests.support.account_directories import (
    ACCOUNTS,
    HOME,
    JAN,
    ODD,
    PAGE,
    SCIM_ATTRIBUTES,
    Answer,
    ScimServer,
    scim_client,
    scim_over,
    scim_users,
)

LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
[USER] = scim_users([JAN])
EXTENSION = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


NO_CHANGE: Mapping[str, str | None] = {}
NO_HEADERS: Mapping[str, str] = {}


def says(value: object, status: int = 200, headers: Mapping[str, str] = NO_HEADERS) -> Answer:
    """The same reply to every question."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    sent = {"Content-Type": "application/scim+json"} | dict(headers)
    return lambda _request: httpx2.Response(status, content=content, headers=sent)


def listed(*users: object, total: object = None) -> Answer:
    count = len(users) if total is None else total
    return says({"schemas": [LIST], "totalResults": count, "Resources": users})


async def named(
    answer: Answer, username: str = JAN.username, changed: Mapping[str, str | None] = NO_CHANGE
) -> AccountDetails | None:
    async with scim_client(answer) as http:
        return await scim_over(http, **changed).by_username(username, HOME)


async def with_id(answer: Answer, account_id: str = JAN.account_id) -> AccountDetails | None:
    async with scim_client(answer) as http:
        return await scim_over(http).by_id(account_id)


async def test_one_that_returns_everybody_links_nobody() -> None:
    server = ScimServer(scim_users(), ignores_filter=True)
    assert await named(server, "niemand") is None
    assert len(server.asked) == -(-len(ACCOUNTS) // PAGE), "all pages are read before nobody is the answer"
    assert await named(server) == JAN


async def test_accounts_of_others_may_be_malformed() -> None:
    others: list[dict[str, Any]] = [
        {"id": "1", "userName": "staff"},
        {"id": "2", "userName": "x" * 5000, "active": "perhaps", "emails": 3},
    ]
    assert await named(listed(*others, USER)) == JAN
    assert await named(listed(*others), "niemand") is None


@pytest.mark.parametrize(
    "answer",
    [
        listed(USER, total=2),
        listed(total=5),
        listed(USER, total="1"),
        listed(USER, total=True),
        says({"schemas": [LIST], "Resources": [USER]}),
        says({"schemas": [LIST], "totalResults": 1, "Resources": USER}),
        says({"schemas": [LIST], "totalResults": 1}),
        listed(3),
        listed({"userName": "jan.jansen"}),
        listed({"id": "1"}),
        listed({"id": "1", "userName": 3}),
        says({"schemas": [ERROR], "status": "400", "scimType": "tooMany"}),
        says({"schemas": [ERROR], "status": "400", "scimType": "tooMany"}, 400),
        says({"schemas": [ERROR], "status": "404"}, 404),
        says(USER),
        says([USER]),
        says(None),
        says(b""),
        says("jan\xebtje".encode("latin-1")),
        says(json.dumps({"totalResults": 0, "x": "é"}, ensure_ascii=False).encode("latin-1")),
        says({"totalResults": 0}, headers={"Content-Type": "text/html"}),
        says({"totalResults": 0}, 202),
        says(b"", 204),
        says(b"", 304),
        says(b"", 302, {"Location": "http://elsewhere/scim/Users"}),
        says({"totalResults": 0}, headers={"Content-Encoding": "gzip"}),
        says(b"[" * 100_000 + b"]" * 100_000),
        says(b'{"totalResults": 1e999}'),
    ],
)
async def test_what_is_no_complete_list_is_unavailable_and_never_nobody(answer: Answer) -> None:
    with pytest.raises(DirectoryUnavailable):
        await named(answer)


async def test_no_results_need_no_list() -> None:
    assert await named(says({"schemas": [LIST], "totalResults": 0})) is None


def pages(page: Callable[[int], list[dict[str, Any]]], total: int) -> Answer:
    """A directory whose page depends on `startIndex`."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        start = int(dict(request.url.params).get("startIndex", 1))
        return listed(*page(start), total=total)(request)

    return answer


async def test_the_first_page_again_and_again_is_not_a_complete_list() -> None:
    first = [{"id": str(number), "userName": f"u{number}"} for number in range(10)]
    with pytest.raises(DirectoryUnavailable, match="more than it sends"):
        await named(pages(lambda _start: first, total=1000))


async def test_a_list_without_end_is_given_up() -> None:
    def endless(start: int) -> list[dict[str, Any]]:
        return [{"id": str(start), "userName": f"u{start}"}]

    with pytest.raises(DirectoryUnavailable, match="pages"):
        await named(pages(endless, total=10**9))


async def test_the_hit_may_be_on_a_later_page_and_count_twice_only_by_its_id() -> None:
    def page(start: int) -> list[dict[str, Any]]:
        return [{"id": "1", "userName": "piet"}, USER] if start == 1 else [USER, {"id": "3", "userName": "x"}]

    assert await named(pages(page, total=3)) == JAN
    twin = USER | {"id": "acc-other"}
    assert await named(listed(USER, twin)) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "x" * 201},
        {"id": "a/../b"},
        {"id": "..", "x": 1},
        {EXTENSION: {"organization": HOME}},
        {EXTENSION: {"organization": "elsewhere", "employeeNumber": "0990139305"}},
        {EXTENSION: {"organization": HOME, "employeeNumber": "no card!"}},
        {EXTENSION: {"organization": HOME, "employeeNumber": 990139305}},
        {EXTENSION: [HOME]},
        {"active": "false"},
        {"active": 0},
        {"Active": False},
        {"emails": [{"value": "x" * 400}]},
        {"emails": [{"value": {"of": "Jan"}}]},
    ],
    ids=str,
)
async def test_an_account_that_cannot_be_one_is_unavailable(changed: Mapping[str, object]) -> None:
    with pytest.raises(DirectoryUnavailable) as raised:
        await named(listed({**USER, **changed}))
    assert "Jan" not in str(raised.value)
    assert "x" * 50 not in str(raised.value)


async def test_texts_are_kept_as_they_look_and_no_address_is_no_obstacle() -> None:
    found = await named(listed(USER | {"userName": " Jan.\u200bJansen ", "emails": []}))
    assert found is not None
    assert (found.username, found.email) == ("Jan.Jansen", "")


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (says(USER), JAN),
        (says(USER | {"active": False}), None),
        (says({"schemas": [ERROR], "status": "404"}, 404), None),
    ],
)
async def test_by_id_it_is_there_or_the_directory_itself_says_that_it_is_not(
    answer: Answer, found: AccountDetails | None
) -> None:
    assert await with_id(answer) == found


@pytest.mark.parametrize(
    "answer",
    [
        says(b"<html>no such page", 404, headers={"Content-Type": "text/html"}),
        says(b"", 404),
        says({"error": "no such route"}, 404),
        says({"schemas": [ERROR], "status": "404"}),
        says({"schemas": [ERROR], "status": "401"}, 401),
        says({"schemas": [ERROR], "status": "500"}, 500),
        says(USER | {"id": "acc-other"}),
        says(USER | {"id": "ACC-JAN"}),
        says(b"", 304),
    ],
)
async def test_a_404_of_anybody_else_is_unavailable(answer: Answer) -> None:
    with pytest.raises(DirectoryUnavailable):
        await with_id(answer)


async def test_a_user_that_has_not_changed_is_not_sent_again() -> None:
    server = ScimServer(scim_users())
    async with scim_client(server) as http:
        directory = scim_over(http)
        for _ in range(3):
            assert await directory.by_id("acc-jan") == JAN
        assert server.not_modified == 2
        server.users = [{**user, "active": False, "meta": {"version": 'W/"x"'}} for user in server.users]
        assert await directory.by_id("acc-jan") is None


async def test_many_are_one_filter_where_the_directory_has_filters() -> None:
    server = ScimServer(scim_users())
    async with scim_client(server) as http:
        wanted: list[AccountReference] = [ById(f"acc-{number}") for number in range(60)]
        found = await scim_over(http).find_many([ById("acc-jan"), ById(ODD.account_id), *wanted])
    assert found[ById("acc-jan")] == JAN
    assert found[ById(ODD.account_id)] == ODD
    assert sum(" or " in asked for asked in server.asked) == 3
    assert sum(asked.startswith("/scim/Users/") for asked in server.asked) == 60, "a miss is asked by itself"


async def test_one_that_reads_the_first_part_of_a_filter_makes_nobody_unknown() -> None:
    server = ScimServer(scim_users())

    def half(request: httpx2.Request) -> httpx2.Response:
        params = dict(request.url.params)
        if "filter" in params:
            params["filter"] = params["filter"].partition(" or ")[0]
            request = httpx2.Request("GET", request.url.copy_with(params=params), headers=request.headers)
        return server(request)

    wanted = {ByUsername(account.username, HOME): account for account in (JAN, ODD)}
    async with scim_client(half) as http:
        assert await scim_over(http).find_many(list(wanted)) == wanted


@pytest.mark.parametrize(
    ("attributes", "user"),
    [
        ({"home_isil": None, "library": HOME}, USER),
        (
            {"home_isil": None, "home_card_number": None, "home_card": "externalId"},
            USER | {"externalId": "NL-070288:0990139305"},
        ),
        (
            {"home_isil": None, "home_card_number": None, "home_card": "externalId", "separator": " / "},
            USER | {"externalId": "NL-070288 / 0990139305"},
        ),
        ({"username": "urn:ietf:params:scim:schemas:core:2.0:User:userName"}, USER),
        ({"username": "USERNAME", "active": None}, USER | {"active": "unknown"}),
    ],
)
async def test_what_is_where_the_settings_say(attributes: dict[str, str | None], user: object) -> None:
    assert await named(listed(user), changed=attributes) == JAN


@pytest.mark.parametrize(
    "attributes",
    [
        {"library": HOME},
        {"home_isil": None},
        {"home_card_number": None},
        {"home_card": "externalId"},
        {"home_isil": None, "library": "elsewhere"},
        {"username": "user name"},
        {"username": ""},
        {"email": None},
    ],
)
async def test_settings_that_do_not_say_where_the_home_card_is_are_wrong(
    attributes: dict[str, str | None],
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        await named(listed(USER), changed=attributes)
    assert set(attributes) <= {*SCIM_ATTRIBUTES, "library", "home_card"}
