"""Login accounts: found by username, shown, opened by an operator (I1)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel

from identity.api.dependencies import ACCOUNTS, DependenciesDep, IdempotentRequestDep, KeysDep, MetadataDep
from identity.api.problems import PROBLEM_TYPES
from identity.api.schemas import AccountJson, NewLoginAccount, account_json
from identity.application.dependencies import Context, DirectoryUnavailable
from identity.application.find_login_account import find_login_account
from identity.application.open_login_account import open_login_account
from identity.application.show_login_account import show_login_account, show_opened_account
from identity.domain import errors
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from shared.web.idempotency import CommandResult, Rows
from shared.web.problem_handlers import problem_responses

router = APIRouter(prefix="/v1/login-accounts", tags=["login accounts"], dependencies=[Depends(ACCOUNTS)])


class FoundAccountJson(BaseModel):
    """What a clerk compares with the person at the counter."""

    account_id: str
    username: str
    email: str
    home_isil: str


class FoundJson(BaseModel):
    """The one account with this username, or null."""

    account: FoundAccountJson | None


@router.get(
    "",
    summary="Find a login account by its username",
    responses=problem_responses(PROBLEM_TYPES, MalformedIsil, errors.MalformedUsername, DirectoryUnavailable),
)
async def find(
    username: Annotated[str, Query(max_length=300, examples=["jan.jansen"])],
    home_isil: Annotated[str, Query(max_length=300, examples=["NL-070288"])],
    deps: DependenciesDep,
) -> FoundJson:
    """Exactly one hit at that home library, or none; e-mail addresses never decide (I1)."""
    found = await find_login_account(username, home_isil, deps)
    return FoundJson.model_validate({"account": found}, from_attributes=True)


@router.get(
    "/{account_id}",
    summary="A login account with its links and logins",
    responses=problem_responses(PROBLEM_TYPES, errors.AccountNotFound, DirectoryUnavailable),
)
async def show(account_id: str, deps: DependenciesDep) -> AccountJson:
    """Read from its stream, so what was acknowledged is there."""
    return account_json(await show_login_account(account_id, deps))


@router.post(
    "",
    status_code=201,
    summary="Open a login account",
    responses=problem_responses(
        PROBLEM_TYPES,
        errors.UsernameTaken,
        errors.AccountIdTaken,
        MalformedIsil,
        MalformedCardNumber,
        errors.MalformedUsername,
        DirectoryUnavailable,
    ),
)
async def open_one(
    *,
    body: NewLoginAccount,
    metadata: MetadataDep,
    idempotent: IdempotentRequestDep,
    keys: KeysDep,
    deps: DependenciesDep,
    response: Response,
) -> AccountJson:
    """With an actor of its own; a username is free or taken per home library."""

    async def run(rows: Rows) -> CommandResult:
        opened = await open_login_account(body.command(), Context(metadata, rows), deps)
        return CommandResult(opened.account_stream, opened.position)

    done = await keys.run_once(idempotent, run)
    response.headers["Event-Position"] = str(done.position)
    return account_json(await show_opened_account(done.resource_id, deps))
