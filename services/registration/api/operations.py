"""Routes of operators that only registration has: nightly checks, home libraries, the card-prefix table."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from registration.adapters.card_prefixes import (
    LibraryPrefixes,
    PostgresCardPrefixes,
    PrefixImport,
    read_prefixes,
)
from registration.adapters.home_library.client import HttpClientOf, probe_of
from registration.adapters.home_library.probe import Probe
from registration.adapters.home_library.settings import Directory
from registration.adapters.lookups import LookupFilter, PostgresLookups, as_record
from registration.api.dependencies import DependenciesDep, one_organisation
from registration.api.problems import PROBLEM_TYPES
from registration.api.schemas import ONE_LINE, HomeReply
from registration.application.dependencies import Context, Dependencies, LookupKind
from registration.application.looking_up import looking_up
from registration.application.nightly_report import LibraryReport, NightlyChecks
from registration.domain import errors
from registration.domain.verdict import NotFound, Refused, Valid
from shared.event_log import Metadata
from shared.kernel.amsterdam import day_of
from shared.kernel.errors import ConfigurationError
from shared.kernel.library_card import Isil, MalformedCardNumber, MalformedIsil, canonical_card_number
from shared.platform import limits
from shared.web.operations import ServiceOperations
from shared.web.operations_api import ACTS, ActorDep, ReaderDep
from shared.web.problem_handlers import answers, problem_responses
from shared.web.problems import Problem, ProblemType, correlation_id
from shared.web.security import Principal, requires
from shared.web.webhooks_api import WebhookOperations

router = APIRouter(prefix="/v1/operations", tags=["operations"])

LARGEST_UPLOAD = 200_000
"""Of a card-prefix table over HTTP, in bytes; the command takes larger ones."""
_VERDICTS = {Valid: "valid", Refused: "refused", NotFound: "not_found"}


class LibraryNightJson(BaseModel):
    """One home library in one night. `left`: guests without a reply; `problem`: why."""

    home_isil: str
    asked: int
    unchanged: int
    confirmed: int
    expired: int
    suspended: int
    reinstated: int
    stale: int
    not_found: int
    failed: int
    other_person: int
    card_taken: int
    left: int
    problem: str | None


class NightJson(BaseModel):
    """A nightly check. `ended_at` null: it runs, or was interrupted."""

    night: date
    started_at: datetime
    ended_at: datetime | None
    complete: bool
    libraries: list[LibraryNightJson]


class RequestedJson(BaseModel):
    """A check that was asked for and is not done yet. A worker begins within seconds."""

    requested_at: datetime
    by: str


class NightsJson(BaseModel):
    """The last nights, the newest first, and the check that was asked for, or null."""

    requested: RequestedJson | None
    nights: list[NightJson]


class LastReplyJson(BaseModel):
    """The last time the library was asked. `reason`: why it was unavailable."""

    at: datetime
    verdict: HomeReply
    reason: str


class LibraryJson(BaseModel):
    """A home library. `left_alone` and `last_reply` are what this process knows; `last_night` is stored."""

    isil: str
    name: str
    left_alone: bool
    last_reply: LastReplyJson | None
    last_night: LibraryNightJson | None


class LibrariesJson(BaseModel):
    """All home libraries that can be asked, by name."""

    libraries: list[LibraryJson]


class StepJson(BaseModel):
    """A step of a probe. `advice`: what to do. What the library sent is not shown."""

    step: str
    ok: bool
    seconds: float
    found: str
    advice: str


class ProbeJson(BaseModel):
    """A probe of a home library, step by step."""

    isil: str
    verdict: HomeReply
    steps: list[StepJson]


class Probed(BaseModel):
    """The card to ask about."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    card_number: Annotated[str, Field(max_length=200, examples=["0990139305"])]


class ChangesJson(BaseModel):
    """What an import changes, as the ISILs of libraries. `prefixes`: the rows of the new table."""

    prefixes: int
    added: list[str]
    removed: list[str]
    changed: list[str]


class ImportJson(ChangesJson):
    """An import that was done. `by`: who did it."""

    imported_at: datetime
    by: str


class LookupsWanted(BaseModel):
    """Which look-ups to return; null: all. `what`: a text as it was typed, or the id of an account."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Annotated[str, Field(max_length=200, pattern=ONE_LINE)] | None = None
    what: Annotated[str, Field(max_length=200, pattern=ONE_LINE)] | None = None
    guest_id: UUID | None = None
    since: date | None = None
    until: date | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class LookupJson(BaseModel):
    """A look-up. `what`, `account`: keyed hashes of what was typed, and of the id of a found account.

    `reason`: why all guests were exported.
    """

    at: datetime
    subject: str
    organisation: str
    kind: str
    home_isil: str | None
    what: str | None
    outcome: str
    account: str | None
    guest_ids: list[UUID]
    reason: str | None = None


class LookupsJson(BaseModel):
    """The newest look-ups that fit, the newest first."""

    lookups: list[LookupJson]


class ImportsJson(BaseModel):
    """The last imports, the newest first."""

    imports: list[ImportJson]


@dataclass(frozen=True, slots=True)
class RegistrationOperations:
    """What operators see and do of registration. `directory` reads the file of home libraries.

    `http_client_of` makes the HTTP client of a library for a probe.
    """

    own: ServiceOperations
    nightly_checks: NightlyChecks
    card_prefixes: PostgresCardPrefixes
    lookups: PostgresLookups
    webhooks: WebhookOperations
    directory: Callable[[], Directory]
    http_client_of: HttpClientOf

    async def nights(self, limit: int) -> NightsJson:
        """Return the last nights."""
        waiting = await self.nightly_checks.requested()
        reports = await self.nightly_checks.recent(limit)
        return NightsJson(
            requested=None if waiting is None else RequestedJson.model_validate(asdict(waiting)),
            nights=[NightJson.model_validate(report.as_dict()) for report in reports],
        )

    async def ask_for_check(self, by: str) -> RequestedJson:
        """Ask for a nightly check now; a worker runs it."""
        return RequestedJson.model_validate(asdict(await self.nightly_checks.request(by)))

    async def libraries(self, deps: Dependencies) -> LibrariesJson:
        """Return the state of all home libraries."""
        report = await self.nightly_checks.last()
        night = {} if report is None else {library.home_isil: library for library in report.libraries}
        found = [
            LibraryJson(
                isil=isil,
                name=deps.home_library_names.get(isil, ""),
                left_alone=state.left_alone,
                last_reply=LastReplyJson.model_validate(asdict(state.last)) if state.last else None,
                last_night=_night_of(night[isil]) if isil in night else None,
            )
            for isil, state in deps.home_libraries.states().items()
        ]
        return LibrariesJson(libraries=sorted(found, key=lambda library: (library.name, library.isil)))

    async def probe(self, typed_isil: str, card_number: str, by: Context, deps: Dependencies) -> ProbeJson:
        """Ask one library about a card, step by step. It is a look-up of a person (R22).

        Raises UnknownHomeLibrary, MalformedIsil, MalformedCardNumber, TooManyLookups; Problem (503) while the
        file of home libraries is not valid.
        """
        card, directory = canonical_card_number(card_number), _valid(self.directory)
        isil = Isil.parse(typed_isil).surviving(deps.isil_aliases).base
        library = directory.libraries.get(isil)
        if library is None:
            raise errors.UnknownHomeLibrary
        today = day_of(deps.clock.now())
        asked = probe_of(library, directory.credentials.get(isil), card, today, self.http_client_of)
        async with looking_up(LookupKind.HOME_PATRON, card, by, deps, home_isil=isil) as lookup:
            steps = await _steps_in_time(asked)
            verdict = "unavailable" if asked.verdict is None else _VERDICTS[type(asked.verdict)]
            lookup.outcome = verdict
        return ProbeJson.model_validate({"isil": isil, "verdict": verdict, "steps": steps})

    async def check_prefixes(self, table: str) -> ChangesJson:
        """Return what an import would change. Raises Problem (422) for a table that is not valid."""
        return ChangesJson.model_validate(asdict(await self.card_prefixes.changes(_libraries(table))))

    async def import_prefixes(self, table: str, by: str) -> ChangesJson:
        """Replace the card-prefix table. Raises Problem (422) for a table that is not valid."""
        return ChangesJson.model_validate(asdict(await self.card_prefixes.replace(_libraries(table), by)))

    async def imports(self, limit: int) -> ImportsJson:
        """Return the last imports."""
        return ImportsJson(imports=[_import(done) for done in await self.card_prefixes.imports(limit)])


_FILE_UNREADABLE = ProblemType(
    503, "home-libraries-unreadable", "Het bestand van de thuisbibliotheken klopt niet: …"
)


def _valid(directory: Callable[[], Directory]) -> Directory:
    try:
        return directory()
    except ConfigurationError as error:
        raise Problem(
            _FILE_UNREADABLE.status,
            _FILE_UNREADABLE.code,
            f"Het bestand van de thuisbibliotheken klopt niet: {error}",
            f"The file of home libraries is not valid: {error}",
        ) from None


async def _steps_in_time(asked: Probe) -> list[StepJson]:
    """Return the steps, as many as an HTTP request may wait for."""
    steps: list[StepJson] = []
    try:
        async with asyncio.timeout(limits.HOME_PROBE):
            async for step in asked.steps():
                steps.append(StepJson.model_validate(step, from_attributes=True))  # noqa: PERF401 - some stay
    except TimeoutError:
        found = f"no result within {limits.HOME_PROBE:.0f} seconds"
        advice = "the command `registration home-library probe` waits longer"
        steps.append(StepJson(step="…", ok=False, seconds=limits.HOME_PROBE, found=found, advice=advice))
    return steps


def _night_of(report: LibraryReport) -> LibraryNightJson:
    return LibraryNightJson(
        home_isil=report.home_isil, **report.tally.as_dict(), left=report.left, problem=report.problem
    )


def _import(done: PrefixImport) -> ImportJson:
    return ImportJson(imported_at=done.imported_at, by=done.by, **asdict(done.changes))


MALFORMED_TABLE = "malformed-card-prefixes"


def _libraries(table: str) -> Sequence[LibraryPrefixes]:
    try:
        return read_prefixes(table.removeprefix("\ufeff"))
    except ConfigurationError as error:
        raise Problem(
            422,
            MALFORMED_TABLE,
            f"Deze tabel klopt niet. Er is niets veranderd. {error}",
            f"This table is not valid. Nothing was changed. {error}",
        ) from None


async def _operations(request: Request) -> RegistrationOperations:
    found: RegistrationOperations = request.app.state.registration_operations
    return found


OperationsDep = Annotated[RegistrationOperations, Depends(_operations)]


def _problems(*kinds: type[Exception]) -> dict[int | str, dict[str, Any]]:
    return problem_responses(PROBLEM_TYPES, *kinds)


@router.get(
    "/nightly-checks", operation_id="listNightlyChecks", dependencies=[ReaderDep], responses=_problems()
)
async def nights(operations: OperationsDep, limit: Annotated[int, Query(ge=1, le=366)] = 7) -> NightsJson:
    """Return the last nights, with counts for each home library."""
    return await operations.nights(limit)


@router.post("/nightly-checks", operation_id="requestNightlyCheck", status_code=202, responses=_problems())
async def check_now(operations: OperationsDep, caller: ActorDep) -> RequestedJson:
    """Ask for a nightly check now. It asks only about guests who have no reply of today yet."""
    return await operations.ask_for_check(caller.subject)


@router.get(
    "/home-libraries", operation_id="listHomeLibraries", dependencies=[ReaderDep], responses=_problems()
)
async def libraries(operations: OperationsDep, deps: DependenciesDep) -> LibrariesJson:
    """Return the state of the home libraries."""
    return await operations.libraries(deps)


@router.post(
    "/home-libraries/{isil}/probe",
    operation_id="probeHomeLibrary",
    responses=problem_responses(
        {**PROBLEM_TYPES, ConfigurationError: _FILE_UNREADABLE},
        errors.UnknownHomeLibrary,
        MalformedIsil,
        MalformedCardNumber,
        errors.TooManyLookups,
        ConfigurationError,
    ),
)
async def probe(
    *,
    request: Request,
    isil: Annotated[str, Path(max_length=200, examples=["NL-070288"])],
    body: Probed,
    caller: ActorDep,
    operations: OperationsDep,
    deps: DependenciesDep,
) -> ProbeJson:
    """Ask one home library about a card, step by step. It counts as a look-up."""
    # R22
    by = Context(
        next(iter(sorted(caller.organisations)), ""), Metadata(caller.subject, correlation_id(request))
    )
    return await operations.probe(isil, body.card_number, by, deps)


async def _of_one_organisation(
    request: Request, caller: Annotated[Principal, Depends(requires("operator"))]
) -> Context:
    return Context(one_organisation(caller), Metadata(caller.subject, correlation_id(request)))


@router.post("/lookups", operation_id="findLookups", responses=_problems())
async def lookups(
    wanted: LookupsWanted,
    by: Annotated[Context, Depends(_of_one_organisation)],
    operations: OperationsDep,
) -> LookupsJson:
    """Return who looked up which person, of the own organisation. This reading is recorded, too."""
    # R22. POST keeps what was typed out of the address.
    fitting = LookupFilter(by.organisation, **wanted.model_dump(exclude={"limit"}))
    found = await operations.lookups.newest(fitting, wanted.limit, by)
    return LookupsJson(lookups=[LookupJson.model_validate(as_record(lookup)) for lookup in found])


TableBody = Annotated[str, Body(media_type="text/csv", max_length=LARGEST_UPLOAD)]
_OF_A_TABLE = _problems() | answers(
    [
        ProblemType(422, MALFORMED_TABLE, "Deze tabel klopt niet. Er is niets veranderd. line 3: …"),
        ProblemType(422, "malformed-request", "De aanvraag klopt niet: body."),
    ]
)


@router.post(
    "/card-prefixes/check",
    operation_id="checkCardPrefixes",
    dependencies=[Depends(ACTS)],
    responses=_OF_A_TABLE,
)
async def check_prefixes(operations: OperationsDep, table: TableBody) -> ChangesJson:
    """Return what an import of this table would change, and write nothing."""
    return await operations.check_prefixes(table)


@router.put("/card-prefixes", operation_id="importCardPrefixes", responses=_OF_A_TABLE)
async def import_prefixes(operations: OperationsDep, caller: ActorDep, table: TableBody) -> ChangesJson:
    """Replace the card-prefix table, completely or not at all."""
    return await operations.import_prefixes(table, caller.subject)


@router.get(
    "/card-prefixes/imports",
    operation_id="listCardPrefixImports",
    dependencies=[ReaderDep],
    responses=_problems(),
)
async def imports(operations: OperationsDep, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> ImportsJson:
    """Return who replaced the table, and the libraries for which something changed."""
    return await operations.imports(limit)
