"""How fast a library is asked, and how long its connections are kept (ADR 0016)."""

import asyncio
from time import monotonic

from registration.domain.verdict import Valid
from tests.integration.home_library.conftest import ISIL, Open
from tests.integration.home_library.test_replies import text_of
from tests.support.eventually import eventually
from tests.support.home_libraries import Sip2Host, checked
from tests.unit.registration.adapters.home_library.sip2.reading import CARD


async def test_all_callers_together_ask_no_more_a_second_than_the_library_allows(
    host: Sip2Host, open_libraries: Open
) -> None:
    """Twelve at once at ten a second: one goes out at once, the others in turn; none of them times out."""
    host.usually[b"63"] = checked(text_of("valid"))
    libraries = open_libraries(requests_per_second=10, answer_seconds=0.3, connect_seconds=0.3)
    began = monotonic()
    verdicts = await asyncio.gather(*(libraries.ask(ISIL, CARD) for _ in range(12)))
    assert monotonic() - began > 1.0
    assert [type(verdict) for verdict in verdicts] == [Valid] * 12


async def test_waiting_for_the_rate_is_over_when_the_asker_gives_up(
    host: Sip2Host, open_libraries: Open
) -> None:
    host.usually[b"63"] = checked(text_of("valid"))
    libraries = open_libraries(requests_per_second=0.1)
    await libraries.ask(ISIL, CARD)
    waiting = asyncio.create_task(libraries.ask(ISIL, CARD))
    assert not (await asyncio.wait([waiting], timeout=0.1))[0]
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert len(host.questions()) == 1


async def test_an_idle_connection_is_closed_before_a_firewall_forgets_it(
    host: Sip2Host, open_libraries: Open
) -> None:
    host.usually[b"63"] = checked(text_of("valid"))
    libraries = open_libraries(idle_seconds=0.2)
    await asyncio.gather(*(libraries.ask(ISIL, CARD) for _ in range(3)))
    assert host.open_connections == 3
    await eventually(lambda: host.open_connections == 0)
    assert isinstance(await libraries.ask(ISIL, CARD), Valid)
