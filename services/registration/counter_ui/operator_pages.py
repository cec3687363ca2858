"""The operators' page: the state of both services, live, and the record of look-ups (ADR 0009, R22)."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Form, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field

from registration.adapters.identity_client import IdentityRefuses, IdentitySilent
from registration.adapters.lookups import LookupFilter, PostgresLookups, lines_of
from registration.adapters.staff_sessions import StaffSessions
from registration.api.dependencies import DependenciesDep
from registration.api.operations import ImportsJson, LibrariesJson, NightsJson, RegistrationOperations
from registration.api.schemas import ONE_LINE
from registration.application.dependencies import Context, Dependencies, Lookup, LookupKind
from registration.counter_ui.auth import OperatorStaffDep, Staff, names_of, operator_staff
from registration.counter_ui.pages import fragment, page, pages, problem_of, sentence_of
from registration.domain.errors import TooManyLookups
from shared.event_log import Metadata
from shared.web.operations import OverviewJson, ServiceOperations
from shared.web.problems import Problem, correlation_id

Names = Mapping[UUID, str]
ServiceName = Literal["registration", "identity"]

MOST_NIGHTS = 7
LONGEST_STREAM_SECONDS = 120.0  # after that the browser connects again by itself
MOST_STREAMS = 32
"""Streams to operators' pages at the same time, in this process. A page without one can be refreshed."""
LOOK_EVERY_SECONDS = 2.0
FRESH_SECONDS = 1.0
"""A state that is not older goes to all streams: many open pages ask as often as one."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of both services. `problem`: why that of identity is missing."""

    registration: OverviewJson
    identity: OverviewJson | None
    problem: Problem | None
    nights: NightsJson
    libraries: LibrariesJson
    imports: ImportsJson

    def parked(self) -> set[UUID]:
        """Return the ids of all parked guests that are shown."""
        states = [self.registration, *([self.identity] if self.identity else [])]
        return {parked.guest_id for state in states for parked in state.parked}


@dataclass(slots=True)
class Streams:
    """The streams that are open in this process, and the state that they share."""

    open: int = 0
    read_at: float = float("-inf")
    last: Overview | None = None
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count a stream while the block runs."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


@dataclass(frozen=True, slots=True)
class Operations:
    """What the operators' pages read and do. `stopping` is set when the server receives a stop signal.

    `names`: the names of those guests who are of an organisation.
    """

    registration: RegistrationOperations
    identity: ServiceOperations
    names: Callable[[str, Collection[UUID]], Awaitable[dict[UUID, str]]]
    sessions: StaffSessions
    stopping: asyncio.Event
    streams: Streams = field(default_factory=Streams)

    @property
    def lookups(self) -> PostgresLookups:
        """The record of look-ups."""
        return self.registration.lookups

    def of(self, service: ServiceName) -> ServiceOperations:
        """Return one of the services."""
        return self.identity if service == "identity" else self.registration.own

    async def recent_overview(self, deps: Dependencies) -> Overview:
        """Return the state of both services as it was at most FRESH_SECONDS ago."""
        streams = self.streams
        async with streams.reading:
            if streams.last is None or time.monotonic() - streams.read_at > FRESH_SECONDS:
                streams.last = await self.overview(deps)
                streams.read_at = time.monotonic()
            return streams.last

    async def overview(self, deps: Dependencies) -> Overview:
        """Return the state of both services. What identity does not say is missing, with the reason."""
        (identity, problem), registration = await asyncio.gather(
            self._identity(), self.registration.own.overview()
        )
        nights = await self.registration.nights(MOST_NIGHTS)
        libraries, imports = await self.registration.libraries(deps), await self.registration.imports(1)
        return Overview(registration, identity, problem, nights, libraries, imports)

    async def _identity(self) -> tuple[OverviewJson | None, Problem | None]:
        try:
            return await self.identity.overview(), None
        except (IdentitySilent, IdentityRefuses) as error:
            return None, problem_of(error)

    async def names_of(self, guests: Collection[UUID], staff: Staff, by: Context) -> Names:
        """Return the names that this operator may see: guests of the own organisation, for clerks (R20).

        Each is recorded as a look-up, once an hour (R22). None are shown when that is not possible.
        """
        if not guests or "counter" not in staff.scopes:
            return {}
        names = await self.names(staff.organisation, guests)
        try:
            if new := await self.lookups.not_named_lately(staff.subject, list(names)):
                await self.lookups.record(Lookup(LookupKind.GUESTS, "parked", guest_ids=new), by)
        except TooManyLookups:
            return {}
        return names


async def _operations(request: Request) -> Operations:
    found: Operations = request.app.state.operations
    return found


async def _service(dienst: Annotated[ServiceName, Query()] = "registration") -> ServiceName:
    return dienst


OperationsDep = Annotated[Operations, Depends(_operations)]
ServiceDep = Annotated[ServiceName, Depends(_service)]
"""Which service a page is about: the parameter `dienst`; without it registration."""

router = pages("/beheer", Depends(operator_staff))
PARTS = ("settings", "parked", "views", "messages", "night", "libraries", "prefixes")
"""The parts of the page: each is sent again when it has changed."""


@router.get("")
async def overview(
    request: Request, staff: OperatorStaffDep, operations: OperationsDep, deps: DependenciesDep
) -> Response:
    """Show the state of both services on one page."""
    state = await operations.overview(deps)
    names = await operations.names_of(state.parked(), staff, by_operator(request, staff))
    return page(request, "operators.html", parts_of_page=PARTS, **_shown(request, state, names))


async def require_a_free_stream(
    operations: OperationsDep, response: Response, _staff: OperatorStaffDep
) -> None:
    """Raise Problem (503) when this process has enough streams. A dependency: a stream has begun with 200."""
    response.headers["Cache-Control"] = "no-store"  # beside FastAPI's `no-cache`: there are names in it
    if operations.streams.open >= MOST_STREAMS:
        raise Problem(
            503,
            "too-many-streams",
            "Er staan te veel beheerpagina's open. Vernieuw de pagina om de laatste stand te zien.",
            "Too many operators' pages are open. Refresh the page to see the latest state.",
        )


A_FREE_STREAM = [Depends(require_a_free_stream)]


@router.get("/stroom", response_class=EventSourceResponse, dependencies=A_FREE_STREAM)
async def stream(
    request: Request, staff: OperatorStaffDep, operations: OperationsDep, deps: DependenciesDep
) -> AsyncIterator[ServerSentEvent]:
    """Send server-sent events `part`: a part of the page that has changed, as `{"id": …, "html": …}`."""
    sent: dict[str, str] = {}
    by = by_operator(request, staff)
    async with aclosing(ticks(request, operations, LOOK_EVERY_SECONDS)) as looks:
        async for _ in looks:
            try:
                state = await operations.recent_overview(deps)
                names = await operations.names_of(state.parked(), staff, by)
            except Exception as error:
                if problem_of(error) is None:
                    raise
                return  # the database is silent: the browser connects again
            for name in PARTS:
                html = fragment(request, f"_operations_{name}.html", **_shown(request, state, names))
                if sent.get(name) != html:
                    sent[name] = html
                    yield ServerSentEvent(data={"id": name, "html": html}, event="part")


async def ticks(request: Request, operations: Operations, seconds: float) -> AsyncGenerator[None]:
    """Yield at once and then every so many seconds, while a stream may go on.

    It ends when the server stops, when the session has ended, and after LONGEST_STREAM_SECONDS.
    """
    until = time.monotonic() + LONGEST_STREAM_SECONDS
    with operations.streams.one_more():
        while time.monotonic() < until and await is_going_on(request, operations):
            yield
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await operations.stopping.wait()


async def is_going_on(request: Request, operations: Operations) -> bool:
    """Return whether a stream may go on: the server runs, and nobody ended the session since it began."""
    if operations.stopping.is_set():
        return False
    session_id = str(request.session.get("id", ""))
    return await operations.sessions.notices_of(session_id) is not None


def _shown(request: Request, state: Overview, names: Names) -> dict[str, Any]:
    return {
        "states": [("registration", state.registration), ("identity", state.identity)],
        "problem": sentence_of(request, state.problem) if state.problem else "",
        "names": names,
        "nights": state.nights,
        "here": "/beheer",  # the page of the forms in what is streamed
        "libraries": state.libraries.libraries,
        "last_import": next(iter(state.imports.imports), None),
    }


def by_operator(request: Request, staff: Staff) -> Context:
    """Return the context in which an operator works."""
    return Context(staff.organisation, Metadata(staff.subject, correlation_id(request)))


MOST_LOOKUPS = 100


class LookupForm(BaseModel):
    """Which look-ups the operator wants to see. Empty: all. `wat`: a card number, a username, a search."""

    model_config = ConfigDict(frozen=True)

    medewerker: Annotated[str, Field(max_length=200, pattern=ONE_LINE)] = ""
    wat: Annotated[str, Field(max_length=200, pattern=ONE_LINE)] = ""
    gastlener: UUID | Literal[""] = ""
    vanaf: date | Literal[""] = ""
    tot: date | Literal[""] = ""

    def wanted(self, staff: Staff) -> LookupFilter:
        """Return the filter, of the operator's own organisation only (R20)."""
        return LookupFilter(
            staff.organisation,
            self.medewerker.strip() or None,
            self.wat.strip() or None,
            self.gastlener or None,
            self.vanaf or None,
            self.tot or None,
        )


LookupFormDep = Annotated[LookupForm, Form()]


@router.api_route("/opzoekingen", methods=["GET", "POST"])
async def lookups(
    request: Request, staff: OperatorStaffDep, operations: OperationsDep, form: LookupFormDep
) -> Response:
    """Show who looked up which person, the newest first (R22); of one clerk, person or period, or all."""
    found = await operations.lookups.newest(form.wanted(staff), MOST_LOOKUPS, by_operator(request, staff))
    names = await names_of(request, {lookup.subject for lookup in found})
    return page(request, "lookups.html", form=form, lookups=found, names=names, most=MOST_LOOKUPS)


@router.post("/opzoekingen/uitvoer/{form}")
async def export_lookups(
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    form: Literal["csv", "jsonl"],
    filter_form: LookupFormDep,
) -> Response:
    """Download all that fit, the oldest first."""
    found = operations.lookups.all_in_order(filter_form.wanted(staff), by_operator(request, staff))
    headers = {"Content-Disposition": f'attachment; filename="opzoekingen.{form}"'}
    media_type = "text/csv" if form == "csv" else "application/jsonl"
    return StreamingResponse(lines_of(found, form), headers=headers, media_type=media_type)
