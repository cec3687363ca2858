"""What operators do: retry and skip messages, rebuild views, probe, import, read events of a guest."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, File, Form, Query, Request, Response, UploadFile
from fastapi.sse import EventSourceResponse, ServerSentEvent

from registration.adapters.identity_client import IdentityRefuses, IdentitySilent
from registration.api.dependencies import DependenciesDep
from registration.api.operations import LARGEST_UPLOAD, MALFORMED_TABLE, ProbeJson
from registration.counter_ui.auth import OperatorStaffDep, installation_staff, operator_staff
from registration.counter_ui.drafts import Kept, keep, kept_of
from registration.counter_ui.forms import ReasonForm, TypedReason, fault_of_reason
from registration.counter_ui.i18n import Texts
from registration.counter_ui.operator_pages import (
    A_FREE_STREAM,
    Operations,
    OperationsDep,
    ServiceDep,
    ServiceName,
    by_operator,
    ticks,
)
from registration.counter_ui.pages import again, notify, page, pages, problem_of, see_other, sentence_of
from shared.kernel.errors import RuleBroken
from shared.kernel.text import require_text
from shared.messaging.errors import NotParked
from shared.web.operations import EventJson, TriedJson
from shared.web.problems import Problem

router = pages("/beheer", Depends(operator_staff))
# Messages and views belong to every organisation, so an operator of one may look but not act (R20).
_INSTALLATION = [Depends(installation_staff)]
PROGRESS_SECONDS = 0.5


def _address(path: str, service: ServiceName) -> str:
    return f"/beheer/{path}" + ("?dienst=identity" if service == "identity" else "")


@router.post("/geparkeerd/opnieuw", dependencies=_INSTALLATION)
async def retry(
    *,
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    service: ServiceDep,
    guest_id: Annotated[UUID, Form()],
) -> Response:
    """Process the guest's backlog in order, now, and say what came of it."""
    tried = await operations.of(service).retry(guest_id, staff.subject)
    return _outcome(request, tried, guest_id, service)


@router.get("/geparkeerd/{guest_id}", dependencies=_INSTALLATION)
async def parked(
    request: Request, staff: OperatorStaffDep, operations: OperationsDep, service: ServiceDep, guest_id: UUID
) -> Response:
    """Show one parked guest with its backlog; only this page offers to skip the failed message."""
    errors = kept_of(request).errors
    found = await operations.of(service).backlog(guest_id)
    names = await operations.names_of([guest_id], staff, by_operator(request, staff))
    return page(
        request,
        "parked.html",
        status_code=422 if errors else 200,
        service=service,
        guest=found.parked,
        name=names.get(guest_id, ""),
        messages=found.backlog,
        errors=errors,
    )


NO_REASON: Texts = ("Vul een reden in.", "Fill in a reason.")


@router.post("/geparkeerd/{guest_id}/overslaan", dependencies=_INSTALLATION)
async def discard(
    *,
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    service: ServiceDep,
    guest_id: UUID,
    reason: TypedReason = "",
) -> Response:
    """Skip the failed message permanently. The operator's name and the reason are stored."""
    if wrong := fault_of_reason(reason, NO_REASON):
        here, form = _address(f"geparkeerd/{guest_id}", service), ReasonForm(reason=reason)
        return await again(request, here, form, errors={"reason": wrong})
    tried = await operations.of(service).skip(guest_id, require_text(reason), staff.subject)
    return _outcome(request, tried, guest_id, service)


def _outcome(request: Request, tried: TriedJson, guest_id: UUID, service: ServiceName) -> Response:
    """Show the result. The page of a guest that is still parked has the reason and the attempts."""
    if tried.parked is None:
        notify(
            request,
            f"De berichten van deze gastlener zijn verwerkt ({tried.messages}).",
            f"The messages of this guest were processed ({tried.messages}).",
        )
        return see_other("/beheer")
    attempts = tried.parked.attempts
    notify(
        request,
        f"Deze gastlener is nog geparkeerd na {attempts} pogingen. De reden staat hieronder.",
        f"This guest is still parked after {attempts} attempts. The reason is below.",
    )
    return see_other(_address(f"geparkeerd/{guest_id}", service))


@router.post("/weergaven/{name}/herbouw", dependencies=_INSTALLATION)
async def start(
    request: Request, staff: OperatorStaffDep, operations: OperationsDep, service: ServiceDep, name: str
) -> Response:
    """Start a rebuild, or show the one that runs already. It goes on when the operator leaves the page."""
    view = await operations.of(service).rebuild(name, staff.subject)
    notify(request, "De herbouw is begonnen.", "The rebuild has begun.")
    return see_other(_address(f"weergaven/{view.name}", service))


@router.get("/weergaven/{name}")
async def show(request: Request, operations: OperationsDep, service: ServiceDep, name: str) -> Response:
    """Show the progress of a rebuild. Without JavaScript the page reloads itself."""
    view = await operations.of(service).view(name)
    return page(request, "rebuild.html", service=service, view=view, last=view.rebuild)


async def _known_view(operations: OperationsDep, service: ServiceDep, name: str) -> None:
    await operations.of(service).view(name)


@router.get(
    "/weergaven/{name}/voortgang",
    response_class=EventSourceResponse,
    dependencies=[Depends(_known_view), *A_FREE_STREAM],
)
async def progress(
    request: Request, operations: OperationsDep, service: ServiceDep, name: str
) -> AsyncIterator[ServerSentEvent]:
    """Send server-sent events: `progress`, and `ended` as the last one."""
    async with aclosing(ticks(request, operations, PROGRESS_SECONDS)) as looks:
        async for _ in looks:
            try:
                rebuild = (await operations.of(service).view(name)).rebuild
            except IdentitySilent:
                return  # the browser connects again
            if rebuild is None:
                return
            data = {"percentage": rebuild.percentage, "done": rebuild.done, "total": rebuild.total}
            kind = "progress" if rebuild.state == "running" else "ended"
            yield ServerSentEvent(data=data, event=kind)
            if kind == "ended":
                return


@router.post("/nachtcontrole", dependencies=_INSTALLATION)
async def check_now(request: Request, staff: OperatorStaffDep, operations: OperationsDep) -> Response:
    """Ask for a nightly check now: a worker runs it, so that it goes on whatever happens to this page."""
    await operations.registration.ask_for_check(staff.subject)
    notify(
        request,
        "De controle is aangevraagd en begint binnen enkele seconden.",
        "The check was asked for and begins within seconds.",
    )
    return see_other("/beheer#night")


@router.api_route("/thuisbibliotheken/{isil}", methods=["GET", "POST"], dependencies=_INSTALLATION)
async def probe(
    *,
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    deps: DependenciesDep,
    isil: str,
    card_number: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Ask the library about a card and show every step, without what it sent. It is a look-up (R22)."""
    name = deps.home_library_names.get(isil, "")
    if not card_number:
        return _library_page(request, isil, name)
    try:
        result = await operations.registration.probe(isil, card_number, by_operator(request, staff), deps)
    except RuleBroken as error:
        problem = problem_of(error)
        if problem is None:
            raise
        return _library_page(request, isil, name, problem=problem)
    return _library_page(request, isil, name, result=result)


def _library_page(
    request: Request,
    isil: str,
    name: str,
    *,
    problem: Problem | None = None,
    result: ProbeJson | None = None,
) -> Response:
    return page(
        request,
        "probe.html",
        status_code=problem.status if problem else 200,
        isil=isil,
        name=name,
        error=sentence_of(request, problem) if problem else "",
        result=result,
    )


@router.get("/pasnummers", dependencies=_INSTALLATION)
async def prefixes(request: Request, operations: OperationsDep) -> Response:
    """Show the form for a card-prefix table, what the one sent would change, and who replaced it before."""
    table, changes, problem = kept_of(request).fields.get("table", ""), None, None
    try:
        changes = await operations.registration.check_prefixes(table) if table else None
    except Problem as found:
        problem = found
    return page(
        request,
        "prefixes.html",
        status_code=problem.status if problem else 200,
        imports=(await operations.registration.imports(20)).imports,
        error=sentence_of(request, problem) if problem else "",
        changes=changes,
        table=table,
    )


@router.post("/pasnummers/controle", dependencies=_INSTALLATION)
async def check_prefixes(request: Request, file: Annotated[UploadFile | None, File()] = None) -> Response:
    """Keep a table for the page that shows what it would change. Nothing is written."""
    content = await file.read(LARGEST_UPLOAD + 1) if file else b""
    try:
        table = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _NOT_UTF_8 from None
    if len(content) > LARGEST_UPLOAD:
        raise _TOO_LARGE
    return await keep(request, "/beheer/pasnummers", Kept(fields={"table": table}))


@router.post("/pasnummers", dependencies=_INSTALLATION)
async def import_prefixes(
    *,
    request: Request,
    staff: OperatorStaffDep,
    operations: OperationsDep,
    table: Annotated[str, Form(max_length=LARGEST_UPLOAD)] = "",
) -> Response:
    """Replace the table with the one that was checked. Who did it is stored."""
    try:
        changes = await operations.registration.import_prefixes(table, staff.subject)
    except Problem:  # the page checks the table as well, and says what is wrong with it
        return await keep(request, "/beheer/pasnummers", Kept(fields={"table": table}))
    notify(
        request,
        f"De tabel is vervangen: {changes.prefixes} voorloopcijfers.",
        f"The table was replaced: {changes.prefixes} card prefixes.",
    )
    return see_other("/beheer/pasnummers")


_NOT_UTF_8 = Problem(
    422,
    MALFORMED_TABLE,
    "Dit bestand is geen tekst in UTF-8. Er is niets veranderd.",
    "This file is no text in UTF-8. Nothing was changed.",
)
_TOO_LARGE = Problem(
    422,
    MALFORMED_TABLE,
    "Dit bestand is te groot voor deze pagina. Gebruik de opdracht `registration isil import`.",
    "This file is too large for this page. Use the command `registration isil import`.",
)


@router.get("/gasten", dependencies=_INSTALLATION)
async def find_guest(request: Request, nummer: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Open the events of the guest with this number."""
    try:
        return see_other(f"/beheer/gasten/{UUID(nummer.strip())}")
    except ValueError:
        notify(request, "Dit is geen nummer van een gastlener.", "This is no id of a guest.")
        return see_other("/beheer")


@router.get("/gasten/{guest_id}", dependencies=_INSTALLATION)
async def guest_events(
    request: Request, staff: OperatorStaffDep, operations: OperationsDep, guest_id: UUID
) -> Response:
    """Show the events of a guest from both logs, and where its messages are parked."""
    lines: list[tuple[ServiceName, EventJson]] = []
    parked_at: list[ServiceName] = []
    problem: Problem | None = None
    services: tuple[ServiceName, ServiceName] = ("registration", "identity")
    for service in services:
        try:
            lines += [(service, event) for event in (await operations.of(service).events(guest_id)).events]
            if await _is_parked(operations, service, guest_id):
                parked_at.append(service)
        except (IdentitySilent, IdentityRefuses) as error:
            problem = problem_of(error)
    names = await operations.names_of([guest_id], staff, by_operator(request, staff))
    return page(
        request,
        "guest_events.html",
        guest_id=guest_id,
        name=names.get(guest_id, ""),
        lines=sorted(lines, key=_moment),
        parked_at=parked_at,
        problem=sentence_of(request, problem) if problem else "",
    )


def _moment(line: tuple[ServiceName, EventJson]) -> datetime:
    return line[1].recorded_at


async def _is_parked(operations: Operations, service: ServiceName, guest_id: UUID) -> bool:
    try:
        await operations.of(service).backlog(guest_id)
    except NotParked:
        return False
    return True
