"""Routes of login accounts: find by username (I1), name, show, open."""

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel

from identity.api.dependencies import ACCOUNTS, DependenciesDep, IdempotentWriteDep, MetadataDep
from identity.api.problems import PROBLEM_TYPES
from identity.api.schemas import (
    AccountIds,
    AccountJson,
    NewLoginAccount,
    UsernameAtLibraries,
    account_json,
)
from identity.application.dependencies import Context, DirectoryUnavailable
from identity.application.find_login_account import accounts_with_username, find_login_account
from identity.application.open_login_account import open_login_account
from identity.application.show_login_account import (
    name_accounts,
    show_login_account,
    show_opened_account,
)
from identity.domain import errors
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from shared.kernel.login_account import AccountId
from shared.web.problem_handlers import problem_responses

router = APIRouter(prefix="/v1/login-accounts", tags=["login accounts"], dependencies=[Depends(ACCOUNTS)])


class FoundAccountJson(BaseModel):
    """The details of an account that a clerk compares with the person at the counter.

    `person_ref`: the reference of the person whose home card the account is on.
    """

    account_id: str
    username: str
    email: str
    home_isil: str
    person_ref: str


class FoundJson(BaseModel):
    """The one account with this username at this home library, or null."""

    account: FoundAccountJson | None


@router.get(
    "",
    operation_id="findLoginAccount",
    summary="Find a login account by its username",
    responses=problem_responses(PROBLEM_TYPES, MalformedIsil, errors.MalformedUsername, DirectoryUnavailable),
)
async def find(
    username: Annotated[str, Query(max_length=300, examples=["jan.jansen"])],
    home_isil: Annotated[str, Query(max_length=300, examples=["NL-070288"])],
    deps: DependenciesDep,
) -> FoundJson:
    """Find the one account with this username at a home library. `account` is null if there is none.

    An e-mail address never finds an account.
    """
    # I1
    found = await find_login_account(username, home_isil, deps)
    return FoundJson.model_validate({"account": found}, from_attributes=True)


class NamedAccountJson(BaseModel):
    """What an account is called. Username and e-mail are empty unless it was found, and after their erasure.

    `unavailable`: only the account directory may know it, and did not reply in time.
    """

    account_id: str
    state: Literal["found", "unknown", "unavailable"]
    username: str
    email: str


class NamedAccountsJson(BaseModel):
    """The accounts in the order in which they were asked for."""

    accounts: list[NamedAccountJson]


@router.post(
    "/names",
    operation_id="nameLoginAccounts",
    summary="What several login accounts are called",
    responses=problem_responses(PROBLEM_TYPES),
)
async def names(body: AccountIds, deps: DependenciesDep) -> NamedAccountsJson:
    """Return username and e-mail of each account. A directory that is slow is not waited for."""
    found = await name_accounts(body.account_ids, deps)
    return NamedAccountsJson.model_validate({"accounts": found}, from_attributes=True)


class AccountIdsJson(BaseModel):
    """Ids of accounts."""

    account_ids: list[str]


@router.post(
    "/with-username",
    operation_id="findLoginAccountsOfUsername",
    summary="Which accounts have a username at one of several home libraries",
    responses=problem_responses(PROBLEM_TYPES, MalformedIsil, errors.MalformedUsername),
)
async def with_username(body: UsernameAtLibraries, deps: DependenciesDep) -> AccountIdsJson:
    """Return the ids of the accounts that identity has itself: each that was ever linked is one of them.

    The account directory is not asked.
    """
    # I1
    found = await accounts_with_username(body.username, body.home_isils, deps)
    return AccountIdsJson(account_ids=list(found))


@router.get(
    "/{account_id}",
    operation_id="showLoginAccount",
    summary="A login account with its links and logins",
    responses=problem_responses(PROBLEM_TYPES, errors.AccountNotFound, DirectoryUnavailable),
)
async def show(account_id: AccountId, deps: DependenciesDep) -> AccountJson:
    """Return an account. The reply includes all events that were acknowledged before."""
    return account_json(await show_login_account(account_id, deps))


@router.post(
    "",
    operation_id="openLoginAccount",
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
    write: IdempotentWriteDep,
    deps: DependenciesDep,
    response: Response,
) -> AccountJson:
    """Open an account with its own actor. A username can be used once per home library."""
    result = await write(lambda rows: open_login_account(body.command(), Context(metadata, rows), deps))
    account = account_json(await show_opened_account(result.resource_id, deps))
    response.headers["Location"] = f"/v1/login-accounts/{quote(account.account_id, safe='')}"
    return account
