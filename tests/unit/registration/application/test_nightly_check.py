"""What the nightly check asks of the database at once, however many libraries there are (R12)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from registration.adapters.in_memory import InMemoryHomeLibraries
from registration.application.nightly_check import READS_AT_ONCE, check_all_terms
from registration.domain.term_check import NightlyCheck
from shared.event_log import Metadata
from tests.support.registration import registration_in_memory

ISILS = [f"NL-{number:06d}" for number in range(200000, 200100)]


class CountedChecks:
    """Nightly checks in which nobody is due; they remember how many pages were read at the same time."""

    def __init__(self) -> None:
        self.now = self.most = self.pages = 0

    async def due(self, _nightly: NightlyCheck) -> Mapping[str, int]:
        return {} if self.pages else dict.fromkeys(ISILS, 1)

    async def page(self, *_: Any) -> Sequence[Any]:
        self.now, self.pages = self.now + 1, self.pages + 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return ()

    async def last(self) -> None: ...

    async def begin(self, *_: Any) -> None: ...

    async def end(self, *_: Any) -> None: ...


async def test_r12_a_hundred_libraries_do_not_ask_for_a_hundred_connections() -> None:
    counter, checks = registration_in_memory(), CountedChecks()
    deps = replace(counter.deps, home_libraries=InMemoryHomeLibraries(ISILS))
    nightly = NightlyCheck(deps.clock.now().date())
    await check_all_terms(nightly, Metadata("tests", uuid4()), checks, deps)  # type: ignore[arg-type]
    assert checks.pages >= len(ISILS)
    assert checks.most == READS_AT_ONCE
