"""Receivers of webhooks as operators see them over HTTP: how far each is, what waits, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel

from shared.messaging.errors import NotParked
from shared.messaging.webhook_state import NoSuchReceiver, ReceiverState, WaitingSubject, WebhookState
from shared.web.operations_api import ACTS, NOBODY_ELSE, PATH, Acting, ActorDep, ReaderDep, Skip
from shared.web.problem_handlers import OPERATORS_PROBLEM_TYPES, problem_responses

MOST_WAITING = 200
"""Waiting and parked guests of a receiver that are shown."""


class ReceiverJson(BaseModel):
    """A receiver. `lag`: events that it has still to get; null before it began.

    `failing_since`: since then it took nothing; `failure`: why. `stopped_at`: it said 410, and gets nothing.
    """

    name: str
    position: int | None
    lag: int | None
    delivered: int
    delivered_at: datetime | None
    failing_since: datetime | None
    failure: str | None
    stopped_at: datetime | None
    stop_reason: str | None
    waiting: int
    parked: int


class ReceiversJson(BaseModel):
    """All receivers that ever began, by name."""

    receivers: list[ReceiverJson]


class WaitingJson(BaseModel):
    """A guest whose messages wait from `version` on; `parked`: until an operator acts."""

    guest_id: UUID
    version: int
    state: Literal["waiting", "parked"]
    reason: str
    since: datetime
    attempts: int
    next_try: datetime


class ReceiverDetailsJson(BaseModel):
    """A receiver with the guests whose messages wait: at most 200, those that failed longest first."""

    receiver: ReceiverJson
    waiting: list[WaitingJson]


class SkippedJson(BaseModel):
    """The version of the message that was skipped."""

    version: int


@dataclass(frozen=True, slots=True)
class WebhookOperations:
    """What operators see and do of the receivers. A worker does what is asked for, within seconds."""

    state: WebhookState

    async def all(self) -> ReceiversJson:
        """Return all receivers."""
        return ReceiversJson(receivers=[_receiver(found) for found in await self.state.receivers()])

    async def show(self, name: str) -> ReceiverDetailsJson:
        """Return one receiver. Raises NoSuchReceiver."""
        found = await self._known(name)
        waiting = await self.state.waiting(name, MOST_WAITING)
        return ReceiverDetailsJson(receiver=_receiver(found), waiting=_waiting(waiting))

    async def retry(self, name: str, subject: UUID, by: str) -> None:
        """Try the messages of a guest again now. Raises NotParked."""
        await self.state.retry(name, subject, by)

    async def skip(self, name: str, subject: UUID, reason: str, by: str) -> SkippedJson:
        """Skip the message that is not taken, permanently. Raises NotParked."""
        return SkippedJson(version=await self.state.skip(name, subject, reason, by))

    async def resume(self, name: str, by: str) -> None:
        """Send again to a receiver that said 410. Raises NoSuchReceiver."""
        await self.state.resume(name, by)

    async def _known(self, name: str) -> ReceiverState:
        for found in await self.state.receivers():
            if found.name == name:
                return found
        raise NoSuchReceiver


def _receiver(found: ReceiverState) -> ReceiverJson:
    return ReceiverJson.model_validate(found, from_attributes=True)


def _waiting(found: Sequence[WaitingSubject]) -> list[WaitingJson]:
    return [
        WaitingJson.model_validate(
            {
                "guest_id": waiting.subject,
                "version": waiting.version,
                "state": waiting.state,
                "reason": waiting.reason,
                "since": waiting.since,
                "attempts": waiting.attempts,
                "next_try": waiting.next_try,
            }
        )
        for waiting in found
    ]


Name = Annotated[str, Path(max_length=50, pattern=r"^[a-z0-9][a-z0-9-]*$", examples=["catalogue"])]


async def _webhooks(request: Request) -> WebhookOperations:
    operations: WebhookOperations = request.app.state.webhook_operations
    return operations


WebhooksDep = Annotated[WebhookOperations, Depends(_webhooks)]


def _problems(*errors: type[Exception]) -> dict[int | str, dict[str, Any]]:
    return problem_responses(OPERATORS_PROBLEM_TYPES, *errors)


router = APIRouter(prefix=PATH + "/webhooks", tags=["operations"])
"""The routes of operators about receivers of webhooks."""


@router.get(
    "",
    operation_id="listWebhooks",
    summary="Receivers of webhooks",
    dependencies=[ReaderDep],
    responses=_problems(),
)
async def webhooks(operations: WebhooksDep) -> ReceiversJson:
    return await operations.all()


@router.get(
    "/{name}", operation_id="showWebhook", dependencies=[Depends(ACTS)], responses=_problems(NoSuchReceiver)
)
async def webhook(name: Name, operations: WebhooksDep) -> ReceiverDetailsJson:
    return await operations.show(name)


@router.post("/{name}/resume", status_code=204, responses=_problems(NoSuchReceiver))
async def resume_webhook(
    name: Name, caller: ActorDep, operations: WebhooksDep, acting: Acting = NOBODY_ELSE
) -> None:
    await operations.resume(name, acting.name(caller))


@router.post("/{name}/guests/{guest_id}/retry", status_code=202, responses=_problems(NotParked))
async def retry_webhook(
    name: Name, guest_id: UUID, caller: ActorDep, operations: WebhooksDep, acting: Acting = NOBODY_ELSE
) -> None:
    await operations.retry(name, guest_id, acting.name(caller))


@router.post("/{name}/guests/{guest_id}/skip", responses=_problems(NotParked))
async def skip_webhook(
    name: Name, guest_id: UUID, caller: ActorDep, skip: Skip, operations: WebhooksDep
) -> SkippedJson:
    return await operations.skip(name, guest_id, skip.reason, skip.name(caller))
