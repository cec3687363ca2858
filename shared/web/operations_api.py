"""The routes of operators: what `operations` shows and does, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.kernel.text import require_identifier
from shared.messaging.errors import NotParked, OnlyWaiting
from shared.projections import NoSuchView, RebuildRunning
from shared.web.configuration_api import ConfigurationJson, Reason, ReloadedJson
from shared.web.operations import (
    BacklogJson,
    EventsJson,
    OverviewJson,
    ServiceOperations,
    TriedJson,
    ViewJson,
)
from shared.web.problem_handlers import OPERATORS_PROBLEM_TYPES, problem_responses
from shared.web.security import INSTALLATION, Principal, requires

PATH = "/v1/operations"


class Acting(BaseModel):
    """On whose behalf the caller acts, such as the operator at the page. Both names are stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Annotated[str, Field(max_length=255), AfterValidator(require_identifier)] | None = None

    def name(self, caller: Principal) -> str:
        """Return the name to store: a caller cannot hide behind another name."""
        return caller.subject if self.by is None else f"{self.by} via {caller.subject}"


class Skip(Acting):
    """Why a message is skipped; the reason is stored."""

    reason: Reason


class Reload(Acting):
    """Why the files of settings are read again; the reason is stored."""

    reason: Reason


READS = requires("operator", INSTALLATION)
ACTS = requires(INSTALLATION)
ReaderDep = Depends(READS)
ActorDep = Annotated[Principal, Depends(ACTS)]
NOBODY_ELSE = Acting()


async def _operations(request: Request) -> ServiceOperations:
    operations: ServiceOperations = request.app.state.service_operations
    return operations


OperationsDep = Annotated[ServiceOperations, Depends(_operations)]


def _problems(*errors: type[Exception]) -> dict[int | str, dict[str, Any]]:
    return problem_responses(OPERATORS_PROBLEM_TYPES, *errors)


router = APIRouter(prefix=PATH, tags=["operations"])
"""Reading needs `operator` or `installation`, all else `installation`."""


@router.get(
    "",
    operation_id="showOverview",
    summary="State of views and messages",
    dependencies=[ReaderDep],
    responses=_problems(),
)
async def overview(operations: OperationsDep) -> OverviewJson:
    return await operations.overview()


@router.get(
    "/views/{name}", operation_id="showView", dependencies=[ReaderDep], responses=_problems(NoSuchView)
)
async def view(name: str, operations: OperationsDep) -> ViewJson:
    return await operations.view(name)


@router.post(
    "/views/{name}/rebuild",
    operation_id="rebuildView",
    responses=_problems(NoSuchView, RebuildRunning),
    status_code=202,
)
async def rebuild(
    name: str, caller: ActorDep, operations: OperationsDep, acting: Acting = NOBODY_ELSE
) -> ViewJson:
    return await operations.rebuild(name, acting.name(caller))


@router.get(
    "/parked/{guest_id}",
    operation_id="showParkedGuest",
    dependencies=[Depends(ACTS)],
    responses=_problems(NotParked),
)
async def backlog(guest_id: UUID, operations: OperationsDep) -> BacklogJson:
    return await operations.backlog(guest_id)


@router.post("/parked/{guest_id}/retry", operation_id="retryParkedGuest", responses=_problems(NotParked))
async def retry(
    guest_id: UUID, caller: ActorDep, operations: OperationsDep, acting: Acting = NOBODY_ELSE
) -> TriedJson:
    return await operations.retry(guest_id, acting.name(caller))


@router.post(
    "/parked/{guest_id}/discard",
    operation_id="discardParkedMessage",
    responses=_problems(NotParked, OnlyWaiting),
)
async def discard(guest_id: UUID, caller: ActorDep, skip: Skip, operations: OperationsDep) -> TriedJson:
    return await operations.skip(guest_id, skip.reason, skip.name(caller))


@router.get(
    "/guests/{guest_id}/events",
    operation_id="showGuestEvents",
    dependencies=[Depends(ACTS)],
    responses=_problems(),
)
async def events(guest_id: UUID, operations: OperationsDep) -> EventsJson:
    return await operations.events(guest_id)


@router.get(
    "/configuration",
    operation_id="showConfiguration",
    dependencies=[ReaderDep],
    responses=_problems(),
)
async def configuration(operations: OperationsDep) -> ConfigurationJson:
    return await operations.configuration()


@router.post("/configuration/reload", operation_id="reloadConfiguration", responses=_problems())
async def reload(caller: ActorDep, wanted: Reload, operations: OperationsDep) -> ReloadedJson:
    return await operations.reload(wanted.reason, wanted.name(caller))
