"""Registration as identity asks it: the real API over HTTP, and the one in memory, reply alike (ADR 0004)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from identity.adapters.in_memory import InMemoryRegistration
from identity.adapters.registration_client import RegistrationApi
from identity.application.dependencies import RegistrationFeed, RegistrationUnavailable
from registration.adapters.tables import SCHEMA
from shared.kernel.library_card import person_ref
from shared.platform.http_client import HttpClient
from shared.platform.secrets import read_key_file
from shared.web.service_token import TokenFile
from tests.support.identity import SimulatedCounter, existing, new, person
from tests.support.registration_service import CARD, HOME, open_registration_app, registering
from tests.support.servers import Databases
from tests.support.tokens import held_token

Registers = Callable[[dict[str, Any]], Awaitable[tuple[UUID, str]]]


@dataclass
class Asked:
    """A feed to ask; `registers` makes a guest with this choice: its id, and the account asked for."""

    feed: RegistrationFeed
    registers: Registers
    person: str


@pytest.fixture(params=["http", "in memory"])
async def asked(request: pytest.FixtureRequest, databases: Databases, tmp_path: Path) -> AsyncIterator[Asked]:
    opened = over_http(databases(scripts=SCHEMA), tmp_path) if request.param == "http" else in_memory()
    async for each in opened:
        yield each


async def in_memory() -> AsyncIterator[Asked]:
    fake = InMemoryRegistration()
    counter = SimulatedCounter(fake)

    async def registers(choice: dict[str, Any]) -> tuple[UUID, str]:
        account = "acc-created" if choice["choice"] == "new" else str(choice.get("account_id"))
        guest = counter.registers("jan", new(account) if choice["choice"] == "new" else choice)
        if choice["choice"] == "new":
            counter.wants_new_account(guest, account, choice["username"])
        return guest, account

    yield Asked(fake, registers, person("jan"))


async def over_http(database: str, folder: Path) -> AsyncIterator[Asked]:
    async with (
        open_registration_app(database, folder) as registration_app,
        registration_app.client() as clerk,
        HttpClient(transport=httpx2.ASGITransport(registration_app.app)) as http,
    ):

        async def registers(choice: dict[str, Any]) -> tuple[UUID, str]:
            answer = await clerk.post("/v1/guests", json=registering(login_account=choice))
            assert answer.status_code == 201, answer.text
            guest = answer.json()
            return UUID(guest["guest_id"]), str(guest["login_link"]["account_id"])

        token = registration_app.signer.token("feed", None, "identity")
        feed = RegistrationApi("http://registration", http, held_token(token))
        key = read_key_file(registration_app.service.settings.person_ref_key_file)[0]
        yield Asked(feed, registers, person_ref(key, HOME, CARD))


async def test_a_registration_is_found_by_account_and_by_person(asked: Asked) -> None:
    guest, _ = await asked.registers(existing("jan"))
    for found in (
        await asked.feed.registrations("1001", account_id="acc-jan"),
        await asked.feed.registrations("1001", person_ref=asked.person),
        await asked.feed.registrations("1001", account_id="acc-jan", person_ref=asked.person),
    ):
        assert [each.guest_id for each in found] == [guest]
        assert found[0].messages[0].type == "guest-registered.v1"
        assert found[0].messages[0].subject == guest
        assert found[0].messages[0].data["login_account"] == existing("jan")
        assert found[0].messages[0].data["person_ref"] == asked.person
        assert [each.stream_version for each in found[0].messages] == list(
            range(1, len(found[0].messages) + 1)
        )


async def test_who_is_not_registered_there_is_not_found(asked: Asked) -> None:
    await asked.registers(existing("jan"))
    assert not await asked.feed.registrations("2002", account_id="acc-jan", person_ref=asked.person)
    assert not await asked.feed.registrations("1001", account_id="acc-piet")
    assert not await asked.feed.registrations("1001", person_ref="0" * 64)


async def test_i2_a_new_account_is_returned_only_under_its_own_id(asked: Asked) -> None:
    guest, account = await asked.registers(
        {"choice": "new", "username": "jan.nieuw", "email": "jan.nieuw@example.org"}
    )
    wanted = await asked.feed.new_account(guest, account)
    assert wanted is not None
    assert (wanted.account_id, wanted.username, wanted.home_isil) == (account, "jan.nieuw", HOME)
    assert await asked.feed.new_account(guest, "acc-other") is None
    assert await asked.feed.new_account(uuid4(), account) is None


async def test_i2_a_guests_home_library_is_compared_there(asked: Asked) -> None:
    guest, _ = await asked.registers(existing("jan"))
    assert await asked.feed.is_home_library(guest, HOME)
    assert await asked.feed.is_home_library(guest, f"{HOME}0001")
    assert not await asked.feed.is_home_library(guest, "NL-083424")
    with pytest.raises(RegistrationUnavailable):
        await asked.feed.is_home_library(uuid4(), HOME)


def breaks(_request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("nobody there")


@pytest.mark.parametrize(
    "answer",
    [
        breaks,
        lambda _: httpx2.Response(500, json={}),
        lambda _: httpx2.Response(401, json={}),
        lambda _: httpx2.Response(404, json={}),
        lambda _: httpx2.Response(200, text="<html>"),
        lambda _: httpx2.Response(200, json={}),
        lambda _: httpx2.Response(
            200, json={"registrations": [{"guest_id": str(uuid4()), "messages": [{"type": "?"}]}]}
        ),
    ],
)
async def test_i4_whatever_is_no_answer_is_unavailable_and_never_nobody(answer: Any) -> None:
    async with HttpClient(transport=httpx2.MockTransport(answer)) as http:
        feed = RegistrationApi("http://registration", http, held_token("token"))
        with pytest.raises(RegistrationUnavailable):
            await feed.registrations("1001", account_id="acc-jan")
        with pytest.raises(RegistrationUnavailable):
            await feed.new_account(uuid4(), "acc-jan")
        with pytest.raises(RegistrationUnavailable):
            await feed.is_home_library(uuid4(), "NL-070288")


async def test_without_a_token_registration_cannot_be_asked(tmp_path: Path) -> None:
    async with HttpClient(transport=httpx2.MockTransport(breaks)) as http:
        feed = RegistrationApi("http://registration", http, TokenFile(tmp_path / "none"))
        with pytest.raises(RegistrationUnavailable):
            await feed.registrations("1001", account_id="acc-jan")


async def test_i4_a_library_of_the_organisation_is_its_own(asked: Asked) -> None:
    if isinstance(asked.feed, InMemoryRegistration):
        asked.feed.own_libraries["1001"] = {"NL-070297"}
    assert await asked.feed.is_own_library("1001", "NL-0702970001")
    assert not await asked.feed.is_own_library("1001", HOME)
    assert not await asked.feed.is_own_library("a/b", HOME)
