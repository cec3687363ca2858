"""Routes for login accounts: find one by username, show a guest's, link it, unlink it (R17, R21)."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from registration.api.dependencies import CLERK, ClerkDep, DependenciesDep, WriteDep
from registration.api.problems import CHOICE_PROBLEMS, PROBLEM_TYPES
from registration.api.schemas import ONE_LINE, BecauseOf, BirthDates, GuestJson, LinkChoice
from registration.application.dependencies import LoginActor
from registration.application.find_login_account import find_login_account, other_holder, show_accounts
from registration.application.link_login_account import (
    merge_login_actors,
    request_account_link,
    show_actor_merge,
    unlink_login_account,
)
from registration.application.show_guest import show_guest
from registration.domain import errors
from registration.domain.login_link import LinkState
from shared.kernel.library_card import MalformedIsil
from shared.web.problem_handlers import problem_responses
from shared.web.security import requires

router = APIRouter(tags=["login accounts"], dependencies=[CLERK])


class AccountJson(BaseModel):
    """A login account. The clerk compares it with the person at the counter.

    `account_handle` names it when it is linked: by this clerk, within a short time.
    """

    account_id: str
    username: str
    email: str
    account_handle: str


class FoundJson(BaseModel):
    """The account with this username, or null."""

    account: AccountJson | None


@router.get(
    "/v1/login-accounts",
    operation_id="findLoginAccount",
    summary="Find a login account by its username",
    responses=problem_responses(
        PROBLEM_TYPES, MalformedIsil, errors.TooManyLookups, errors.LoginAccountsUnavailable
    ),
)
async def find(
    *,
    clerk: ClerkDep,
    username: Annotated[str, Query(min_length=1, max_length=200, pattern=ONE_LINE, examples=["jan.jansen"])],
    home_isil: Annotated[str, Query(max_length=200, examples=["NL-070288"])],
    deps: DependenciesDep,
) -> FoundJson:  # I1
    """Return the one account with this username at that home library, or null. E-mail is never compared."""
    found = await find_login_account(username, home_isil, clerk.context(), deps)
    if found is None:
        return FoundJson(account=None)
    account = found.account
    return FoundJson(
        account=AccountJson(
            account_id=account.account_id,
            username=account.username,
            email=account.email,
            account_handle=found.handle,
        )
    )


class GuestAccountJson(BaseModel):  # R26
    """The login account of a guest's link, whatever its state; nothing of it is kept here.

    All is null without an account; username and e-mail are null after their erasure, and for an account that
    does not exist. `other_guest`: the guest of the same organisation that has a refused account.
    """

    account_id: str | None
    username: str | None
    email: str | None
    other_guest: UUID | None


@router.get(
    "/v1/guests/{guest_id}/login-account",
    operation_id="showGuestLoginAccount",
    summary="The login account of a guest",
    responses=problem_responses(PROBLEM_TYPES, errors.GuestNotFound, errors.LoginAccountsUnavailable),
)
async def show(guest_id: UUID, clerk: ClerkDep, deps: DependenciesDep) -> GuestAccountJson:  # I3
    """Return username and e-mail, looked up at this moment: within 1 s, or it is unavailable."""
    link = (await show_guest(guest_id, clerk.organisation, deps)).login_link
    if link.account_id is None:
        return GuestAccountJson(account_id=None, username=None, email=None, other_guest=None)
    [account] = (await show_accounts(guest_id, [link.account_id], clerk.organisation, deps)).values()
    if account.state == "unavailable":
        raise errors.LoginAccountsUnavailable
    holder = None
    if link.state is LinkState.REFUSED:
        holder = await other_holder(guest_id, link.account_id, clerk.organisation, deps)
    return GuestAccountJson(
        account_id=account.account_id,
        username=account.username or None,
        email=account.email or None,
        other_guest=holder.guest_id if holder else None,
    )


@router.post(
    "/v1/guests/{guest_id}/login-account",
    operation_id="linkLoginAccount",
    status_code=202,
    summary="Link a login account",
    responses=problem_responses(
        PROBLEM_TYPES,
        errors.GuestNotFound,
        errors.AlreadyLinked,
        errors.NoLongerRegistered,
        errors.GuestMerged,
        errors.GuestErased,
        *CHOICE_PROBLEMS,
    ),
)
async def link(guest_id: UUID, body: LinkChoice, write: WriteDep, deps: DependenciesDep) -> GuestJson:
    """Request the link. It is pending until identity has made or refused it."""
    return await write(lambda context: request_account_link(guest_id, body.chosen(), context, deps))


@router.post(
    "/v1/guests/{guest_id}/login-account/removal",
    operation_id="unlinkLoginAccount",
    status_code=202,
    summary="Take a wrong login account off",
    responses=problem_responses(
        PROBLEM_TYPES, errors.GuestNotFound, errors.NotLinked, errors.GuestMerged, errors.GuestErased
    ),
)
# As clients of release 0.1 call it; many libraries and proxies send no body with DELETE (RFC 9110, 9.3.5).
@router.delete("/v1/guests/{guest_id}/login-account", status_code=202, include_in_schema=False)
async def unlink(guest_id: UUID, body: BecauseOf, write: WriteDep, deps: DependenciesDep) -> GuestJson:  # R21
    """Unlink the account. The reason stays visible."""
    return await write(lambda context: unlink_login_account(guest_id, body.reason, context, deps))


class SeenActorJson(BaseModel):
    """An actor as this organisation sees it.

    `first_login_at`: the first login here. `elsewhere`: other organisations with a guest or a login of it.
    """

    actor_id: UUID
    first_login_at: datetime | None
    guest_here: bool
    elsewhere: int


class ActorMergeJson(BaseModel):
    """Both actors as they are now. A merge makes `actor` a merged record that points to `into`.

    `birth_dates`: how the birth dates of their guests compare. `blocked`: why they cannot be merged, or null.
    """

    actor: SeenActorJson
    into: SeenActorJson
    birth_dates: BirthDates
    blocked: str | None


ACTOR_MERGE = "/v1/guests/{guest_id}/actor-merge"
MERGERS = [Depends(requires("accounts"))]
"""Beside the scope `counter`: actors are of all organisations (R20)."""


@router.get(
    ACTOR_MERGE,
    operation_id="showActorMerge",
    summary="The two actors behind a login account that was linked too late",
    dependencies=MERGERS,
    responses=problem_responses(
        PROBLEM_TYPES, errors.GuestNotFound, errors.NotTooLate, errors.LoginAccountsUnavailable
    ),
)
async def show_merge(guest_id: UUID, clerk: ClerkDep, deps: DependenciesDep) -> ActorMergeJson:  # I6
    """Return what a merge of the two would do. Nothing is written."""
    merge = await show_actor_merge(guest_id, clerk.organisation, deps)
    actor, into = (_seen(found, clerk.organisation) for found in (merge.actor, merge.into))
    return ActorMergeJson(actor=actor, into=into, birth_dates=merge.birth_dates, blocked=merge.blocked)


def _seen(actor: LoginActor, organisation: str) -> SeenActorJson:
    return SeenActorJson(actor_id=actor.actor_id, **asdict(actor.seen_from(organisation)))


@router.post(
    ACTOR_MERGE,
    operation_id="mergeGuestActors",
    summary="Merge the two actors behind a login account that was linked too late",
    dependencies=MERGERS,
    responses=problem_responses(
        PROBLEM_TYPES,
        errors.GuestNotFound,
        errors.NotTooLate,
        errors.ActorMergeBlocked,
        errors.LoginAccountsUnavailable,
    ),
)
async def merge(guest_id: UUID, body: BecauseOf, write: WriteDep, deps: DependenciesDep) -> GuestJson:  # I6
    """Merge them at identity. The guest's link is no longer too late; the reason stays in the history."""
    return await write(lambda context: merge_login_actors(guest_id, body.reason, context, deps))
