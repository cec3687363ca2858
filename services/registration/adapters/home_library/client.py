"""All home libraries of the settings, each with its own circuit breaker (R4)."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from time import perf_counter
from typing import Protocol

import structlog
from prometheus_client import Counter, Histogram

from registration.adapters.home_library.errors import ClosedWithoutAnswer, GarbledReply, NoAnswer
from registration.adapters.home_library.http import HttpLine, all_closed
from registration.adapters.home_library.probe import Probe
from registration.adapters.home_library.settings import Credentials, Directory, Library, tls_context
from registration.adapters.home_library.sip2.connection import Sip2Connection
from registration.adapters.home_library.tcp import TcpLibrary
from registration.application.dependencies import LastReply, LibraryState
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.verdict import NotFound, Refused, Unavailable, Valid, Verdict
from shared.kernel import amsterdam
from shared.kernel.library_card import Isil, canonical_card_number
from shared.platform.admission import waiting_outside
from shared.platform.circuit_breaker import CircuitBreaker
from shared.platform.http_client import HttpClient

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
    made_of: object
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    last: LastReply | None = None
    _under_way: int = 0
    _retired: bool = False

    def retire(self) -> None:
        """Close the library's connections, once no question is under way."""
        self._retired = True
        if not self._under_way:
            self.library.close()

    async def ask(self, card_number: str) -> Verdict:
        if not self.breaker.lets_through():
            return LEFT_ALONE
        self._under_way += 1
        try:
            verdict = await self._ask(card_number)
        finally:
            self._under_way -= 1
            if self._retired:
                self.retire()
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

    `connect` makes the client of a library.
    """

    def __init__(self, directory: Directory, connect: "Connect") -> None:
        self._connect = connect
        self._guarded: Mapping[str, _Guarded] = {}
        self._aliases: Mapping[str, str] = {}
        self.replace(directory)

    def replace(self, directory: Directory) -> None:
        """Use another directory from now on. Questions that are under way end with the old settings.

        A library whose settings are the same keeps its connections, its breaker and its rate limit. For all
        others new connections are opened.
        """
        before = self._guarded
        guarded = {}
        for isil in directory.libraries:
            made_of, known = _connected_by(isil, directory), before.get(isil)
            if known is None or known.made_of != made_of:
                client = self._connect(isil, directory)
                known = _Guarded(isil, client, LibraryMetrics(isil), made_of)
            guarded[isil] = known
        self._guarded, self._aliases = guarded, directory.aliases
        for isil, old in before.items():
            if guarded.get(isil) is not old:
                old.retire()

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
        await all_closed()


Connect = Callable[[str, Directory], HomeLibrary]
"""Makes the client of one library of a directory; it connects when it is asked first."""


HttpClientOf = Callable[[Library], HttpClient]
"""Makes the HTTP client of one library: with its authority, its time-outs and its number of connections."""


def home_libraries(
    directory: Directory, http_client_of: HttpClientOf, today: Callable[[], date] = amsterdam.today
) -> DirectoryHomeLibraries:
    """Return the home libraries of a directory. A library is connected to when it is asked first."""

    def connect(isil: str, found: Directory) -> HomeLibrary:
        return library_client(found.libraries[isil], found.credentials.get(isil), http_client_of, today)

    return DirectoryHomeLibraries(directory, connect)


def library_client(
    library: Library,
    credentials: Credentials | None,
    http_client_of: HttpClientOf,
    today: Callable[[], date],
) -> HomeLibrary:
    """Return the client of one library, in its protocol. Only protocols that are spoken are loaded."""
    if library.protocol == "sip2":
        return TcpLibrary(library, _context(library), today, partial(Sip2Connection, library, credentials))
    from registration.adapters.home_library.koha.client import KohaLibrary  # noqa: PLC0415
    from registration.adapters.home_library.ncip.client import NcipOverHttp, NcipOverTcp  # noqa: PLC0415

    if library.protocol == "ncip" and library.transport == "tcp":
        return TcpLibrary(library, _context(library), today, partial(NcipOverTcp, library, credentials))
    line = HttpLine(library, http_client_of(library))
    if library.protocol == "ncip":
        return NcipOverHttp(library, credentials, line, today)
    assert credentials is not None  # noqa: S101 - the settings of Koha need them
    return KohaLibrary(library, credentials, line, today)


def probe_of(
    library: Library,
    credentials: Credentials | None,
    card_number: str,
    today: date,
    http_client_of: HttpClientOf,
) -> Probe:
    """Return a probe of one library with one card, in its protocol."""
    from registration.adapters.home_library.question_probe import QuestionProbe  # noqa: PLC0415
    from registration.adapters.home_library.sip2.probe import Sip2Probe  # noqa: PLC0415

    if library.protocol == "sip2":
        return Sip2Probe(library, credentials, card_number, today)
    return QuestionProbe(library, credentials, card_number, today, http_client_of)


def _context(library: Library) -> ssl.SSLContext | None:
    return tls_context(library.tls_ca_file, verify=library.tls_verify) if library.uses_tls else None


def _connected_by(isil: str, directory: Directory) -> tuple[Library, Credentials | None, bytes]:
    """Return all that decides how a library is asked: what else is in its table changes no connection."""
    library = directory.libraries[isil]
    authority = b"" if library.tls_ca_file is None else library.tls_ca_file.read_bytes()
    settings = library.model_copy(update={"name": "", "aliases": frozenset()})
    return settings, directory.credentials.get(isil), authority
