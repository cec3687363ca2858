"""I5, on the whole stack by real processes: registered before the login began means recognised."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.local.story_steps import membership_ended
from tests.support.commands import run_command
from tests.support.eventually import eventually
from tests.support.stack import RunningStack, load_card, registration_of

ORGANISATION = "1001"
cards = (load_card(number) for number in count(1))


@pytest.fixture(scope="module", params=["amqp", "feed"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path_factory.mktemp(f"stack-{request.param}"), request.param)
    running.start()
    yield running
    assert running.stop() == 0


async def register(counter: httpx2.AsyncClient, card: str, **changed: Any) -> dict[str, Any]:
    response = await counter.post("/v1/guests", json=registration_of(card, **changed))
    assert response.status_code == 201, response.text
    return dict(response.json())


async def log_in(
    wisecat: httpx2.AsyncClient, account_id: str, organisation: str = ORGANISATION
) -> httpx2.Response:
    return await wisecat.post("/v1/logins", json={"account_id": account_id, "organisation": organisation})


async def account_of(operator: httpx2.AsyncClient, account_id: str) -> dict[str, Any]:
    response = await operator.get(f"/v1/login-accounts/{account_id}")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def linked(counter: httpx2.AsyncClient, guest_id: str) -> bool:
    guest = (await counter.get(f"/v1/guests/{guest_id}")).json()
    return bool(guest["login_link"]["state"] == "linked")


async def test_i5_fifty_guests_log_in_at_once_while_nothing_is_delivered(stack: RunningStack) -> None:
    """Eight clients register and log in while identity's worker is stopped; the delivery adds nothing."""
    todo = [next(cards) for _ in range(50)]
    guests: dict[str, str] = {}

    async def client() -> None:
        while todo:
            card = todo.pop()
            guest = await register(counter, card)
            outcome = await log_in(wisecat, f"acc-{card}")
            assert outcome.status_code == 200, outcome.text
            assert outcome.json()["outcome"] == "recognised"
            assert outcome.json()["guest"]["guest_id"] == guest["guest_id"]
            guests[card] = guest["guest_id"]

    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
        stack.client("identity", "operator") as operator,
    ):
        with stack.paused("identity_worker"):
            await asyncio.gather(*(client() for _ in range(8)))
        assert len(guests) == 50
        for card, guest_id in guests.items():
            await eventually(partial(linked, counter, guest_id), within=30, every=0.1)
            account = await account_of(operator, f"acc-{card}")
            assert [link["guest_id"] for link in account["links"]] == [guest_id]
            assert {login["actor_id"] for login in account["logins"]} == {account["actor_id"]}


async def test_i5_who_cannot_be_asked_about_has_to_try_again_and_gets_no_actor(
    stack: RunningStack,
) -> None:
    card = next(cards)
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
        stack.client("identity", "operator") as operator,
    ):
        with stack.paused("identity_worker"):
            guest = await register(counter, card)
            with stack.paused("registration_api", "registration_worker"):
                refused = await log_in(wisecat, f"acc-{card}")
                assert (refused.status_code, refused.json()["code"]) == (503, "registration-unavailable")
                assert "Retry-After" in refused.headers
            outcome = (await log_in(wisecat, f"acc-{card}")).json()
        assert (outcome["outcome"], outcome["guest"]["guest_id"]) == ("recognised", guest["guest_id"])
        account = await account_of(operator, f"acc-{card}")
        assert {login["actor_id"] for login in account["logins"]} == {account["actor_id"]}


async def test_i4_two_first_logins_at_once_give_one_actor(stack: RunningStack) -> None:
    async with stack.client("identity", "wisecat") as wisecat:
        for _ in range(10):
            account_id = f"acc-{next(cards)}"
            answers = await asyncio.gather(*(log_in(wisecat, account_id) for _ in range(4)))
            outcomes = [answer.json() for answer in answers]
            assert len({outcome["actor_id"] for outcome in outcomes}) == 1
            assert sorted(outcome["first_login"] for outcome in outcomes) == [False, False, False, True]


async def test_i6_a_login_and_a_link_at_once_give_one_actor(stack: RunningStack) -> None:
    """Whichever wins, both sides agree afterwards: linked, or linked too late."""
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
    ):
        for _ in range(10):
            card = next(cards)
            _, first = await asyncio.gather(register(counter, card), log_in(wisecat, f"acc-{card}"))
            assert first.status_code == 200, first.text
            again = await eventually(partial(recognised, wisecat, f"acc-{card}"))
            assert again["actor_id"] == first.json()["actor_id"]
            guest_id = again["guest"]["guest_id"]
            state = await eventually(partial(settled, counter, guest_id))
            assert state == ("too_late" if first.json()["outcome"] == "new_actor" else "linked")


async def recognised(wisecat: httpx2.AsyncClient, account_id: str) -> dict[str, Any] | None:
    outcome = (await log_in(wisecat, account_id)).json()
    return outcome if outcome["outcome"] == "recognised" and outcome["guest"] else None


async def settled(counter: httpx2.AsyncClient, guest_id: str) -> str | None:
    state = (await counter.get(f"/v1/guests/{guest_id}")).json()["login_link"]["state"]
    return None if state == "pending" else str(state)


async def test_i4_a_registered_person_without_a_link_is_sent_to_the_counter(stack: RunningStack) -> None:
    card = next(cards)
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
    ):
        with stack.paused("identity_worker"):
            await register(counter, card, login_account={"choice": "none"})
            answer = await log_in(wisecat, f"acc-{card}")
        assert (answer.status_code, answer.json()["code"]) == (409, "link-required")


async def test_i5_registration_down_does_not_touch_those_who_are_linked(stack: RunningStack) -> None:
    card = next(cards)
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
    ):
        guest = await register(counter, card)
        await eventually(lambda: linked(counter, guest["guest_id"]))
        with stack.paused("registration_api", "registration_worker", "identity_worker"):
            outcome = await log_in(wisecat, f"acc-{card}")
        assert outcome.json()["outcome"] == "recognised"


async def test_i7_an_expiry_changes_what_the_login_reports(stack: RunningStack) -> None:
    card = next(cards)
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
    ):
        guest = await register(counter, card)
        await log_in(wisecat, f"acc-{card}")
        with membership_ended(stack.run_dir / "home_library.json", card):
            checked = await counter.post(f"/v1/guests/{guest['guest_id']}/home-check")
        assert checked.json()["status"] == "expired"

        async def reported() -> bool:
            return bool((await log_in(wisecat, f"acc-{card}")).json()["guest"]["status"] == "expired")

        await eventually(reported)


async def test_the_databases_are_closed_to_each_other(stack: RunningStack) -> None:
    import asyncpg

    urls = stack.description["database_urls"]
    names = {service: url.rpartition("/")[2] for service, url in urls.items()}
    for service, other in (("registration", "identity"), ("identity", "registration")):
        address = urls[service].rpartition("/")[0] + "/" + names[other]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(address)


def test_a_paused_process_is_not_taken_for_a_dead_one(stack: RunningStack) -> None:
    pid = stack.pid("identity_worker")
    with stack.paused("identity_worker"):
        pass
    os.kill(pid, signal.SIGCONT)
    assert stack.pid("identity_worker") == pid


async def test_r29_i13_imported_guests_are_recognised_whoever_of_them_logs_in_first(
    stack: RunningStack, tmp_path: Path
) -> None:
    """Half of them log in before their messages, the first of all before the import; the others after it."""
    imported = [next(cards) for _ in range(40)]
    async with (
        stack.client("registration", "counter") as counter,
        stack.client("identity", "wisecat") as wisecat,
        stack.client("identity", "operator") as operator,
    ):
        early = (await log_in(wisecat, f"acc-{imported[0]}")).json()
        assert early["outcome"] == "new_actor"
        file = tmp_path / "guests.jsonl"
        file.write_text("".join(json.dumps(guest_of_before(card)) + "\n" for card in imported), "utf-8")
        command = ("guests", "import", str(file), "--organisation", ORGANISATION, "--source", stack.transport)
        with stack.paused("identity_worker"):
            done = run_command(
                "registration", *command, "--by", "beheer", "--json", RUN_DIR=str(stack.run_dir)
            )
            assert (done.code, json.loads(done.out)["imported"]) == (0, len(imported)), done.errors
            before = [(await log_in(wisecat, f"acc-{card}")).json() for card in imported[1:20]]
        assert {answer["outcome"] for answer in before} == {"recognised"}

        async def known_as_guest() -> bool:
            return (await log_in(wisecat, f"acc-{imported[0]}")).json()["guest"] is not None

        await eventually(known_as_guest, within=30, every=0.1)
        for card in imported:
            answer = (await log_in(wisecat, f"acc-{card}")).json()
            account = await account_of(operator, f"acc-{card}")
            assert (answer["outcome"], answer["actor_id"]) == ("recognised", account["actor_id"])
            await eventually(partial(linked, counter, answer["guest"]["guest_id"]), within=30, every=0.1)
            assert {login["actor_id"] for login in account["logins"]} == {account["actor_id"]}


def guest_of_before(card: str) -> dict[str, Any]:
    """A line of an import, with the login account that the directory has on this card."""
    registration = registration_of(card)
    return {
        "card_number": card,
        "home_isil": registration["home_isil"],
        "name": "Gast van vroeger",
        "branch": registration["branch"],
        "subscription": "346",
        "registered_on": "2023-02-01",
        "valid_until": "2099-12-31",
        "card_has_chip": True,
        "strips_granted": True,
        "login_account_id": f"acc-{card}",
    }
