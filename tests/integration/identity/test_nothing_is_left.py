"""After an erasure nothing of the person is left: in no table of both databases, no message, no log line."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from identity.application.dependencies import AccountDetails
from identity.domain.actor import Actor
from identity.domain.guest_link import GuestLink
from identity.domain.login_account import LoginAccount
from registration.domain.guest import Guest
from registration.domain.verdict import PatronDetails, Reason, Refused, Valid
from shared.event_log import AggregateStore
from shared.platform.logging import configure_logging
from tests.support.both_services import JAN, PIET, BothServices, existing
from tests.support.registration_service import CARD, HOME, registering

SCANNED, REPLACED = "0990139362", "0990200000"
PERSON = PatronDetails("Wilhelmina Zandstra", date(1980, 2, 3), "Brink 1, Groningen", "mien@example.org")
MOVED = PatronDetails("Wilhelmina Zandstra", date(1980, 2, 3), "Oostersingel 2, Assen", "mien@example.com")
ACCOUNT = AccountDetails("acc-mien", "mien.zandstra", "mien@example.net", HOME, CARD)
NEW = {"choice": "new", "username": "mien.nieuw", "email": "nieuw@example.org"}
PERSONAL = (
    *(SCANNED, CARD, REPLACED),
    *("Wilhelmina", "Zandstra", "1980-02-03", "Brink", "Oostersingel"),
    *("mien@example", "nieuw@example", "mien.zandstra", "mien.nieuw"),
)
"""Name, birth date, addresses, e-mail addresses, card numbers and usernames, as parts that would be seen."""


async def whole_life(both_services: BothServices) -> dict[str, Any]:
    """A guest to whom everything happens that leaves a trace."""
    counter, clerk = both_services.registration, both_services.clerk
    both_services.identity.directory.accounts[:] = [ACCOUNT, PIET]
    counter.home.answers(HOME, SCANNED, Valid(PERSON, None, CARD))
    body = registering(SCANNED, login_account=NEW)
    registered = await clerk.post("/v1/guests", json=body, headers={"Idempotency-Key": "once"})
    guest: dict[str, Any] = registered.json()
    assert guest["details"]["name"] == PERSON.name
    path = f"/v1/guests/{guest['guest_id']}"
    await both_services.deliver_all()
    login = {"account_id": guest["login_link"]["account_id"], "organisation": "1001"}
    logged_in = await both_services.wisecat.post(
        "/v1/logins", json=login, headers={"Idempotency-Key": "once"}
    )
    assert logged_in.json()["guest"] is not None
    await clerk.request("DELETE", f"{path}/login-account", json={"reason": "ander account"})

    counter.home.answers(HOME, CARD, Refused((Reason.EXPIRED,), because_ended=True, details=PERSON))
    counter.clock.moment += timedelta(days=4)
    assert (await clerk.post(f"{path}/home-check")).json()["status"] == "expired"
    counter.home.answers(HOME, CARD, Valid(MOVED, None, REPLACED))
    again = {"patron_type": "04", "login_account": existing(ACCOUNT)}
    assert (await clerk.post(f"{path}/reregistration", json=again)).status_code == 200
    await both_services.deliver_all()
    assert (await both_services.logs_in(ACCOUNT)).json()["guest"] is not None
    assert (
        await clerk.get("/v1/login-accounts", params={"username": "mien.zandstra", "home_isil": HOME})
    ).is_success
    await park_and_discard(both_services, UUID(guest["guest_id"]))
    return guest


async def park_and_discard(both_services: BothServices, guest_id: UUID) -> None:
    """A message that contradicts what is known parks the guest until an operator skips it."""
    inbox = both_services.identity.service.inbox
    first, *_ = await both_services.registration.service.own_feed.of_subject(guest_id, after_version=0)
    await inbox.receive(replace(first, id=uuid4()))
    assert [parked.subject for parked in await inbox.parked.overview()] == [guest_id]
    assert await inbox.discard(guest_id, reason="een vergissing", by="beheer")


async def test_r19_nothing_of_an_erased_person_is_left(
    both_services: BothServices, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logging("both", "DEBUG")
    guest = await whole_life(both_services)
    await both_services.catch_up_views()
    assert await count(both_services.registration.service.pool, "guest_directory") == 1
    assert await count(both_services.identity.service.pool, "accounts") == 2
    await both_services.erases(guest)
    await both_services.deliver_all()
    await both_services.catch_up_views()
    await nothing_is_left(both_services, guest, capfd)
    await both_services.rebuild_views()
    await nothing_is_left(both_services, guest, capfd)


async def nothing_is_left(
    both_services: BothServices, guest: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Searched for in what is shown, published and logged, and in all tables of both databases."""
    shown = (await both_services.clerk.get(f"/v1/guests/{guest['guest_id']}")).text
    feed = "".join([str(each) for each in await messages(both_services)])
    tables = [
        await everything_in(each.service.pool)
        for each in (both_services.registration, both_services.identity)
    ]
    output = "".join(capfd.readouterr())
    for personal in PERSONAL:
        for text in (shown, feed, output, *tables):
            assert personal not in text
    for table in (
        "guest_directory",
        "guest_words",
        "data_keys",
        "registrations",
        "registration_accounts",
        "term_checks",
        "idempotency_keys",
    ):
        assert await count(both_services.registration.service.pool, table) == 0
    for table in ("accounts", "logins", "data_keys", "usernames", "idempotency_keys", "held_messages"):
        assert await count(both_services.identity.service.pool, table) == 0


async def test_r19_the_search_would_find_what_is_there(both_services: BothServices) -> None:
    """A search that finds nothing proves something only when it can find."""
    await whole_life(both_services)
    for service, kept in (
        (both_services.registration.service, "registrations"),
        (both_services.identity.service, "usernames"),
    ):
        assert await count(service.pool, kept) > 0
        assert await count(service.pool, "data_keys") > 0
        await service.pool.execute("CREATE TABLE leak (plain text, hidden bytea, sealed text)")
        encoded = base64.b64encode(b"..mien.nieuw..").decode()
        await service.pool.execute("INSERT INTO leak VALUES ($1, $2, $3)", CARD, b"_Zandstra_", encoded)
        found = await everything_in(service.pool)
        assert [each for each in PERSONAL if each in found] == [CARD, "Zandstra", "mien.nieuw"]


async def test_r19_every_stream_can_still_be_replayed(both_services: BothServices) -> None:
    guest = await whole_life(both_services)
    await both_services.erases(guest)
    await both_services.deliver_all()
    problem_types = (Guest, GuestLink, LoginAccount, Actor)
    for store in (both_services.registration.service.deps.store, both_services.identity.service.deps.store):
        loaded = {
            kind
            for stream in await streams(store)
            for kind in problem_types
            if await store.find(kind, stream)
        }
        assert loaded in ({Guest}, {GuestLink, LoginAccount, Actor})
    left = await both_services.registration.service.deps.store.load(Guest, UUID(guest["guest_id"]))
    assert (left.state.status, len(left.state.contributions.rows)) == ("erased", 3)


async def test_i9_the_person_may_come_back_as_a_new_guest_with_the_same_account(
    both_services: BothServices,
) -> None:
    before = await both_services.registers(existing(JAN))
    await both_services.deliver_all()
    actor = (await both_services.logs_in()).json()["actor_id"]
    await both_services.erases(before)
    after = await both_services.registers(existing(JAN))
    assert after["guest_id"] != before["guest_id"]

    answer = (
        await both_services.logs_in()
    ).json()  # identity has received neither yet: the earlier link is still valid
    assert (answer["outcome"], answer["actor_id"]) == ("recognised", actor)
    assert (await both_services.link_of(after))["state"] == "linked"
    answer = (await both_services.logs_in()).json()
    assert (answer["guest"]["guest_id"], answer["first_login"]) == (after["guest_id"], True)
    assert answer["actor_id"] != actor


async def messages(both_services: BothServices) -> list[Any]:
    """All that both services publish, which must all say that it is of an erased guest."""
    pages = [
        await each.service.own_feed.after(0, limit=500, wait=0)
        for each in (both_services.registration, both_services.identity)
    ]
    published = [message for page in pages for message in page.messages]
    assert {message.erased for message in published} == {True}
    return [message.to_cloudevent() for message in published]


async def everything_in(pool: asyncpg.Pool) -> str:
    """Every row of every table as text; what hexadecimal or base64 digits hide is there as plain text too."""
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    text = ""
    for table in tables:
        name = table["tablename"]
        text += "\n".join(row[0] for row in await pool.fetch(f"SELECT t::text FROM {name} AS t"))  # noqa: S608
    text += "".join(bytes.fromhex(hidden).decode("latin-1") for hidden in re.findall(r"\\x([0-9a-f]+)", text))
    for hidden in re.findall(r"[A-Za-z0-9+/]{12,}", text):
        text += base64.b64decode(hidden[: len(hidden) // 4 * 4]).decode("latin-1")
    return text


async def count(pool: asyncpg.Pool, table: str) -> int:
    return int(await pool.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608


async def streams(store: AggregateStore) -> set[UUID]:
    return {event.stream_id for event in await store.log.read(0, 10_000)}
