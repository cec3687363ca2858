"""Logins: who is it that logs in (I4)."""

from datetime import date
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from identity.api.dependencies import (
    LOGIN,
    BarrierDep,
    DependenciesDep,
    IdempotentRequestDep,
    KeysDep,
    MetadataDep,
)
from identity.api.problems import PROBLEM_TYPES
from identity.api.schemas import Login
from identity.application.dependencies import Context, DirectoryUnavailable, RegistrationUnavailable
from identity.application.log_in import LoggedIn, log_in, logged_in_before
from identity.domain import errors
from shared.web.idempotency import CommandResult, Rows
from shared.web.problem_handlers import problem_responses

router = APIRouter(tags=["logins"], dependencies=[Depends(LOGIN)])


class GuestJson(BaseModel):
    """The registration at this organisation: status, and last day of the term (null: open-ended)."""

    guest_id: UUID
    status: Literal["valid", "expired", "suspended"]
    ends_on: date | None


class LoginAnswerJson(BaseModel):
    """Who it is. `new_actor`: nobody that this organisation knows. `first_login`: the first one there."""

    outcome: Literal["recognised", "new_actor"]
    actor_id: UUID
    first_login: bool
    guest: GuestJson | None


class _NothingWritten(Exception):
    """Not a first login: there was nothing to write, and so nothing that a key could be kept with."""

    def __init__(self, answer: LoggedIn) -> None:
        super().__init__()
        self.answer = answer


@router.post(
    "/v1/logins",
    summary="Somebody logs in at an organisation's catalogue",
    responses=problem_responses(
        PROBLEM_TYPES,
        errors.LinkRequired,
        errors.AccountNotFound,
        RegistrationUnavailable,
        DirectoryUnavailable,
    ),
)
async def login(
    *,
    body: Login,
    metadata: MetadataDep,
    idempotent: IdempotentRequestDep,
    keys: KeysDep,
    deps: DependenciesDep,
    apply_now: BarrierDep,
    response: Response,
) -> LoginAnswerJson:
    """Recognised or rightly a new actor; never a new actor on a guess (I4, I5)."""
    written: list[LoggedIn] = []

    async def run(rows: Rows) -> CommandResult:
        answer = await log_in(body.command(), Context(metadata, rows), deps, apply_now)
        if answer.position is None:
            raise _NothingWritten(answer)
        written.append(answer)
        return CommandResult(answer.account_stream, answer.position)

    try:
        done = await keys.run_once(idempotent, run)
    except _NothingWritten as nothing:
        return _json(nothing.answer)
    response.headers["Event-Position"] = str(done.position)
    return _json(written[0] if written else await logged_in_before(done.resource_id, body.organisation, deps))


def _json(answer: LoggedIn) -> LoginAnswerJson:
    guest = answer.guest
    return LoginAnswerJson(
        outcome="new_actor" if answer.new_actor else "recognised",
        actor_id=answer.actor_id,
        first_login=answer.first_login,
        guest=None
        if guest is None
        else GuestJson.model_validate(
            {
                "guest_id": guest.guest_id,
                "status": guest.guest_status.status.value,
                "ends_on": guest.guest_status.ends_on,
            }
        ),
    )
