"""Sessions end on the server: a cookie that was copied is of no use after that (ADR 0014)."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import itsdangerous
import pytest
import pytest_asyncio
from fastapi.routing import APIRoute
from pydantic import SecretStr

from registration.adapters.staff_sessions import StaffSessions
from registration.bootstrap import worker_tasks
from registration.cli.main import app as commands
from registration.counter_ui.app import ROUTERS
from shared.cli.running import exit_code
from shared.platform.secrets import read_key_file
from tests.support.counter_pages import CounterSite, form_of, register, session_in
from tests.support.eventually import eventually
from tests.support.registration_service import CARD
from tests.support.servers import execute_as_owner

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME = "Marijke Visser"
WITHOUT_SESSION = {
    "/aanmelden",
    "/aanmelden/einde",
    "/aanmelden/terug",
    "/aanmelden/verlopen",
    "/afmelden",
    "/melding",
    "/taal",
}


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _nobody_is_signed_in(counter_site: CounterSite) -> None:
    await counter_site.app.service.pool.execute("DELETE FROM staff_sessions")


async def subjects(counter_site: CounterSite) -> list[str]:
    """The subjects of all sessions that are stored."""
    rows = await counter_site.app.service.pool.fetch("SELECT subject FROM staff_sessions ORDER BY subject")
    return [row["subject"] for row in rows]


async def is_signed_in(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/")).status_code == 200


@asynccontextmanager
async def thief_of(counter_site: CounterSite, clerk: httpx2.AsyncClient) -> AsyncIterator[httpx2.AsyncClient]:
    """Another browser with a copy of the clerk's cookies."""
    async with counter_site.visitor() as thief:
        thief.cookies.update(clerk.cookies)
        yield thief


async def signs_out(clerk: httpx2.AsyncClient, **fields: str) -> None:
    form = form_of((await clerk.get("/afmelden")).text, "/afmelden")
    answer = await clerk.post("/afmelden", data=form | fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/afmelden")


def pages_of_staff() -> Iterator[tuple[str, str]]:
    """Method and path of every page for which a visitor must be signed in."""
    ids = {"{guest_id:uuid}": str(uuid4()), "{guest_id}": str(uuid4()), "{name}": "history"}
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            path = route.path
            for name, value in ids.items():
                path = path.replace(name, value)
            if path not in WITHOUT_SESSION:
                yield from ((method, path) for method in route.methods or ())


@contextmanager
def later(counter_site: CounterSite, **passed: float) -> Iterator[None]:
    """So much time has passed inside the block."""
    clock = counter_site.app.clock
    now = clock.moment
    clock.moment = now + timedelta(**passed)
    yield
    clock.moment = now


async def test_after_sign_out_a_copied_cookie_opens_no_page_and_sends_no_form(
    counter_site: CounterSite,
) -> None:
    cases = list(pages_of_staff())
    assert len(cases) > 25
    async with counter_site.signed_in() as clerk:
        form = form_of((await clerk.get("/")).text, "/taal")
        copied = dict(clerk.cookies)
        await signs_out(clerk)
    async with counter_site.app.nothing_written(), counter_site.visitor() as thief:
        for method, path in [*cases, ("POST", "/taal"), ("POST", "/afmelden"), ("GET", "/bestaat-niet")]:
            thief.cookies.clear()
            thief.cookies.update(copied)
            data = {**form, "language": "en"} if method == "POST" else None
            answer = await thief.request(method, path, data=data, headers={"Accept": "text/html"})
            refused = 404 if path == "/bestaat-niet" else 303
            assert (method, path, answer.status_code) == (method, path, refused)
            assert answer.headers.get("location", "/aanmelden").startswith("/aanmelden")
            if method == "POST":
                assert answer.headers["location"] == "/aanmelden/verlopen", "nothing of it is kept"
            assert NAME not in answer.text
            assert '<html lang="en">' not in answer.text


async def test_a_stream_of_a_guest_ends_with_the_session(counter_site: CounterSite) -> None:
    async with counter_site.signed_in() as clerk, thief_of(counter_site, clerk) as thief:
        guest = await register(clerk, CARD, choice="new", new_username="jan.j", new_email="jan@example.org")
        async with asyncio.timeout(10), thief.stream("GET", f"{guest}/koppeling") as stream:
            lines = stream.aiter_lines()
            first = await anext(line async for line in lines if line.startswith("data:"))
            assert json.loads(first.removeprefix("data:"))["pending"] is True
            await signs_out(clerk)
            assert [line async for line in lines if line.startswith("data")] == []


async def test_a_sign_in_that_was_begun_in_a_session_cannot_be_finished_after_its_end(
    counter_site: CounterSite,
) -> None:
    async with counter_site.signed_in() as clerk:
        back = await counter_site.come_back(await clerk.get("/aanmelden"))
        async with thief_of(counter_site, clerk) as thief:
            await signs_out(clerk)
            assert (await thief.get(back)).status_code == 400
            assert not await is_signed_in(thief)
    assert await subjects(counter_site) == []


async def test_the_database_holds_no_session_id(counter_site: CounterSite) -> None:
    async with counter_site.signed_in() as clerk:
        cookie = session_in(clerk)
        [row] = await counter_site.app.service.pool.fetch("SELECT * FROM staff_sessions")
    assert (row["subject"], row["organisation"]) == ("m.visser", "1001")
    assert row["ends_at"] == counter_site.app.clock.moment + timedelta(hours=10)
    assert len(cookie["id"]) >= 43, "256 bits"
    assert cookie["id"] not in str(row)
    assert cookie["id"].encode() not in row["id_hash"]


async def test_a_name_is_the_last_sign_ins_and_goes_when_its_owner_stays_away(
    counter_site: CounterSite,
) -> None:
    sessions = counter_site.app.service.staff_sessions
    async with counter_site.signed_in(), counter_site.signed_in("j.smit"):
        both = {"m.visser": NAME, "j.smit": "Jeroen Smit"}
        assert await sessions.names_of(["m.visser", "j.smit", "nightly"]) == both
    await sessions.begin("m.visser", "Marijke de Visser", "1001")
    assert await sessions.names_of(both) == both | {"m.visser": "Marijke de Visser"}
    with later(counter_site, days=364):
        await sessions.begin("m.visser", NAME, "1001")
    with later(counter_site, days=366):
        working = asyncio.ensure_future(worker_tasks(counter_site.app.service)["staff sessions"]())
        assert await eventually(lambda: _knows(sessions, {"m.visser": NAME}))
        working.cancel()


async def _knows(sessions: StaffSessions, names: dict[str, str]) -> bool:
    return await sessions.names_of(["m.visser", "j.smit"]) == names


async def test_a_new_sign_in_ends_the_session_before_it(counter_site: CounterSite) -> None:
    async with counter_site.signed_in() as clerk, thief_of(counter_site, clerk) as thief:
        before = session_in(clerk)["id"]
        assert await is_signed_in(thief)
        back = await counter_site.come_back(await clerk.get("/aanmelden"), "j.smit")
        assert (await clerk.get(back)).status_code == 303
        assert session_in(clerk)["id"] != before
        assert await is_signed_in(clerk)
        assert not await is_signed_in(thief)
    assert await subjects(counter_site) == ["j.smit"]


async def test_signing_out_ends_one_session_and_everywhere_all_of_this_person(
    counter_site: CounterSite,
) -> None:
    async with (
        counter_site.signed_in() as first,
        counter_site.signed_in() as second,
        counter_site.signed_in() as third,
        counter_site.signed_in("j.smit") as colleague,
    ):
        await signs_out(first)
        assert [await is_signed_in(each) for each in (first, second, third)] == [False, True, True]
        await signs_out(second, everywhere="yes")
        assert [await is_signed_in(each) for each in (second, third, colleague)] == [False, False, True]
    assert await subjects(counter_site) == ["j.smit"]


async def test_an_operator_of_the_installation_ends_the_sessions_of_a_person(
    counter_site: CounterSite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RUN_DIR", raising=False)
    for field, value in counter_site.app.service.settings.model_dump(exclude_none=True).items():
        secret = value.get_secret_value() if isinstance(value, SecretStr) else value
        monkeypatch.setenv(f"REGISTRATION_{field.upper()}", str(secret))

    async def says(*arguments: str) -> str:
        assert await asyncio.to_thread(exit_code, commands, "registration", ["sessions", *arguments]) == 0
        return capsys.readouterr().out

    # The command has the real clock, on which the sessions of this site have ended long ago.
    await counter_site.app.service.pool.execute("DELETE FROM staff_sessions")
    assert await says("list") == "Nobody is signed in.\n"
    async with counter_site.signed_in() as clerk, counter_site.signed_in("j.smit") as colleague:
        await execute_as_owner(
            counter_site.app.service.pool, "UPDATE staff_sessions SET ends_at = now() + interval '1 hour'"
        )
        listed = json.loads(await says("list", "--json"))
        assert {(row["subject"], row["organisation"]) for row in listed} == {
            ("m.visser", "1001"),
            ("j.smit", "1001"),
        }
        assert {*listed[0]} == {"subject", "organisation", "ends_at"}
        assert "m.visser" in await says("list")
        assert await says("end", "m.visser") == "Sessions of m.visser that were ended: 1.\n"
        assert not await is_signed_in(clerk)
        assert await is_signed_in(colleague)
        assert json.loads(await says("end", "m.visser", "--json")) == {"subject": "m.visser", "ended": 0}


async def test_a_session_ends_with_the_working_day_however_much_it_is_used(counter_site: CounterSite) -> None:
    async with counter_site.signed_in() as clerk:
        for minutes in range(50, 600, 50):
            with later(counter_site, minutes=minutes):
                assert await is_signed_in(clerk)
        with later(counter_site, hours=9, minutes=59):
            assert await is_signed_in(clerk)
        with later(counter_site, hours=10):
            assert not await is_signed_in(clerk)


async def test_a_session_that_nobody_uses_for_an_hour_is_over(counter_site: CounterSite) -> None:
    async with counter_site.signed_in() as clerk, counter_site.signed_in() as other:
        with later(counter_site, minutes=59):
            assert await is_signed_in(clerk)
        with later(counter_site, minutes=61):
            assert await is_signed_in(clerk)
            assert not await is_signed_in(other)
    assert await subjects(counter_site) == ["m.visser"]


async def test_the_worker_deletes_what_has_ended(counter_site: CounterSite) -> None:
    service = counter_site.app.service

    async def are(expected: list[str]) -> bool:
        return await subjects(counter_site) == expected

    async with counter_site.signed_in():
        with later(counter_site, hours=1):
            async with counter_site.signed_in("j.smit"):
                pass
        with later(counter_site, hours=10):
            working = asyncio.ensure_future(worker_tasks(service)["staff sessions"]())
            await eventually(lambda: are(["j.smit"]))
            working.cancel()


async def test_a_cookie_of_the_release_before_needs_a_new_sign_in(counter_site: CounterSite) -> None:
    """It named the staff member and the end of the session, and there was no row."""
    async with counter_site.signed_in() as clerk:
        session = session_in(clerk)
        before = {"staff": session["staff"], "csrf": "of before", "language": "en"}
        ends_at = (counter_site.app.clock.moment + timedelta(hours=9)).timestamp()
        clerk.cookies.clear()
        clerk.cookies.set("counter", signed(counter_site, before | {"ends_at": ends_at}))
        assert (await clerk.post("/taal", data={"csrf_token": "of before"})).status_code == 401
        answer = await clerk.get("/")
        assert (answer.status_code, answer.headers["location"]) == (303, "/aanmelden?next=%2F")
        assert '<html lang="en">' in (await clerk.get("/afmelden")).text


async def test_when_sessions_cannot_be_read_nobody_is_signed_in_or_out(counter_site: CounterSite) -> None:
    pool = counter_site.app.service.pool
    async with counter_site.signed_in() as clerk:
        form = form_of((await clerk.get("/")).text, "/afmelden")
        await execute_as_owner(pool, "ALTER TABLE staff_sessions RENAME TO away")
        try:
            for path in ("/", "/bestaat-niet"):
                answer = await clerk.get(path, headers={"Accept": "text/html"})
                assert (path, answer.status_code) == (path, 500)
                assert "Er ging iets mis" in answer.text
                assert NAME not in answer.text
            assert (await clerk.post("/afmelden", data=form)).status_code == 500
        finally:
            await execute_as_owner(pool, "ALTER TABLE away RENAME TO staff_sessions")
        assert await is_signed_in(clerk)


def signed(counter_site: CounterSite, session: dict[str, Any]) -> str:
    """A cookie of this site with this session."""
    file = counter_site.app.service.settings.session_key_file
    assert file is not None
    signer = itsdangerous.TimestampSigner(read_key_file(file)[0].hex())
    return signer.sign(base64.b64encode(json.dumps(session).encode())).decode()
