"""The feed for other services: committed messages, and what identity asks at the login barrier (ADR 0004)."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from registration.api.dependencies import DependenciesDep, identity_only
from registration.api.problems import PROBLEM_TYPES
from registration.api.schemas import ONE_LINE, BirthDates
from registration.application.answer_identity import (
    RegisteredGuest,
    RegistrationsQuery,
    compare_birth_dates,
    is_home_library,
    is_own_library,
    known_guests,
    list_registrations,
    new_account,
)
from registration.domain import errors
from shared.kernel.library_card import MalformedIsil
from shared.kernel.login_account import AccountId
from shared.web.feed_api import FEED, FeedDep, MessageJson, message_json
from shared.web.problem_handlers import answers, problem_responses
from shared.web.problems import Problem, ProblemType

router = APIRouter(prefix="/v1/feed", tags=["feed"], dependencies=[Depends(FEED)])
_IDENTITY = [Depends(identity_only)]

_NO_NEW_ACCOUNT = ProblemType(
    404, "no-new-account", "Voor deze gastlener is geen nieuw inlogaccount gevraagd."
)

Account = Annotated[AccountId | None, Query()]

GuestIds = Annotated[list[UUID], Query(min_length=1, max_length=50)]


MOST_ASKED_GUESTS = 500


class GuestsJson(BaseModel):
    """Guests that are asked about."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    guest_ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST_ASKED_GUESTS)]


class KnownGuestsJson(BaseModel):
    """Those of the guests that are in this log. `source` names the log, as in messages."""

    source: str
    guest_ids: list[UUID]


class BirthDatesJson(BaseModel):
    """The result of the comparison. `unknown`: no birth date is known for one side, or it was erased."""

    birth_dates: BirthDates


class HomeLibraryJson(BaseModel):
    """Whether the library is the guest's home library, or merged into it."""

    is_home_library: bool


class OwnLibraryJson(BaseModel):
    """Whether the library belongs to the organisation, or merged into one that does."""

    is_own_library: bool


class RegistrationJson(BaseModel):
    """A guest with all its messages (CloudEvents), starting at version 1."""

    guest_id: UUID
    messages: Sequence[MessageJson]


class RegistrationsJson(BaseModel):
    """All registrations that match the query."""

    registrations: list[RegistrationJson]


class NewAccountJson(BaseModel):
    """The username and e-mail address for a login account that is to be opened."""

    account_id: str
    home_isil: str
    username: str
    email: str
    merged_isils: Sequence[str]


@router.get(
    "/registrations",
    operation_id="listRegistrations",
    summary="A person's or an account's registrations at an organisation",
    response_model_exclude_unset=True,
    responses=problem_responses(PROBLEM_TYPES, errors.ReferencesIncomplete, MalformedIsil),
)
async def registrations(
    feed: FeedDep,
    organisation: Annotated[str, Query(min_length=1, max_length=200, pattern=ONE_LINE)],
    deps: DependenciesDep,
    *,
    account_id: Account = None,
    person_ref: Annotated[str | None, Query(min_length=1, max_length=200, pattern=ONE_LINE)] = None,
    home_isil: Annotated[str | None, Query(max_length=200, examples=["NL-070288"])] = None,
) -> RegistrationsJson:
    """Return registrations of an account, a person, or both. Read committed state, never a lagging view.

    `home_isil` is the library of the person's card: while libraries merge, only its members wait (I10).
    """
    if account_id is None and person_ref is None:
        missing = {
            "loc": ("query", "account_id"),
            "msg": "account_id or person_ref is needed",
            "type": "missing",
        }
        raise RequestValidationError([missing])
    query = RegistrationsQuery(organisation, account_id, person_ref, home_isil)
    found = await list_registrations(query, deps, feed)
    return RegistrationsJson(
        registrations=[
            RegistrationJson(
                guest_id=guest.guest_id, messages=[message_json(message) for message in guest.messages]
            )
            for guest in found
        ]
    )


def _registration(guest: RegisteredGuest) -> RegistrationJson:
    messages = [message_json(message) for message in guest.messages]
    return RegistrationJson(guest_id=guest.guest_id, messages=messages)


@router.post(
    "/known-guests",
    operation_id="listKnownGuests",
    summary="Which of these guests are in the log",
    dependencies=_IDENTITY,
    responses=problem_responses(PROBLEM_TYPES),
)
async def known(body: GuestsJson, deps: DependenciesDep) -> KnownGuestsJson:
    """Return the guests that exist here, in any state. Those that are missing were lost in a restore."""
    found = await known_guests(body.guest_ids, deps)
    return KnownGuestsJson(source=f"/registration/{deps.store.log.log_id}", guest_ids=sorted(found))


@router.get(
    "/birth-dates",
    operation_id="compareBirthDates",
    summary="Whether guests were born on the same day",
    dependencies=_IDENTITY,
    responses=problem_responses(PROBLEM_TYPES),
)
async def birth_dates(one: GuestIds, other: GuestIds, deps: DependenciesDep) -> BirthDatesJson:  # I6
    """Compare all guests in `one` with all guests in `other`. The response does not contain the dates."""
    compared = await compare_birth_dates(one, other, deps)
    return BirthDatesJson(birth_dates=compared.value)


@router.get(
    "/guests/{guest_id}/home-library",
    operation_id="compareHomeLibrary",
    summary="Whether a library is the guest's home library",
    dependencies=_IDENTITY,
    responses=problem_responses(
        PROBLEM_TYPES, errors.GuestNotFound, errors.ReferencesIncomplete, MalformedIsil
    ),
)
async def home_library(
    guest_id: UUID,
    isil: Annotated[str, Query(max_length=200, examples=["NL-070288"])],
    deps: DependenciesDep,
) -> HomeLibraryJson:  # I2, R3
    """Compare the library with the guest's. One that merged into the guest's home library is the same."""
    return HomeLibraryJson(is_home_library=await is_home_library(guest_id, isil, deps))


@router.get(
    "/own-library",
    operation_id="compareOwnLibrary",
    summary="Whether a library belongs to an organisation",
    dependencies=_IDENTITY,
    responses=problem_responses(PROBLEM_TYPES, errors.ReferencesIncomplete, MalformedIsil),
)
async def own_library(
    organisation: Annotated[str, Query(min_length=1, max_length=200, pattern=ONE_LINE)],
    isil: Annotated[str, Query(max_length=200, examples=["NL-070288"])],
    deps: DependenciesDep,
) -> OwnLibraryJson:  # I4, R3
    """Compare the library with the organisation's. One that merged into one of these belongs to it, too."""
    return OwnLibraryJson(is_own_library=await is_own_library(organisation, isil, deps))


@router.get(
    "/guests/{guest_id}/new-account",
    operation_id="showNewAccount",
    summary="The wishes for a login account that does not exist yet",
    dependencies=_IDENTITY,
    responses={
        **problem_responses(PROBLEM_TYPES),
        **answers([PROBLEM_TYPES[errors.GuestNotFound], _NO_NEW_ACCOUNT]),
    },
)
async def new_account_data(
    guest_id: UUID, deps: DependenciesDep, account_id: Account = None
) -> NewAccountJson:
    """Return the latest request, or the one for `account_id`. After an erasure there is none."""
    found = await new_account(guest_id, account_id, deps)
    if found is None:
        english = "No new login account was requested for this guest, or the request was erased."
        raise Problem(404, _NO_NEW_ACCOUNT.code, _NO_NEW_ACCOUNT.detail_nl, english)
    return NewAccountJson.model_validate(found, from_attributes=True)
