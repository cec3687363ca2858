"""Looking up people is limited and recorded before it is answered (R22)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from registration.adapters.lookups import Limits, LookupFilter, PostgresLookups
from registration.application.dependencies import Context, Lookup, LookupKind
from registration.bootstrap import view_source
from registration.domain.errors import TooManyLookups
from registration.domain.verdict import Reason, Refused
from registration.read_models.guest_directory import VIEW as DIRECTORY
from shared.event_log import Metadata
from tests.support.projections import follow_all
from tests.support.registration_service import (
    CARD,
    HOME,
    RegistrationApp,
    open_registration_app,
    registering,
)
from tests.support.servers import execute_as_owner

ACCOUNT = f"/v1/login-accounts?username=jan.jansen&home_isil={HOME}"
PATRON = f"/v1/home-patrons/{HOME}/{CARD}"
SEARCH = "/v1/guests?query=jansen"
OPERATOR = Context("1001", Metadata("beheer", uuid4()))


async def recorded(app: RegistrationApp) -> list[dict[str, Any]]:
    """What an operator reads, the oldest first, without that reading."""
    found = await app.service.lookups.newest(LookupFilter(), 1000, OPERATOR)
    lookups = [lookup for lookup in reversed(found) if lookup.kind != LookupKind.READING]
    return [{name: getattr(lookup, name) for name in lookup.__slots__} for lookup in lookups]


async def registered(app: RegistrationApp, clerk: httpx2.AsyncClient) -> UUID:
    guest = await clerk.post("/v1/guests", json=registering())
    await follow_all(app.service, [DIRECTORY], view_source(app.service.settings))
    return UUID(guest.json()["guest_id"])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (ACCOUNT, {"kind": "login-account", "home_isil": HOME, "outcome": "found"}),
        (ACCOUNT.replace("jan.jansen", "nobody"), {"kind": "login-account", "outcome": "none"}),
        (PATRON, {"kind": "home-patron", "home_isil": HOME, "outcome": "valid"}),
        (PATRON[:-1], {"kind": "home-patron", "outcome": "home-patron-not-found"}),
        (SEARCH, {"kind": "guests", "home_isil": None, "outcome": "found"}),
        ("/v1/guests", {"kind": "guests", "what": None, "outcome": "found"}),
        ("/v1/guests?query=nobody", {"kind": "guests", "outcome": "none", "guest_ids": []}),
    ],
)
async def test_r22_who_looked_up_what_is_recorded_and_what_was_typed_is_not_readable(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str, expected: dict[str, Any]
) -> None:
    guest_id = await registered(registration_app, clerk)
    await clerk.get(path)
    [lookup] = await recorded(registration_app)
    expected = {"guest_ids": [guest_id] if "guests" in path else []} | expected
    assert {name: lookup[name] for name in expected} == expected
    assert (lookup["subject"], lookup["organisation"]) == ("m.visser", "1001")
    rows = await registration_app.service.pool.fetch("SELECT lookups::text FROM lookups")
    typed = ("jansen", "nobody", CARD, CARD[:-1], "acc-jan")
    assert not any(text in str(row) for row in rows for text in typed)


def account(number: int) -> str:
    """The question for the account of another username."""
    return ACCOUNT.replace("jan.jansen", f"jan{number}")


@pytest.mark.parametrize("path", [account(1), PATRON[:-1], SEARCH + "1", "/v1/guests?status=expired"])
async def test_r22_over_the_limit_nothing_is_answered_until_later(
    limited_app: RegistrationApp, path: str
) -> None:
    async with limited_app.client() as clerk, limited_app.client(sub="j.smit") as colleague:
        assert [(await clerk.get(each)).status_code for each in (ACCOUNT, PATRON, SEARCH)] == [200] * 3
        for _ in range(2):
            refused = await clerk.get(path)
            assert (refused.status_code, refused.json()["code"]) == (429, "too-many-lookups")
            assert refused.json()["detail"].startswith("U heeft in korte tijd te veel mensen opgezocht.")
            assert 0 < int(refused.headers["Retry-After"]) <= 60
            assert refused.headers["content-type"] == "application/problem+json"
        assert (await colleague.get(path)).status_code in {200, 404}
        assert (await clerk.post("/v1/guests", json=registering())).status_code == 201
        assert len(await recorded(limited_app)) == 4


@pytest.fixture
async def limited_app(database: str, tmp_path: Path) -> AsyncIterator[RegistrationApp]:
    """A counter where a clerk may look up three people a minute, and five an hour."""
    more = {"lookups_per_minute": 3, "lookups_per_hour": 5}
    async with open_registration_app(database, tmp_path, **more) as opened:
        yield opened


async def test_r22_the_same_text_counts_once_in_ten_minutes(limited_app: RegistrationApp) -> None:
    """One registration looks up one card several times."""
    async with limited_app.client() as clerk:
        for path in (PATRON, ACCOUNT) * 4:
            assert (await clerk.get(path)).status_code == 200
        assert len(await recorded(limited_app)) == 8
        assert (await clerk.get(account(1))).status_code == 200
        assert (await clerk.get(account(2))).status_code == 429
        await execute_as_owner(limited_app.service.pool, "UPDATE lookups SET at = at - interval '11 minutes'")
    async with limited_app.client() as clerk:
        lookups = limited_app.service.lookups
        for _ in range(3):
            await lookups.record(Lookup(LookupKind.SCAN, CARD), by("m.visser"))
        counting = await limited_app.service.pool.fetchval("SELECT count(*) FROM lookups WHERE counts")
        assert counting == 4


async def test_r22_once_over_the_limit_nobody_is_asked(limited_app: RegistrationApp) -> None:
    async with limited_app.client() as clerk:
        for number in range(4):
            await clerk.get(account(number))
        asked = len(limited_app.accounts.asked)
        assert (await clerk.get(ACCOUNT)).status_code == 429
        assert len(limited_app.accounts.asked) == asked


async def test_r22_there_is_a_limit_for_an_hour_too(limited_app: RegistrationApp) -> None:
    async with limited_app.client() as clerk:
        for number in range(0, 6, 3):
            for more in range(3):
                answer = await clerk.get(account(number + more))
            await execute_as_owner(
                limited_app.service.pool, "UPDATE lookups SET at = at - interval '10 minutes'"
            )
        assert (answer.status_code, answer.json()["code"]) == (429, "too-many-lookups")
        assert 2000 < int(answer.headers["Retry-After"]) <= 3000
    assert len(await recorded(limited_app)) == 5


async def test_r22_of_many_at_once_no_more_than_the_limit_are_answered(limited_app: RegistrationApp) -> None:
    async with limited_app.client() as clerk:
        answers = await asyncio.gather(*(clerk.get(account(number)) for number in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 9


def by(subject: str) -> Context:
    return Context("1001", Metadata(subject, uuid4()))


async def test_r22_the_limit_holds_over_processes_and_restarts(limited_app: RegistrationApp) -> None:
    processes = [
        PostgresLookups(limited_app.service.pool, bytes(32), Limits(per_minute=3, per_hour=5))
        for _ in range(4)
    ]
    for number, process in enumerate(processes[:3]):
        await process.record(Lookup(LookupKind.SCAN, f"{CARD}{number}"), by("m.visser"))
    processes[3].admit(by("m.visser"))  # it cannot know yet
    with pytest.raises(TooManyLookups):
        await processes[3].record(Lookup(LookupKind.SCAN, CARD), by("m.visser"))
    with pytest.raises(TooManyLookups):
        processes[3].admit(by("m.visser"))


async def test_r22_a_clock_that_was_ahead_keeps_no_clerk_out(limited_app: RegistrationApp) -> None:
    async with limited_app.client() as clerk:
        for number in range(3):
            await clerk.get(account(number))
        await execute_as_owner(limited_app.service.pool, "UPDATE lookups SET at = at + interval '1 day'")
        assert (await clerk.get(PATRON)).status_code == 200


async def test_r22_what_cannot_be_recorded_is_not_answered(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    await registered(registration_app, clerk)
    await execute_as_owner(
        registration_app.service.pool, "ALTER TABLE lookups ADD CHECK (subject <> 'm.visser')"
    )
    for path in (ACCOUNT, PATRON, SEARCH):
        answer = await clerk.get(path)
        assert (answer.status_code, "jan@example.org" in answer.text) == (500, False)


async def test_r22_a_refused_registration_is_recorded_but_not_limited(limited_app: RegistrationApp) -> None:
    """It says something of the card, and there is no event of it."""
    limited_app.home.answers(HOME, CARD, Refused((Reason.FINES,), because_ended=False))
    async with limited_app.client() as clerk:
        for _ in range(6):
            refused = await clerk.post("/v1/guests", json=registering())
            assert refused.json()["code"] == "guest-refused"
        assert (await clerk.get(PATRON)).status_code == 200
    first, *_, last = await recorded(limited_app)
    assert (first["kind"], first["outcome"], first["home_isil"]) == ("registration", "guest-refused", HOME)
    assert first["what"] == last["what"], "the same card"


async def test_r22_a_person_is_found_by_what_was_typed_in_whatever_case(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    await clerk.get(SEARCH.replace("jansen", "Jansen  jan"))
    await clerk.get(PATRON)
    lookups = registration_app.service.lookups
    for what, kind in (("jansen JAN", "guests"), (CARD, "home-patron")):
        [found] = await lookups.newest(LookupFilter(what=what, subject="m.visser"), 10, OPERATOR)
        assert found.kind == kind
    assert not await lookups.newest(LookupFilter(what="jan", subject="m.visser"), 10, OPERATOR)


async def test_r22_an_account_is_found_by_its_id_too(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    await clerk.get(ACCOUNT)
    lookups = registration_app.service.lookups
    [found] = await lookups.newest(LookupFilter(what="acc-jan", subject="m.visser"), 10, OPERATOR)
    assert found.kind == "login-account"


async def test_r22_reading_is_recorded_too(registration_app: RegistrationApp) -> None:
    lookups = registration_app.service.lookups
    await lookups.newest(LookupFilter("1001", what=CARD), 10, OPERATOR)
    exported = [each async for each in lookups.all_in_order(LookupFilter("1001"), OPERATOR)]
    assert [(each.subject, each.kind, each.outcome) for each in exported] == [
        ("beheer", "reading", "listed"),
        ("beheer", "reading", "exported"),
    ]
    assert exported[0].what, "what was asked for is recorded like any other look-up"


async def test_r19_r22_an_erased_guest_is_named_no_more(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    guest_id = await registered(registration_app, clerk)
    await clerk.get(SEARCH)
    async with registration_app.client(scope="operator", organisation="1001", sub="beheer") as operator:
        assert (await operator.delete(f"/v1/guests/{guest_id}/personal-data")).status_code == 204
    late = Lookup(LookupKind.GUESTS, "jansen", guest_ids=[guest_id])
    await registration_app.service.lookups.record(late, by("m.visser"))
    assert [lookup["guest_ids"] for lookup in await recorded(registration_app)] == [[], []]


async def test_r22_old_look_ups_are_deleted(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    await registered(registration_app, clerk)
    await clerk.get(SEARCH)
    pool, lookups = registration_app.service.pool, registration_app.service.lookups
    await execute_as_owner(pool, "UPDATE lookups SET at = at - interval '366 days'")
    await clerk.get(PATRON)
    assert await lookups.forget_old(365) == 1
    assert [lookup["kind"] for lookup in await recorded(registration_app)] == ["home-patron"]
    assert await pool.fetchval("SELECT count(*) FROM lookup_guests") == 0
