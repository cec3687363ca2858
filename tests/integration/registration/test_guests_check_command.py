"""`registration guests check`: one guest's home library is asked again over SIP2, the outcome shown (R12)."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from uuid import UUID, uuid4

import pytest

from registration.adapters.in_memory import InMemoryHomeLibraries, SetClock
from registration.application.dependencies import Context
from registration.application.register_guest import register_guest
from registration.bootstrap import Replacements, open_service
from registration.settings import Settings
from shared.event_log import Metadata
from tests.integration.home_library.test_replies import text_of
from tests.integration.registration.test_command_line import registration
from tests.support.home_libraries import Answer, Sip2Host, checked, hang_up, sip2_host
from tests.support.registration import CARD, GRONINGEN, member, on_day, registering


async def registered_on(day: date, settings: Settings) -> UUID:
    """A guest of organisation 1001, whose home library was asked on that day."""
    home = InMemoryHomeLibraries([GRONINGEN])
    home.answers(GRONINGEN, CARD, member())
    replaced = Replacements(home_libraries=home, clock=SetClock(on_day(day)))
    async with open_service(settings, replaced) as service:
        context = Context("1001", Metadata("clerk", uuid4()))
        return (await register_guest(registering(), context, service.deps)).resource_id


@pytest.mark.parametrize(
    ("answer", "verdict", "header"),
    [
        (checked(text_of("valid_no_end_known")), "valid", "Normaal"),
        (checked(text_of("refused_expired")), "refused", "Ongeldig  Opgezegd, reden overig"),
        (hang_up, "unavailable", "Normaal December 2025"),
    ],
    ids=["valid", "expired", "unavailable"],
)
async def test_r12_one_guest_is_checked_at_the_home_library_and_the_outcome_shown(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    answer: Answer,
    verdict: str,
    header: str,
) -> None:
    """The guest was registered before today, so that the home library's end date counts."""
    assert await asyncio.to_thread(registration, "migrate") == 0
    guest_id = str(await registered_on(date(2025, 9, 11), settings))
    async with sip2_host(Sip2Host()) as host:
        host.usually[b"63"] = answer
        table = f'[libraries.{GRONINGEN}]\nhost = "127.0.0.1"\nport = {host.port}\nexpiry_field = "PA"\n'
        settings.home_libraries.write_text(table, "utf-8")
        capsys.readouterr()
        check = ("guests", "check", guest_id, "--by", "beheer")
        assert await asyncio.to_thread(registration, *check, "--json") == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["guest_id"], report["verdict"]) == (guest_id, verdict)
        assert (report["header"], report["stale"]) == (header, verdict == "unavailable")
        assert await asyncio.to_thread(registration, *check) == 0
        assert header in capsys.readouterr().out
    async with open_service(settings) as service:
        caused = {event.metadata.caused_by for event in await service.deps.store.log.stream(UUID(guest_id))}
    assert caused == ({"clerk"} if verdict == "unavailable" else {"clerk", "beheer"})


@pytest.mark.usefixtures("settings")
def test_an_unknown_guest_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert registration("migrate") == 0
    capsys.readouterr()
    unknown = str(uuid4())
    assert registration("guests", "check", unknown) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (
        "",
        (
            f"registration: There is no guest {unknown}."
            " At the counter, the address of a guest's page ends with the id.\n"
        ),
    )
