"""The token of a home library with Koha, and how the card is asked about (ADR 0028)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from registration.adapters.home_library.client import DirectoryHomeLibraries, home_libraries
from registration.adapters.home_library.settings import Credentials, Directory
from registration.bootstrap import home_library_http
from registration.domain.verdict import Unavailable, Valid
from tests.contract.home_library.asking import CARD, TODAY, ZOE
from tests.contract.home_library.test_hostile_libraries import FLOODS
from tests.support.library_hosts import (
    ISIL,
    KINDS,
    MOST_SENT,
    TOKEN,
    Answer,
    LibraryHost,
    endless,
    hang_up,
    http_reply,
    library_host,
    raw,
    silence,
)

KOHA = KINDS[-1]
KNOWN = Credentials("gast", "geheim")


@pytest.fixture
async def host() -> AsyncIterator[LibraryHost]:
    async with library_host(KOHA) as listening:
        listening.usually = KOHA.knows(ZOE)
        yield listening


@asynccontextmanager
async def asked(
    host: LibraryHost, credentials: Credentials = KNOWN, **settings: object
) -> AsyncIterator[DirectoryHomeLibraries]:
    library = KOHA.library(host.port, **settings)
    directory = Directory({ISIL: library}, {ISIL: credentials}, {})
    libraries = home_libraries(directory, home_library_http, lambda: TODAY)
    try:
        yield libraries
    finally:
        await libraries.close()


def counted(host: LibraryHost, reply: bytes) -> list[bytes]:
    """The requests for a token from now on, which are replied to so."""
    requests: list[bytes] = []

    def answer(question: bytes) -> list[bytes]:
        requests.append(question)
        return [reply]

    host.greets = answer
    return requests


def token(seconds: object = 3600, text: object = TOKEN) -> bytes:
    found = {"access_token": text, "token_type": "Bearer", "expires_in": seconds}
    return http_reply(json.dumps(found).encode())


@pytest.mark.parametrize(("query_in", "in_url"), [("header", False), ("url", True)])
async def test_the_card_is_in_a_header_unless_the_settings_say_otherwise(
    host: LibraryHost, query_in: str, in_url: bool
) -> None:
    async with asked(host, query_in=query_in) as libraries:
        assert isinstance(await libraries.ask(ISIL, CARD), Valid)
    [question] = host.questions
    assert (CARD.encode() in question.split(b"\r\n")[0]) is in_url
    assert b"_match=exact" in question.split(b"\r\n")[0]
    assert KOHA.asked_card(question) == CARD


async def test_questions_at_the_same_time_share_a_token(host: LibraryHost) -> None:
    requests = counted(host, token())
    async with asked(host) as libraries:
        found = await asyncio.gather(*(libraries.ask(ISIL, CARD) for _ in range(8)))
        assert isinstance(await libraries.ask(ISIL, CARD), Valid)
    assert all(isinstance(verdict, Valid) for verdict in found)
    assert len(requests) == 1


@pytest.mark.parametrize("seconds", [0, -1, 20, None, "3600", True, float("1e-9")])
async def test_a_token_without_a_life_is_used_once(host: LibraryHost, seconds: object) -> None:
    requests = counted(host, token(seconds))
    async with asked(host) as libraries:
        for _ in range(2):
            assert isinstance(await libraries.ask(ISIL, CARD), Valid)
    assert len(requests) == 2


async def test_a_token_that_is_not_accepted_any_more_is_renewed_once(host: LibraryHost) -> None:
    requests = counted(host, token())
    async with asked(host) as libraries:
        assert isinstance(await libraries.ask(ISIL, CARD), Valid)
        host.says(raw(http_reply(b"{}", status="401 Unauthorized")))
        assert isinstance(await libraries.ask(ISIL, CARD), Valid)
        host.says(*[raw(http_reply(b"{}", status="401 Unauthorized"))] * 2)
        assert await libraries.ask(ISIL, CARD) == Unavailable("login refused")
    assert len(requests) == 3


async def test_wrong_credentials_are_refused_and_nothing_is_asked(host: LibraryHost) -> None:
    async with asked(host, Credentials("gast", "fout")) as libraries:
        assert await libraries.ask(ISIL, CARD) == Unavailable("login refused")
    assert host.questions == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (raw(http_reply(b"[]")), "login refused"),
        (raw(http_reply(b"{")), "login refused"),
        (raw(http_reply(b"\xff\xfe")), "login refused"),
        (raw(token(text="")), "login refused"),
        (raw(token(text=3)), "login refused"),
        (raw(token(text="a\r\nX-Evil: b")), "login refused"),
        (raw(token(text="x" * 5000)), "login refused"),
        (raw(http_reply(b"{}", status="400 Bad Request")), "login refused"),
        (raw(http_reply(b"", status="503 Service Unavailable")), "its server failed or is too busy"),
        (raw(http_reply(b"", status="302 Found", more="Location: http://127.0.0.1:1/\r\n")),
         "redirects to another address, which is not asked"),
        (silence, "timed out"),
        (hang_up, "closed the connection without a reply"),
    ],
)  # fmt: skip
async def test_a_token_that_is_none_asks_nobody(host: LibraryHost, reply: Answer, reason: str) -> None:
    host.greets = reply
    async with asked(host, answer_seconds=0.3 if reply is silence else 10.0) as libraries:
        assert await libraries.ask(ISIL, CARD) == Unavailable(reason)
    assert host.questions == []


@pytest.mark.parametrize("flood", FLOODS)
async def test_an_endless_token_is_cut_off(host: LibraryHost, flood: str) -> None:
    host.greets = endless(*FLOODS[flood])
    async with asked(host, answer_seconds=0.5 if flood == "no final reply" else 10.0) as libraries:
        assert isinstance(await libraries.ask(ISIL, CARD), Unavailable)
    assert host.sent < MOST_SENT
    assert host.questions == []


async def test_a_server_that_ignores_the_search_gives_nobody(host: LibraryHost) -> None:
    """It sends all of its patrons, and Zoë is one of them."""
    everybody = [json.loads(KOHA.person(ZOE))[0] | {"cardnumber": number} for number in (CARD, "1", "2")]
    host.usually = KOHA.whole(json.dumps(everybody).encode())
    async with asked(host) as libraries:
        others = "reply has persons with other cards than the one that was asked about"
        assert await libraries.ask(ISIL, CARD) == Unavailable(others)
