"""After an erasure nothing of the person is left: in no table of both databases, no message, no log line."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from identity.adapters.tables import TRANSFERRED_TABLES as IDENTITYS_TABLES
from identity.application.dependencies import AccountDetails
from identity.domain.actor import Actor
from identity.domain.guest_link import GuestLink
from identity.domain.login_account import LoginAccount
from identity.read_models import VIEWS as IDENTITYS_VIEWS
from registration.adapters.tables import TRANSFERRED_TABLES as REGISTRATIONS_TABLES
from registration.domain.guest import Guest
from registration.domain.verdict import PatronDetails, Reason, Refused, Valid
from registration.read_models import VIEWS as REGISTRATIONS_VIEWS
from shared.event_log import VACUUMED, AggregateStore
from shared.event_log.export import Terms, TransferredTable
from shared.kernel.library_card import isil_base, person_ref
from shared.platform.logging import configure_logging
from tests.support.both_services import JAN, PIET, BothServices, existing
from tests.support.event_log import exported
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
TYPED = ("broer Zwier", "buurvrouw Hinke", "tante Grietje")
"""What clerks and operators typed as reasons."""


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
    await clerk.request("DELETE", f"{path}/login-account", json={"reason": f"account van {TYPED[0]}"})

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
    await inbox.receive(replace(first, id=uuid4(), data={"another": "history"}))
    assert [parked.subject for parked in await inbox.parked.overview()] == [guest_id]
    assert await inbox.discard(guest_id, reason=f"gebeld met {TYPED[1]}", by="beheer")


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


PLACES = (
    *("what is shown", "the messages", "the output", "registration's database", "identity's database"),
    *("registration's export", "identity's export"),
)


def pseudonyms(guest: dict[str, Any], key: bytes) -> list[str]:
    """All that stands for the person without being readable: account ids and person references."""
    base = isil_base(HOME)
    refs = [person_ref(key, base, number) for number in (SCANNED, CARD, REPLACED)]
    return [*refs, ACCOUNT.account_id, guest["login_link"]["account_id"]]


async def nothing_is_left(
    both_services: BothServices, guest: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Searched for in what is shown, published and logged, and in all tables of both databases."""
    pages = (f"/v1/guests/{guest['guest_id']}", f"/v1/guests/{guest['guest_id']}/history")
    shown = "".join([(await both_services.clerk.get(page)).text for page in pages])
    feed = "".join([str(each) for each in await messages(both_services)])
    tables = [
        await everything_in(each.service.pool)
        for each in (both_services.registration, both_services.identity)
    ]
    output = "".join(capfd.readouterr())
    exports = [
        await export_of(both_services.registration.service.pool, REGISTRATIONS_TABLES),
        await export_of(both_services.identity.service.pool, IDENTITYS_TABLES),
    ]
    key = both_services.registration.service.deps.person_ref_key
    for value in (*PERSONAL, *TYPED[:2], *pseudonyms(guest, key)):
        for place, text in zip(PLACES, (shown, feed, output, *tables, *exports), strict=True):
            assert value not in text, place
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
    for table in (
        "accounts",
        "logins",
        "data_keys",
        "usernames",
        "idempotency_keys",
        "held_messages",
        "discarded_messages",
    ):
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
        await service.pool.execute("CREATE TABLE tests.leak (plain text, hidden bytea, sealed text)")
        encoded = base64.b64encode(b"..mien.nieuw..").decode()
        await service.pool.execute("INSERT INTO leak VALUES ($1, $2, $3)", CARD, b"_Zandstra_", encoded)
        found = await everything_in(service.pool)
        assert [each for each in PERSONAL if each in found] == [CARD, "Zandstra", "mien.nieuw"]


async def test_r19_what_an_erasure_deletes_leaves_its_pages_soon(both_services: BothServices) -> None:
    """A vacuum removes a deleted row from its page; the server starts it after one deletion."""
    deletes = """
        SELECT relname::text, coalesce(reloptions, '{}') AS options FROM pg_class
         WHERE oid IN (SELECT tgrelid FROM pg_trigger WHERE tgname = 'skip_erased')
            OR relname = ANY ($1) OR relname = 'held_messages'
    """
    for service, views in (
        (both_services.registration.service, REGISTRATIONS_VIEWS),
        (both_services.identity.service, IDENTITYS_VIEWS),
    ):
        names = [table.name for view in views for table in view.tables]
        found = await service.pool.fetch(deletes, names)
        assert len(found) > len(names) + 4
        for name, options in found:
            assert (name, ", ".join(sorted(options, reverse=True))) == (name, VACUUMED.replace(" = ", "="))


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


async def export_of(pool: asyncpg.Pool, tables: Sequence[TransferredTable]) -> str:
    """The file of an export; what is encoded in it is there as plain text too."""
    terms = Terms("either", tables, [bytes(32)])
    async with pool.acquire() as connection:
        return decoded((await exported(connection, terms=terms)).decode())


async def everything_in(pool: asyncpg.Pool) -> str:
    """Every row of every table as text, with what is encoded in it."""
    tables = await pool.fetch(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    text = ""
    for (name,) in tables:
        text += "\n".join(row[0] for row in await pool.fetch(f"SELECT t::text FROM {name} AS t"))  # noqa: S608
    return decoded(text)


def decoded(text: str) -> str:
    """The text, and what hexadecimal or base64 digits hide in it."""
    text += "".join(bytes.fromhex(hidden).decode("latin-1") for hidden in re.findall(r"\\x([0-9a-f]+)", text))
    for hidden in re.findall(r"[A-Za-z0-9+/]{12,}", text):
        text += base64.b64decode(hidden[: len(hidden) // 4 * 4]).decode("latin-1")
    return text


async def count(pool: asyncpg.Pool, table: str) -> int:
    return int(await pool.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608


async def streams(store: AggregateStore) -> set[UUID]:
    return {event.stream_id for event in await store.log.read(0, 10_000)}
