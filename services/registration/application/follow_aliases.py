"""Keep the registration index complete when libraries merge (I10, ADR 0023): the worker's task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import structlog

from registration.application.dependencies import Dependencies, IndexState
from registration.application.membership import current_isil, one_library
from registration.application.repository import decrypt_card
from registration.domain.guest import Guest
from shared.event_log import SubjectFailures
from shared.kernel.library_card import Isil, person_ref
from shared.platform.leases import Leases, run_once

TASK = "aliases"
NEW_TABLE_SECONDS = 2.0
"""Between two looks at the table of this process, which cost nothing."""
LOOK_ANYWAY_SECONDS = 10.0
"""Between two looks at what is stored: another process may have added guests by another table."""
AT_ONCE = 50
"""Guests that are handled at the same time."""

log = structlog.get_logger(__name__)


def _lacks_references(known_as: str, aliases: Mapping[str, str]) -> bool:
    """Return whether guests that are known as this lack references under the alias table."""
    bases = known_as.split()
    return one_library(bases, aliases) != bases if bases else bool(aliases)


def is_behind(state: IndexState, aliases: Mapping[str, str], home: Isil | None = None) -> bool:
    """Return whether the index may lack references of this library's members; None: of anybody's.

    So it is when it follows another alias table for the library, which another process has read, and when
    guests who may be its members are not known under all its ISILs yet.
    """
    if home is None:
        return state.aliases != aliases or bool(_incomplete(state, aliases))
    now = one_library([home.base], aliases)
    if one_library([home.base], state.aliases) != now:
        return True
    incomplete = [known_as.split() for known_as in _incomplete(state, aliases)]
    return any(home.base in one_library(bases, aliases) if bases else len(now) > 1 for bases in incomplete)


def _incomplete(state: IndexState, aliases: Mapping[str, str]) -> list[str]:
    return [known_as for known_as in state.known_as if _lacks_references(known_as, aliases)]


@dataclass
class AliasFollower:
    """Follows the alias table of this process. Of two workers with different tables the later one decides."""

    deps: Dependencies
    leases: Leases
    _read: Mapping[str, str] | None = field(default=None, init=False)

    async def keep_following(self) -> None:
        """Follow until cancelled: at once when this process has a new table, and now and then anyway."""
        while True:
            await self.run()
            looked_at = time.monotonic()
            while self._read == dict(self.deps.isil_aliases):
                await asyncio.sleep(NEW_TABLE_SECONDS)
                if time.monotonic() - looked_at >= LOOK_ANYWAY_SECONDS:
                    break

    async def run(self) -> None:
        """Follow the table if it is new to this process, and complete the references of guests."""
        aliases = dict(self.deps.isil_aliases)
        if aliases != self._read:
            await self.deps.registrations.follow(aliases)
            self._read = aliases
        state = await self.deps.registrations.state()
        if state.aliases != aliases:
            log.warning("aliases.of_another_worker", advice="give all processes the same file")
        elif is_behind(state, aliases):
            await run_once(
                self.leases,
                TASK,
                lambda lease: complete_references(aliases, self.deps, partial(self.leases.keep, lease)),
            )


async def _nobody_waits() -> None:
    """Return at once: nobody needs to know of the progress."""


async def complete_references(
    aliases: Mapping[str, str],
    deps: Dependencies,
    progress: Callable[[], Awaitable[None]] = _nobody_waits,
) -> None:
    """Add the references that guests lack: every card number at every ISIL of their library.

    `progress` is called after each batch. A guest that cannot be read keeps the references that it has, and
    is reported.
    """
    failures, handled = SubjectFailures(TASK), 0
    while incomplete := _incomplete(await deps.registrations.state(), aliases):
        guests = await deps.registrations.guests_known_as(incomplete, AT_ONCE)
        await asyncio.gather(
            *(_make_known(guest_id, bases, aliases, deps, failures) for guest_id, bases in guests.items())
        )
        handled += len(guests)
        await progress()
    log.info("aliases.followed", guests=handled, failed=len(failures.by_subject))


async def _make_known(
    guest_id: UUID, known_as: str, aliases: Mapping[str, str], deps: Dependencies, failures: SubjectFailures
) -> None:
    organisation, bases, numbers = "", known_as.split(), set[str]()
    with failures.skip(guest_id):
        guest = await deps.store.load(Guest, guest_id)
        organisation = guest.state.organisation
        # What a reference was made for stays known, also when an alias is removed or replaced later.
        bases += [Isil(guest.state.home_isil).base, current_isil(guest.state.home_isil, deps).base]
        numbers = await _card_numbers(guest_id, deps)
    bases = one_library(bases, aliases)
    refs = [person_ref(deps.person_ref_key, base, number) for base in bases for number in numbers]
    await deps.registrations.make_known(guest_id, organisation, refs, " ".join(bases))


async def _card_numbers(guest_id: UUID, deps: Dependencies) -> set[str]:
    """Return all card numbers that the guest ever had (R10); none after an erasure."""
    key = await deps.data_keys.get(guest_id)
    if key is None:
        return set()
    events = [deps.store.event(recorded) for recorded in await deps.store.log.stream(guest_id)]
    sealed = [event.sealed_card for event in events if hasattr(event, "sealed_card")]
    cards = [decrypt_card(card, key) for card in sealed]
    return {number for card in cards for number in (card.number, *card.aliases)}
