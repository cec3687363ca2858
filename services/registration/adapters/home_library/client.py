"""All home libraries of the settings, each with its own circuit breaker (R4)."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from time import monotonic, perf_counter
from typing import Protocol

import structlog
from prometheus_client import Counter, Histogram

from registration.adapters.home_library.errors import ClosedWithoutAnswer, GarbledReply, NoAnswer
from registration.adapters.home_library.settings import Directory, Library, read_aliases, tls_context
from registration.adapters.home_library.sip2.client import Sip2Library
from registration.application.dependencies import LastReply, LibraryState
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.verdict import NotFound, Refused, Unavailable, Valid, Verdict
from shared.kernel import amsterdam
from shared.kernel.errors import ConfigurationError
from shared.kernel.library_card import Isil, canonical_card_number
from shared.platform.admission import waiting_outside

_FAILURES_TO_OPEN = 5
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class CircuitBreaker:
    """Opens after five failures in a row: for 1 second, then twice as long each time, at most 30 seconds.

    A reply that cannot be read is no failure here: the library did reply (R23).

    After the pause one question is let through as a trial. Its result closes the breaker or opens it again.
    If a trial has no result, the next trial follows after another pause.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.succeeded()

    def succeeded(self) -> None:
        """Close the breaker: the library replied."""
        self._failures = 0
        self._pause = _FIRST_PAUSE
        self._open_until: float | None = None
        self._on_trial = False

    @property
    def is_open(self) -> bool:
        """Whether the library is left alone, or was until the trial that is due."""
        return self._open_until is not None

    def lets_through(self) -> bool:
        """Return whether to ask now. After the pause only the first caller may."""
        if self._open_until is None:
            return True
        if self._clock() < self._open_until:
            return False
        self._open_until = self._clock() + self._pause
        self._on_trial = True
        return True

    def failed(self) -> None:
        """Count a failure, and open the breaker when there were enough."""
        self._failures += 1
        if self._on_trial:
            self._on_trial = False
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        elif self._open_until is not None or self._failures < _FAILURES_TO_OPEN:
            return  # asked before it opened, or too few failures
        self._open_until = self._clock() + self._pause


_SECONDS = Histogram(
    "registration_home_library_seconds",
    "Seconds until a home library replied or failed.",
    ["isil", "verdict"],
    buckets=(0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0),
)
_UNREADABLE = Counter(
    "registration_home_library_unreadable_replies",
    "Replies of a home library that do not say what they must (R23).",
    ["isil"],
)
_NAMES = {Valid: "valid", Refused: "refused", NotFound: "not_found", Unavailable: "unavailable"}


class LibraryMetrics:
    """The metrics of one library. Their labels are looked up once, because a nightly check asks often."""

    def __init__(self, isil: str) -> None:
        self._seconds = {kind: _SECONDS.labels(isil, name) for kind, name in _NAMES.items()}
        self.unreadable = _UNREADABLE.labels(isil)

    def count(self, verdict: Verdict, seconds: float) -> None:
        """Record a verdict and the seconds it took."""
        self._seconds[type(verdict)].observe(seconds)


LEFT_ALONE = Unavailable("not asked for a while after repeated failures", asked=False)
log = structlog.get_logger(__name__)


class HomeLibrary(Protocol):
    """One home library, in any protocol."""

    @property
    def connections(self) -> int:
        """How many questions it takes at once."""

    async def ask(self, card_number: str) -> Valid | Refused | NotFound:
        """Return its verdict about a card. Raises NoAnswer."""

    def close(self) -> None:
        """Close its connections."""


@dataclass(slots=True)
class _Guarded:
    isil: str
    library: HomeLibrary
    metrics: LibraryMetrics
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    last: LastReply | None = None

    async def ask(self, card_number: str) -> Verdict:
        if not self.breaker.lets_through():
            return LEFT_ALONE
        verdict = await self._ask(card_number)
        reason = verdict.reason if isinstance(verdict, Unavailable) else ""
        self.last = LastReply(datetime.now(UTC), _NAMES[type(verdict)], reason)
        return verdict

    async def _ask(self, card_number: str) -> Verdict:
        try:
            with waiting_outside():
                verdict = await self.library.ask(card_number)
        except ClosedWithoutAnswer as failure:
            # It closed the connection over this card. That costs no time, and the next card may go well.
            return self._unavailable(failure)
        except GarbledReply as failure:
            # The library replied. One card whose reply cannot be read says nothing about the next one.
            self.breaker.succeeded()
            self.metrics.unreadable.inc()
            return self._unavailable(failure)
        except NoAnswer as failure:
            self.breaker.failed()
            return self._unavailable(failure)
        self.breaker.succeeded()
        return verdict

    def _unavailable(self, failure: NoAnswer) -> Unavailable:
        # Replies are counted, not logged: a log line takes more time than a question.
        log.warning("home_library.unavailable", isil=self.isil, reason=failure.reason)
        return Unavailable(failure.reason)


class DirectoryHomeLibraries:
    """Asks the library of an ISIL, over its own connections and through its own circuit breaker (ADR 0016).

    `libraries`: by ISIL base. `aliases`: base of a merged library -> that of the surviving one (R3).
    """

    def __init__(self, libraries: Mapping[str, HomeLibrary], aliases: Mapping[str, str]) -> None:
        self._guarded = {
            isil: _Guarded(isil, library, LibraryMetrics(isil)) for isil, library in libraries.items()
        }
        self._aliases = aliases

    async def ask(self, isil: str, card_number: str) -> Verdict:
        """Ask about a card (R4). Raises UnknownHomeLibrary, MalformedIsil, MalformedCardNumber (R1, R3)."""
        guarded = self._guarded.get(isil) or self._surviving(isil)
        card_number = canonical_card_number(card_number)
        if guarded is None:
            raise UnknownHomeLibrary
        started = perf_counter()
        verdict = await guarded.ask(card_number)
        guarded.metrics.count(verdict, perf_counter() - started)
        return verdict

    def states(self) -> Mapping[str, LibraryState]:
        """See `dependencies.HomeLibraries.states`."""
        return {
            isil: LibraryState(guarded.breaker.is_open, guarded.last)
            for isil, guarded in self._guarded.items()
        }

    def connections(self, isil: str) -> int:
        """See `dependencies.HomeLibraries.connections`."""
        if (guarded := self._surviving(isil)) is None:
            raise UnknownHomeLibrary
        return guarded.library.connections

    def _surviving(self, isil: str) -> _Guarded | None:
        return self._guarded.get(Isil.parse(isil).surviving(self._aliases).base)

    async def close(self) -> None:
        """Close all connections."""
        for guarded in self._guarded.values():
            guarded.library.close()


class LiveAliases(Mapping[str, str]):
    """The alias table of a file as it is now: base of a merged library -> that of the surviving one (R3).

    The file is read again after it was changed. A file that is not valid changes nothing: it is reported.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: object = None
        self._fault = ""
        self._aliases: Mapping[str, str] = {}

    def __getitem__(self, base: str) -> str:
        return self._now()[base]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> Mapping[str, str]:
        try:
            file = self._path.stat()
            seen = (file.st_ino, file.st_size, file.st_mtime_ns)
            if seen != self._seen:
                self._seen = seen
                self._aliases, self._fault = read_aliases(self._path), ""
        except (ConfigurationError, OSError, UnicodeDecodeError) as error:
            if (fault := str(error)) != self._fault:
                self._fault = fault
                log.warning("home_libraries.not_read", reason=fault)
        return self._aliases


def home_libraries(
    directory: Directory, today: Callable[[], date] = amsterdam.today
) -> DirectoryHomeLibraries:
    """Return the home libraries of a directory. A library is connected to when it is asked first."""
    libraries = {
        isil: Sip2Library(library, directory.credentials.get(isil), _context(library), today)
        for isil, library in directory.libraries.items()
    }
    return DirectoryHomeLibraries(libraries, directory.aliases)


def _context(library: Library) -> ssl.SSLContext | None:
    return tls_context(library.tls_ca_file, verify=library.tls_verify) if library.uses_tls else None
