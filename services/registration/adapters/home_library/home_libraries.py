"""All home libraries of the directory, as one: the port `HomeLibraries` of the application."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from time import monotonic
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from registration.adapters.home_library.circuit_breaker import CircuitBreaker
from registration.adapters.home_library.directory import Directory
from registration.adapters.home_library.failures import ClosedWithoutAnswer, NoAnswer
from registration.adapters.home_library.sip2_library import Sip2Library
from registration.domain.card import canonical_card_number
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.isil import Isil
from registration.domain.verdict import NotFound, Refused, Unavailable, Valid, Verdict

_AMSTERDAM = ZoneInfo("Europe/Amsterdam")
_log = structlog.get_logger(__name__)


class HomeLibrary(Protocol):
    """One home library, whatever it speaks. `connections`: how many questions it takes at once."""

    @property
    def connections(self) -> int:
        """See above."""

    async def ask(self, card_number: str) -> Valid | Refused | NotFound:
        """Its verdict on a card. Raises NoAnswer."""

    def close(self) -> None:
        """Let go of its connections."""


@dataclass(frozen=True, slots=True)
class _Guarded:
    library: HomeLibrary
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)


class DirectoryHomeLibraries:
    """Asks the library of an ISIL, each through its own connections and its own circuit breaker (A9).

    `libraries` is by ISIL base, `aliases` leads from a merged library to the surviving one (R3).
    """

    def __init__(self, libraries: Mapping[str, HomeLibrary], aliases: Mapping[str, str]) -> None:
        self._guarded = {isil: _Guarded(library) for isil, library in libraries.items()}
        self._aliases = aliases

    async def ask(self, isil: str, card_number: str) -> Verdict:
        """Ask about a card (R4). Raises UnknownHomeLibrary, MalformedIsil, MalformedCardNumber (R1, R3)."""
        base = Isil.parse(isil).surviving(self._aliases).base
        card_number = canonical_card_number(card_number)
        if (guarded := self._guarded.get(base)) is None:
            raise UnknownHomeLibrary
        started = monotonic()
        verdict = await _ask(guarded, card_number)
        _log.info(
            "home-library-asked",
            isil=base,
            verdict=type(verdict).__name__,
            reason=verdict.reason if isinstance(verdict, Unavailable) else None,
            milliseconds=round(1000 * (monotonic() - started)),
        )
        return verdict

    def connections(self, isil: str) -> int:
        """See `ports.HomeLibraries.connections`."""
        base = Isil.parse(isil).surviving(self._aliases).base
        if (guarded := self._guarded.get(base)) is None:
            raise UnknownHomeLibrary
        return guarded.library.connections

    async def close(self) -> None:
        """Let go of all connections."""
        for guarded in self._guarded.values():
            guarded.library.close()


async def _ask(guarded: _Guarded, card_number: str) -> Verdict:
    if not guarded.breaker.lets_through():
        return Unavailable("left alone for a moment after repeated failures", asked=False)
    try:
        verdict = await guarded.library.ask(card_number)
    except ClosedWithoutAnswer as failure:
        # It let us in and hung up over this card: that is quick, and says nothing about the next card.
        return Unavailable(failure.reason)
    except NoAnswer as failure:
        guarded.breaker.failed()
        return Unavailable(failure.reason)
    guarded.breaker.succeeded()
    return verdict


def today_in_amsterdam() -> date:
    """The day at the counter."""
    return datetime.now(_AMSTERDAM).date()


def home_libraries(
    directory: Directory, today: Callable[[], date] = today_in_amsterdam
) -> DirectoryHomeLibraries:
    """The home libraries of a directory. Connects to none of them before it is asked."""
    libraries = {
        isil: Sip2Library(library, directory.credentials.get(isil), today)
        for isil, library in directory.libraries.items()
    }
    return DirectoryHomeLibraries(libraries, directory.aliases)
