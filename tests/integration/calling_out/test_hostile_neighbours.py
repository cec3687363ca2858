"""Every neighbour that services ask over HTTP, hostile in every way: bounded, said, and nothing is lost.

Nobody becomes unknown by it (I4): each question ends in the error of its client, and the same client gets the
right answer when the neighbour is itself again. LDAP is in test_hostile_ldap, the token of a service in
test_service_token, home libraries are in tests/contract/home_library/test_hostile_libraries.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from identity.adapters.account_directory import HttpAccountDirectory
from identity.application.dependencies import AccountDirectory, DirectoryUnavailable
from registration.counter_ui.i18n import NEXT_STEPS
from registration.counter_ui.sign_in_client import SignInFailed
from shared.messaging.envelope import Message
from shared.messaging.webhook_receivers import Receiver, ReceiverSetting
from shared.messaging.webhook_sender import WebhookSender
from shared.platform.http_client import HttpClient, trusted_authorities
from tests.integration.calling_out.issuer import PATHS, STAFF, Issuer, come_back, sign_in
from tests.integration.calling_out.test_hostile_replies import BUFFERED
from tests.support.account_directories import HOME, JAN, scim_over, scim_users
from tests.support.eventually import eventually
from tests.support.home_libraries import Authority, make_authority
from tests.support.hostile_http import (
    CONTENTS,
    FLOODS,
    METADATA_OF_A_CLOUD,
    Answer,
    another_protocol,
    another_type,
    bomb,
    bomb_on_the_way,
    hostile_peer,
    interim,
    json_answer,
    nested,
    page_of_a_proxy,
    redirect_to,
    silent,
)
from tests.support.silence import shorten

Ask = Callable[[], Awaitable[object]]
Page = Callable[[str], bytes]
"""From a path to the body of the honest answer."""


class NotTaken(Exception):
    """A message was not taken, for this reason."""


@dataclass(frozen=True)
class Neighbour:
    """`opened`: from its address to its honest pages and to how it is asked. `at`: where it is hostile.

    `right`: the answer when it is honest. `is_read`: its answers count, and not only their status.
    """

    name: str
    opened: Callable[[str], AbstractAsyncContextManager[tuple[Page, Ask]]]
    right: object
    at: str = "/"
    is_read: bool = True

    def __str__(self) -> str:
        return self.name


DirectoryAsk = Callable[[AccountDirectory], Awaitable[object]]


def by_id(directory: AccountDirectory) -> Awaitable[object]:
    return directory.by_id(JAN.account_id)


def by_username(directory: AccountDirectory) -> Awaitable[object]:
    return directory.by_username(JAN.username, HOME)


ACCOUNT = {
    "account_id": JAN.account_id,
    "username": JAN.username,
    "email": JAN.email,
    "home_isil": JAN.home_isil,
    "home_card_number": JAN.home_card_number,
}
[USER] = scim_users([JAN])


@asynccontextmanager
async def http_directory(ask: DirectoryAsk, page: object, url: str) -> AsyncIterator[tuple[Page, Ask]]:
    async with HttpClient() as http:
        directory = HttpAccountDirectory(url, http)
        yield lambda _path: json.dumps(page).encode(), lambda: ask(directory)


@asynccontextmanager
async def scim_directory(ask: DirectoryAsk, page: object, url: str) -> AsyncIterator[tuple[Page, Ask]]:
    async with HttpClient(base_url=url) as http:
        directory = scim_over(http)
        yield lambda _path: json.dumps(page).encode(), lambda: ask(directory)


@asynccontextmanager
async def sign_in_service(url: str) -> AsyncIterator[tuple[Page, Ask]]:
    issuer, service = Issuer(url), sign_in(url)

    async def who() -> object:
        return (await come_back(service, issuer))["sub"]

    yield issuer.page, who


@asynccontextmanager
async def webhook(url: str) -> AsyncIterator[tuple[Page, Ask]]:
    networks = {"plain_http": True, "allowed_networks": ["127.0.0.0/8", "::1/128"]}
    setting = ReceiverSetting.model_validate({"url": url, "secret_file": "unread", **networks})
    now, one, other = datetime.now(UTC), uuid4(), uuid4()
    message = Message(uuid4(), "/registration/x", "guest-registered.v1", one, now, 1, 1, other, None, {})

    async def send() -> object:
        if (failure := await sender.send(message)) is not None:
            raise NotTaken(failure.reason)
        return "taken"

    async with WebhookSender(Receiver("one", setting, (os.urandom(32),))) as sender:
        yield lambda _path: b"{}", send


LIST = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"], "totalResults": 1}
NEIGHBOURS = (
    Neighbour("directory, by id", partial(http_directory, by_id, ACCOUNT), JAN),
    Neighbour("directory, by username", partial(http_directory, by_username, {"account": ACCOUNT}), JAN),
    Neighbour("SCIM, by id", partial(scim_directory, by_id, USER), JAN),
    Neighbour("SCIM, by username", partial(scim_directory, by_username, LIST | {"Resources": [USER]}), JAN),
    *(Neighbour(f"sign-in at {path}", sign_in_service, STAFF["sub"], path) for path in PATHS),
    Neighbour("webhook", webhook, "taken", is_read=False),
)


def whole(answer: Answer) -> Callable[[bytes], Iterator[bytes]]:
    """The same whatever an honest neighbour would say."""
    return lambda _honest: answer("")


WRONG_STATUS: dict[str, Answer] = {
    answer.__name__: answer for answer in (*FLOODS, bomb, bomb_on_the_way, silent, interim, another_protocol)
} | {"a page of a proxy": page_of_a_proxy, "to the metadata of a cloud": redirect_to(METADATA_OF_A_CLOUD)}
WRONG_CONTENT: dict[str, Answer] = {"another type": another_type, "nested": nested}


@pytest.mark.parametrize("neighbour", NEIGHBOURS, ids=str)
async def test_a_hostile_neighbour_is_bounded_and_said_and_nothing_is_lost(
    neighbour: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    async with hostile_peer(lambda _path: json_answer(b"{}")) as elsewhere:
        answers = WRONG_STATUS | {"to loopback": redirect_to(f"{elsewhere.url}/elsewhere")}
        answers |= WRONG_CONTENT if neighbour.is_read else {}
        faults = {name: whole(answer) for name, answer in answers.items()}
        faults |= CONTENTS if neighbour.is_read else {}
        found = await asyncio.gather(*(suffers(neighbour, fault) for fault in faults.values()))
        dripping = await suffers(neighbour, drip, pause=0.05)
        assert {**dict(zip(faults, found, strict=True)), "drip": dripping} == dict.fromkeys(
            (*faults, "drip"), "said, and right afterwards"
        )
        assert elsewhere.connections == 0, "a redirect was followed"


def drip(honest: bytes) -> Iterator[bytes]:
    """The honest answer, byte by byte: a time-out of each single read would never come."""
    whole_answer = b"".join(json_answer(honest))
    for byte in whole_answer:
        yield bytes([byte])


async def suffers(neighbour: Neighbour, fault: Callable[[bytes], Iterator[bytes]], pause: float = 0.0) -> str:
    """What comes of a question while the fault lasts, and of the same question afterwards."""
    is_hostile = True
    async with hostile_peer(silent) as peer, neighbour.opened(peer.url) as (page, ask):

        def served(path: str) -> Iterator[bytes]:
            if is_hostile and path.startswith(neighbour.at):
                peer.pause = pause
                return fault(page(path))
            peer.pause = 0.0
            return json_answer(page(path.partition("?")[0]))

        peer.answer = served
        async with asyncio.timeout(20):
            during = await outcome(ask)
        if during != "said":
            return during
        if peer.sent > BUFFERED:
            return f"{peer.sent} bytes"
        is_hostile = False
        await eventually(lambda: is_right(ask, neighbour))
    return "said, and right afterwards"


async def outcome(ask: Ask) -> str:
    """`said`, if the question ended in an error of its client that says what happened, and names nobody."""
    try:
        found = await ask()
    except (SignInFailed, DirectoryUnavailable, NotTaken) as failed:
        if isinstance(failed, SignInFailed) and failed.code not in NEXT_STEPS:
            return f"a clerk does not read what to do: {failed.code}"
        is_said = 0 < len(str(failed)) < 700 and JAN.username not in str(failed)
        return "said" if is_said else f"says {failed}"
    return f"answered {found}"


async def is_right(ask: Ask, neighbour: Neighbour) -> bool:
    try:
        return await ask() == neighbour.right
    except (SignInFailed, DirectoryUnavailable, NotTaken):
        return False  # a slow machine: the time limits are very short here


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """The only authority that this process trusts."""
    made = make_authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    trusted_authorities.cache_clear()
    yield made
    trusted_authorities.cache_clear()


@pytest.mark.parametrize("neighbour", [one for one in NEIGHBOURS if one.at in {"/", PATHS[0]}], ids=str)
async def test_a_neighbour_with_the_certificate_of_another_is_told_nothing(
    neighbour: Neighbour, authority: Authority
) -> None:
    for name in ("elsewhere.example", "localhost"):
        async with (
            hostile_peer(silent, authority.server(name)) as peer,
            neighbour.opened(peer.url) as (page, ask),
        ):
            peer.answer = lambda path: json_answer(page(path.partition("?")[0]))
            if name == "localhost":
                assert await ask() == neighbour.right
            else:
                assert await outcome(ask) == "said"
                assert peer.requests == []
