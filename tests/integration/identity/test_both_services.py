"""Both services, each over a database of its own, speaking HTTP to each other in one process.

Nothing is delivered unless a test says so: `sweep` brings one service what the other has published since.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from identity.adapters.registration_api import RegistrationApi
from identity.application.ports import AccountDetails
from identity.domain.errors import RefusalReason
from shared.messaging.feed import Feed, HttpFeed
from shared.messaging.inbox import Inbox
from tests.support.identity_service import LoginDesk, login, open_desk
from tests.support.registration_service import CARD, HOME, Counter, open_counter, registering
from tests.support.servers import Databases

JAN = AccountDetails("acc-jan", "jan.jansen", "jan@example.org", HOME, CARD)
OTHER_CARD = "0990139313"
PIET = AccountDetails("acc-piet", "piet", "piet@example.org", HOME, OTHER_CARD)


@dataclass
class Pair:
    """The two services and their callers. `reachable`: whether identity can reach registration."""

    registration: Counter
    identity: LoginDesk
    clerk: httpx.AsyncClient
    wisecat: httpx.AsyncClient
    switch: Switch
    swept: dict[str, int]

    async def registers(self, choice: dict[str, Any], card: str = CARD) -> dict[str, Any]:
        answer = await self.clerk.post("/v1/guests", json=registering(card, login_account=choice))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def sweep(self) -> None:
        """Each hears all that the other has published, until there is nothing new."""
        quiet = False
        while not quiet:
            quiet = not (await self._hears("identity") + await self._hears("registration"))

    async def _hears(self, who: str) -> int:
        inbox: Inbox = getattr(self, who).service.inbox
        feed: Feed = (
            self.identity.service.registration_feed if who == "identity" else self.identity.service.own_feed
        )
        page = await feed.after(self.swept[who], limit=500, wait=0)
        for message in page.messages:
            await inbox.receive(message)
        new, self.swept[who] = page.position - self.swept[who], page.position
        return new

    async def link_of(self, guest: dict[str, Any]) -> dict[str, Any]:
        await self.sweep()
        shown = await self.clerk.get(f"/v1/guests/{guest['guest_id']}")
        return dict(shown.json()["login_link"])

    async def logs_in(self, account: AccountDetails = JAN) -> httpx.Response:
        return await self.wisecat.post("/v1/logins", json={**login(""), "account_id": account.account_id})


class Switch(httpx.ASGITransport):
    """The network between identity and registration."""

    reachable = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.reachable:
            raise httpx.ConnectError("nobody there")
        return await super().handle_async_request(request)


@pytest.fixture
async def pair(databases: Databases, tmp_path: Path) -> AsyncIterator[Pair]:
    async with open_counter(databases(), tmp_path) as counter:
        (tmp_path / "identity").mkdir()
        switch = Switch(counter.app)
        token = counter.signer.token("feed", None, "identity")
        async with (
            httpx.AsyncClient(transport=switch) as http,
            open_desk(
                databases(),
                tmp_path / "identity",
                registration=RegistrationApi("http://registration", http, lambda: token),
                feed=HttpFeed("http://registration", http, lambda: token),
                signer=counter.signer,
                person_ref_key=counter.service.registration.person_ref_key,
            ) as desk,
            counter.client() as clerk,
            desk.client() as wisecat,
        ):
            counter.member(OTHER_CARD)
            desk.directory.accounts[:] = [JAN, PIET]
            yield Pair(counter, desk, clerk, wisecat, switch, {"identity": 0, "registration": 0})


def existing(account: AccountDetails) -> dict[str, Any]:
    return {"choice": "existing", "account_id": account.account_id}


async def test_i5_registered_and_logged_in_at_once_is_recognised_and_both_sides_agree(pair: Pair) -> None:
    guest = await pair.registers(existing(JAN))
    answer = (await pair.logs_in()).json()
    assert (answer["outcome"], answer["first_login"]) == ("recognised", True)
    assert answer["guest"] == {
        "guest_id": guest["guest_id"],
        "status": "valid",
        "ends_on": guest["term"]["end"],
    }
    events = await pair.identity.topics()
    assert (await pair.link_of(guest))["state"] == "linked"
    assert await pair.identity.topics() == events


async def test_i5_while_registration_cannot_be_reached_nobody_becomes_a_new_actor(pair: Pair) -> None:
    await pair.registers(existing(JAN))
    pair.switch.reachable = False
    async with pair.identity.nothing_written():
        answer = await pair.logs_in()
    assert (answer.status_code, answer.json()["code"]) == (503, "registration-unavailable")
    pair.switch.reachable = True
    assert (await pair.logs_in()).json()["outcome"] == "recognised"


async def test_i2_a_new_account_is_opened_by_the_barrier_and_linked(pair: Pair) -> None:
    guest = await pair.registers({"choice": "new", "username": "jan.nieuw", "email": "jan@example.org"})
    account_id = guest["login_link"]["account_id"]
    answer = await pair.wisecat.post("/v1/logins", json={"account_id": account_id, "organisation": "1001"})
    assert answer.json()["guest"]["guest_id"] == guest["guest_id"]
    assert await pair.link_of(guest) == {"state": "linked", "account_id": account_id, "reason": None}


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"choice": "existing", "account_id": "acc-nobody"}, RefusalReason.UNKNOWN_ACCOUNT),
        (
            {"choice": "new", "username": "Jan.Jansen", "email": "x@example.org"},
            RefusalReason.USERNAME_TAKEN,
        ),
        ({"choice": "new", "username": "  ", "email": "x@example.org"}, RefusalReason.MALFORMED_USERNAME),
    ],
)
async def test_i2_a_refusal_reaches_registration_with_its_reason_and_can_be_asked_again(
    pair: Pair, choice: dict[str, Any], reason: RefusalReason
) -> None:
    guest = await pair.registers(choice)
    link = await pair.link_of(guest)
    assert (link["state"], link["reason"]) == ("refused", reason.value)
    assert (await pair.logs_in()).json()["code"] == "link-required"
    asked = await pair.clerk.post(f"/v1/guests/{guest['guest_id']}/login-account", json=existing(JAN))
    assert asked.status_code == 202
    assert (await pair.link_of(guest))["state"] == "linked"


async def test_i3_an_account_in_use_is_refused_until_it_is_taken_off(pair: Pair) -> None:
    """A parent's account on a child (R21)."""
    child = await pair.registers(existing(JAN), OTHER_CARD)
    parent = await pair.registers(existing(JAN))
    assert (await pair.link_of(parent))["reason"] == "account-in-use"
    taken_off = await pair.clerk.request(
        "DELETE", f"/v1/guests/{child['guest_id']}/login-account", json={"reason": "account van een ouder"}
    )
    assert taken_off.status_code == 202
    assert (await pair.link_of(child))["state"] == "none"
    await pair.clerk.post(f"/v1/guests/{parent['guest_id']}/login-account", json=existing(JAN))
    assert (await pair.link_of(parent))["state"] == "linked"
    assert (await pair.logs_in()).json()["guest"]["guest_id"] == parent["guest_id"]
    assert (await pair.logs_in(PIET)).json()["code"] == "link-required"


async def test_i6_too_late_is_told_and_logins_go_on(pair: Pair) -> None:
    first = (await pair.logs_in()).json()
    guest = await pair.registers(existing(JAN))
    assert (await pair.link_of(guest))["state"] == "too_late"
    answer = (await pair.logs_in()).json()
    assert (answer["outcome"], answer["actor_id"]) == ("recognised", first["actor_id"])
    assert UUID(answer["guest"]["guest_id"]) == UUID(guest["guest_id"])


async def test_r21_a_deregistered_card_registered_afresh_is_linked_again(pair: Pair) -> None:
    guest = await pair.registers(existing(JAN))
    actor = (await pair.logs_in()).json()["actor_id"]
    gone = await pair.clerk.post(
        f"/v1/guests/{guest['guest_id']}/deregistration", json={"reason": "vergissing"}
    )
    assert gone.status_code == 200
    await pair.sweep()
    answer = (await pair.logs_in()).json()
    assert (answer["outcome"], answer["actor_id"], answer["guest"]) == ("recognised", actor, None)

    afresh = await pair.registers(existing(JAN))
    assert afresh["guest_id"] == guest["guest_id"]
    assert (await pair.link_of(guest))["state"] == "linked"
    assert (await pair.logs_in()).json()["actor_id"] == actor
