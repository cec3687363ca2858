"""Routes for one guest: register, show, check at home, re-register, correct, deregister, erase."""

from uuid import UUID

from fastapi import APIRouter, Response

from registration.api.dependencies import CLERK, ClerkDep, DependenciesDep, OperatorDep, WriteDep
from registration.api.problems import CHOICE_PROBLEMS, PROBLEM_TYPES
from registration.api.schemas import (
    BecauseOf,
    CardChip,
    GuestJson,
    NewGuest,
    Reregistration,
    WantedPreferences,
    guest_json,
)
from registration.application.change_chip import change_chip
from registration.application.change_preferences import change_preferences
from registration.application.check_term import WHILE_A_CLERK_WAITS, check_term
from registration.application.deregister_guest import deregister_guest
from registration.application.erase_guest import erase_personal_data
from registration.application.register_guest import register_guest
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.application.show_guest import show_guest
from registration.domain import errors
from registration.domain.merge import NothingEqual
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from shared.web.openapi import EVENT_POSITION
from shared.web.problem_handlers import problem_responses

router = APIRouter(prefix="/v1/guests", tags=["guests"], dependencies=[CLERK])


@router.post(
    "",
    operation_id="registerGuest",
    status_code=201,
    summary="Register a member of another library as a guest",
    responses=problem_responses(
        PROBLEM_TYPES,
        MalformedCardNumber,
        MalformedIsil,
        errors.UnknownSubscription,
        errors.UnknownBranch,
        errors.UnknownOrganisation,
        errors.HomePatronNotFound,
        errors.UnknownHomeLibrary,
        errors.AmbiguousHomeLibrary,
        errors.HomeLibraryUnknownForCard,
        errors.GuestRefused,
        errors.AlreadyRegistered,
        errors.LikelyDuplicate,
        errors.OtherPerson,
        errors.CardOfAnotherGuest,
        NothingEqual,
        errors.ChainedGuest,
        errors.OwnLibrary,
        errors.HomeLibraryUnavailable,
        *CHOICE_PROBLEMS,
    ),
)
async def register(
    body: NewGuest, write: WriteDep, deps: DependenciesDep, response: Response
) -> GuestJson:  # R4, R28
    """Ask the home library first. If it refuses or is unavailable, nothing is written.

    `likely-duplicate`: a registered guest has the same surname, birth date and address. Compare the
    `candidates` with the person at the counter, then send the request again. Another person: name all of them
    in `not_same_as`. The same person with a new card of the same library: name the guest in `same_as`; the
    response is that guest, with the new number. The same person at another library: register with
    `not_same_as`, then merge the two.
    """
    guest = await write(lambda context: register_guest(body.command(), context, deps))
    response.headers["Location"] = f"/v1/guests/{guest.guest_id}"
    return guest


@router.get(
    "/{guest_id}",
    operation_id="showGuest",
    summary="One guest",
    responses=problem_responses(PROBLEM_TYPES, errors.GuestNotFound),
)
async def show(guest_id: UUID, clerk: ClerkDep, deps: DependenciesDep) -> GuestJson:
    """Return the guest, read from its stream: it is found directly after its registration."""
    return guest_json(await show_guest(guest_id, clerk.organisation, deps))


@router.post(
    "/{guest_id}/home-check",
    operation_id="checkGuestAtHome",
    summary="Ask the home library again, now",
    responses=problem_responses(PROBLEM_TYPES, errors.GuestNotFound),
)
async def check_at_home(guest_id: UUID, write: WriteDep, deps: DependenciesDep) -> GuestJson:  # R12, R13
    """Apply the home library's reply. Without a reply within 2 s the term is kept and marked stale."""
    return await write(lambda context: check_term(guest_id, context, deps, within=WHILE_A_CLERK_WAITS))


@router.post(
    "/{guest_id}/reregistration",
    operation_id="reregisterGuest",
    summary="Register an expired guest again",
    responses=problem_responses(
        PROBLEM_TYPES,
        errors.WrongPatronType,
        errors.GuestNotFound,
        errors.HomePatronNotFound,
        errors.OtherPerson,
        errors.CardOfAnotherGuest,
        errors.NotExpired,
        errors.NoLongerRegistered,
        errors.GuestMerged,
        errors.GuestErased,
        errors.AlreadyLinked,
        errors.ChainedGuest,
        errors.GuestRefused,
        errors.HomeLibraryUnavailable,
        *CHOICE_PROBLEMS,
    ),
)
async def reregister(
    guest_id: UUID, body: Reregistration, write: WriteDep, deps: DependenciesDep
) -> GuestJson:  # R14
    """Make the guest valid again after a fresh check at the home library. The guest keeps its login link."""
    chosen = body.login_account.chosen() if body.login_account else None
    preferences = body.preferences.chosen() if body.preferences else None
    command = ReregisterGuest(guest_id, body.patron_type, chosen, preferences)
    return await write(lambda context: reregister_guest(command, context, deps))


@router.put(
    "/{guest_id}/preferences",
    operation_id="changePreferences",
    summary="Change language and consents",
    responses=problem_responses(PROBLEM_TYPES, errors.GuestNotFound, errors.GuestMerged, errors.GuestErased),
)
async def prefer(
    guest_id: UUID, body: WantedPreferences, write: WriteDep, deps: DependenciesDep
) -> GuestJson:  # R27
    """Replace all preferences. A consent is withdrawn as it is given; who changed it is in the history."""
    return await write(lambda context: change_preferences(guest_id, body.chosen(), context, deps))


@router.post(
    "/{guest_id}/card-chip",
    operation_id="correctCardChip",
    summary="Correct whether the guest's card has a chip",
    responses=problem_responses(
        PROBLEM_TYPES, errors.GuestNotFound, errors.NoLongerRegistered, errors.GuestMerged, errors.GuestErased
    ),
)
async def correct_chip(guest_id: UUID, body: CardChip, write: WriteDep, deps: DependenciesDep) -> GuestJson:
    """With a chip the guest may use self-service. The same as before changes nothing."""  # R9, R21
    return await write(lambda context: change_chip(guest_id, body.card_has_chip, body.reason, context, deps))


@router.post(
    "/{guest_id}/deregistration",
    operation_id="deregisterGuest",
    summary="Take back a registration that was a mistake",
    responses=problem_responses(
        PROBLEM_TYPES, errors.GuestNotFound, errors.NoLongerRegistered, errors.GuestMerged, errors.GuestErased
    ),
)
async def deregister(guest_id: UUID, body: BecauseOf, write: WriteDep, deps: DependenciesDep) -> GuestJson:
    """Deregister the guest. The reason stays visible; the card may be registered again."""  # R21
    return await write(lambda context: deregister_guest(guest_id, body.reason, context, deps))


# A router of its own: an operator does not need the scope `counter`.
operator_router = APIRouter(prefix="/v1/guests", tags=["personal data"])


@operator_router.delete(
    "/{guest_id}/personal-data",
    operation_id="erasePersonalData",
    status_code=204,
    summary="Destroy all that is personal of a guest",
    responses=problem_responses(PROBLEM_TYPES, errors.GuestNotFound)
    | {204: {"description": "It is destroyed.", "headers": EVENT_POSITION}},
)
async def erase(guest_id: UUID, operator: OperatorDep, deps: DependenciesDep, response: Response) -> None:
    """Destroy it permanently, here and at identity. The history stays, without the person. Safe to repeat."""
    await operator.require_guest(guest_id, deps)
    written = await erase_personal_data(guest_id, operator.metadata, deps)
    response.headers["Event-Position"] = str(written.position)
