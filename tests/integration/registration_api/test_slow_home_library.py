"""R13: a clerk who opens an expired guest waits 2 s for home at most, however long home takes."""

from collections.abc import AsyncIterator
from dataclasses import replace
from time import monotonic
from uuid import UUID, uuid4

import httpx2
import pytest

from registration.adapters.home_library.client import home_libraries
from registration.adapters.home_library.settings import Directory
from registration.application.check_term import open_guest
from registration.application.dependencies import Context, Dependencies
from registration.application.show_guest import GuestView
from registration.bootstrap import home_library_http, http_app
from registration.domain.verdict import Reason, Refused
from shared.event_log import Metadata
from tests.integration.home_library.test_replies import text_of
from tests.support.home_libraries import Sip2Host, checked, silence, sip2_host
from tests.support.registration_service import CARD, HOME, RegistrationApp, registering
from tests.unit.registration.adapters.home_library.sip2.reading import library

TWO_SECONDS = 2.0
LEEWAY = 1.0  # for a machine that has more to do


@pytest.fixture
async def host() -> AsyncIterator[Sip2Host]:
    """A home library that accepts every login, and then never replies about a card."""
    async with sip2_host(Sip2Host()) as listening:
        listening.usually[b"63"] = silence
        yield listening


@pytest.fixture
async def over_sip2(registration_app: RegistrationApp, host: Sip2Host) -> AsyncIterator[RegistrationApp]:
    """The counter, with that library in the place of the one in memory; its own time-outs are long."""
    libraries = home_libraries(
        Directory({HOME: library(port=host.port, connect_seconds=30, answer_seconds=30)}, {}, {}),
        home_library_http,
    )
    deps = replace(registration_app.service.deps, home_libraries=libraries)
    service = replace(registration_app.service, deps=deps)
    yield replace(registration_app, service=service, app=http_app(service))
    await libraries.close()


@pytest.fixture
async def expired(registration_app: RegistrationApp, clerk: httpx2.AsyncClient) -> str:
    guest_id: str = (await clerk.post("/v1/guests", json=registering())).json()["guest_id"]
    registration_app.home.answers(HOME, CARD, Refused((Reason.EXPIRED,), because_ended=True))
    await clerk.post(f"/v1/guests/{guest_id}/home-check")
    return guest_id


async def test_r13_a_slow_home_shows_the_guest_as_it_was_and_stale(
    over_sip2: RegistrationApp, expired: str
) -> None:
    async with over_sip2.client() as clerk:
        before = (await clerk.get(f"/v1/guests/{expired}")).json()
        began = monotonic()
        async with over_sip2.nothing_written():
            answer = await clerk.post(f"/v1/guests/{expired}/home-check")
        assert monotonic() - began < TWO_SECONDS + LEEWAY
    shown = answer.json()
    assert (answer.status_code, shown["home"]["verdict"], shown["term"]["stale"]) == (
        200,
        "unavailable",
        True,
    )
    assert (before["status"], before["term"]["stale"]) == ("expired", False)
    changed = {"home", "term"}
    assert {k: v for k, v in shown.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }


async def test_r13_opening_an_expired_guest_shows_whether_it_could_be_registered_again(
    over_sip2: RegistrationApp, host: Sip2Host, expired: str
) -> None:
    deps = over_sip2.service.deps
    host.usually[b"63"] = checked(text_of("valid_no_end_known"))
    shown = await _opened(expired, deps)
    assert (shown.status, shown.home.verdict, shown.term.stale) == ("expired", "valid", False)

    host.usually[b"63"] = silence
    began = monotonic()
    shown = await _opened(expired, deps)
    assert monotonic() - began < TWO_SECONDS + LEEWAY
    assert (shown.status, shown.home.verdict, shown.term.stale) == ("expired", "unavailable", True)


async def test_r13_a_guest_that_is_not_expired_is_opened_without_asking_home(
    over_sip2: RegistrationApp, host: Sip2Host, clerk: httpx2.AsyncClient
) -> None:
    guest_id = (await clerk.post("/v1/guests", json=registering())).json()["guest_id"]
    assert (await _opened(guest_id, over_sip2.service.deps)).status == "valid"
    assert host.received == []


async def _opened(guest_id: str, deps: Dependencies) -> GuestView:
    return await open_guest(UUID(guest_id), Context("1001", Metadata("clerk", uuid4())), deps)
