"""The route of logins (I4)."""

from datetime import date
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from identity.adapters.catalogues import Catalogues
from identity.api.dependencies import (
    LOGIN,
    DependenciesDep,
    IdempotentWriteDep,
    LoginCallDep,
    MetadataDep,
)
from identity.api.problems import PROBLEM_TYPES
from identity.api.schemas import Login
from identity.application.dependencies import Context, DirectoryUnavailable, RegistrationUnavailable
from identity.application.log_in import LoggedIn, LogIn, log_in, logged_in_before
from identity.domain import errors
from shared.event_log import CommandResult
from shared.web.idempotency import Rows
from shared.web.problem_handlers import problem_responses
from shared.web.security import Principal, require_organisation

router = APIRouter(tags=["logins"], dependencies=[Depends(LOGIN)])


class GuestJson(BaseModel):
    """The guest at this organisation: status, and last day of the term (null: open-ended)."""

    guest_id: UUID
    status: Literal["valid", "expired", "suspended"]
    ends_on: date | None


class LoginAnswerJson(BaseModel):
    """The person who logs in. `outcome` is `new_actor` if the organisation does not know the person.

    `first_login`: this is the account's first login at the organisation. `guest` is null if the person is not
    registered there.
    """

    outcome: Literal["recognised", "new_actor"]
    actor_id: UUID
    first_login: bool
    guest: GuestJson | None


class _NothingWritten(Exception):
    """Not a first login: nothing was written, so the Idempotency-Key is not stored either."""

    def __init__(self, answer: LoggedIn) -> None:
        super().__init__()
        self.answer = answer


@router.post(
    "/v1/logins",
    operation_id="logIn",
    summary="A person logs in at an organisation's catalogue",
    responses=problem_responses(
        PROBLEM_TYPES,
        errors.LinkRequired,
        errors.AccountNotFound,
        errors.UnknownOrganisation,
        errors.IdTokenInvalid,
        errors.IdTokenRequired,
        RegistrationUnavailable,
        DirectoryUnavailable,
    ),
)
async def login(
    body: Login, call: LoginCallDep, metadata: MetadataDep, write: IdempotentWriteDep, deps: DependenciesDep
) -> LoginAnswerJson:
    """Decide who logs in: a known actor, or a new actor for a person who is not registered there.

    A login that cannot be decided is refused with status 503. The caller then tries again.
    """
    # I4, I5, I11
    require_organisation(call.principal, body.organisation)
    command = LogIn(await _account(body, call.principal, call.catalogues), body.organisation)
    written: list[LoggedIn] = []

    async def run(rows: Rows) -> CommandResult:
        answer = await log_in(command, Context(metadata, rows), deps, call.apply_now)
        if answer.position is None:
            raise _NothingWritten(answer)
        written.append(answer)
        return CommandResult(answer.account_stream, answer.position)

    try:
        done = await write(run, look_first=False)
    except _NothingWritten as nothing:
        return _json(nothing.answer)
    except errors.LinkRequired as required:
        return_to = call.catalogues.of(call.principal.subject).return_to
        referral = call.referrals.made(command.account_id, command.organisation, return_to, deps.clock.now())
        raise errors.LinkRequired(referral) from required
    return _json(written[0] if written else await logged_in_before(done.resource_id, body.organisation, deps))


async def _account(body: Login, principal: Principal, catalogues: Catalogues) -> str:
    if body.id_token is None:
        return catalogues.take_account_id(body.account_id or "", principal.subject)
    return await catalogues.account_of(body.id_token, body.nonce, principal.subject)


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
