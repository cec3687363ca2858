"""All home libraries of the directory, as one: the port `HomeLibraries` of the application."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from time import perf_counter
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from registration.adapters.home_library.circuit_breaker import CircuitBreaker
from registration.adapters.home_library.directory import Directory
from registration.adapters.home_library.failures import ClosedWithoutAnswer, NoAnswer
from registration.adapters.home_library.library import Library
from registration.adapters.home_library.measures import Measures
from registration.adapters.home_library.sip2_library import Sip2Library
from registration.adapters.home_library.tls import tls_context
from registration.domain.card import canonical_card_number
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.isil import Isil
from registration.domain.verdict import NotFound, Refused, Unavailable, Valid, Verdict

_AMSTERDAM = ZoneInfo("Europe/Amsterdam")
LEFT_ALONE = Unavailable("left alone for a moment after repeated failures", asked=False)
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
    isil: str
    library: HomeLibrary
    measures: Measures
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)

    async def ask(self, card_number: str) -> Verdict:
        if not self.breaker.lets_through():
            return LEFT_ALONE
        try:
            verdict = await self.library.ask(card_number)
        except ClosedWithoutAnswer as failure:
            # It let us in and hung up over this card: that is quick, and says nothing about the next card.
            return self._unavailable(failure)
        except NoAnswer as failure:
            self.breaker.failed()
            return self._unavailable(failure)
        self.breaker.succeeded()
        return verdict

    def _unavailable(self, failure: NoAnswer) -> Unavailable:
        # Answers are counted, not told: a line each would cost the night more than the questions do.
        _log.warning("home-library-unavailable", isil=self.isil, reason=failure.reason)
        return Unavailable(failure.reason)


class DirectoryHomeLibraries:
    """Asks the library of an ISIL, each through its own connections and its own circuit breaker (A9).

    `libraries` is by ISIL base, `aliases` leads from a merged library to the surviving one (R3).
    """

    def __init__(self, libraries: Mapping[str, HomeLibrary], aliases: Mapping[str, str]) -> None:
        self._guarded = {isil: _Guarded(isil, library, Measures(isil)) for isil, library in libraries.items()}
        self._aliases = aliases

    async def ask(self, isil: str, card_number: str) -> Verdict:
        """Ask about a card (R4). Raises UnknownHomeLibrary, MalformedIsil, MalformedCardNumber (R1, R3)."""
        guarded = self._guarded.get(isil) or self._surviving(isil)
        card_number = canonical_card_number(card_number)
        if guarded is None:
            raise UnknownHomeLibrary
        started = perf_counter()
        verdict = await guarded.ask(card_number)
        guarded.measures.count(verdict, perf_counter() - started)
        return verdict

    def connections(self, isil: str) -> int:
        """See `ports.HomeLibraries.connections`."""
        if (guarded := self._surviving(isil)) is None:
            raise UnknownHomeLibrary
        return guarded.library.connections

    def _surviving(self, isil: str) -> _Guarded | None:
        return self._guarded.get(Isil.parse(isil).surviving(self._aliases).base)

    async def close(self) -> None:
        """Let go of all connections."""
        for guarded in self._guarded.values():
            guarded.library.close()


def today_in_amsterdam() -> date:
    """The day at the counter."""
    return datetime.now(_AMSTERDAM).date()


def home_libraries(
    directory: Directory, today: Callable[[], date] = today_in_amsterdam
) -> DirectoryHomeLibraries:
    """The home libraries of a directory. Connects to none of them before it is asked."""
    libraries = {
        isil: Sip2Library(library, directory.credentials.get(isil), _context(library), today)
        for isil, library in directory.libraries.items()
    }
    return DirectoryHomeLibraries(libraries, directory.aliases)


def _context(library: Library) -> ssl.SSLContext | None:
    return tls_context(library.tls_ca_file, verify=library.tls_verify) if library.uses_tls else None
