"""Routes for lookups before a registration: home libraries, home patrons, subscriptions (R2, R4, R7)."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.convertors import StringConvertor, register_url_convertor

from registration.api.dependencies import CLERK, ClerkDep, DependenciesDep
from registration.api.problems import PROBLEM_TYPES
from registration.api.schemas import DetailsJson
from registration.application.find_home_library import look_up_home_library
from registration.application.membership import ask_home_patron
from registration.domain import errors
from registration.domain.term import ON_OFFER
from registration.domain.verdict import Refused, Valid
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from shared.web.problem_handlers import problem_responses


class _Scanned(StringConvertor):
    """Any text: a scanned slash or line end is then a malformed card number, not an unknown page."""

    regex = r"[\s\S]*"


register_url_convertor("scanned", _Scanned())
router = APIRouter(prefix="/v1", dependencies=[CLERK])


class CandidateJson(BaseModel):
    """A library that the card may come from."""

    isil: str
    name: str
    organisation: str


class MatchJson(BaseModel):  # R2
    """`one`: the candidate is filled in. `ambiguous`: the clerk chooses. `none`: the clerk types the ISIL."""

    match: Literal["one", "ambiguous", "none"]
    candidates: list[CandidateJson]


class VerdictJson(BaseModel):
    """The home library's reply about a card. `details` and `ends_on` are null when the library sent none."""

    verdict: Literal["valid", "refused"]
    reasons: list[str]
    details: DetailsJson | None
    ends_on: date | None
    canonical_card_number: str | None


@router.get(
    "/home-libraries",
    operation_id="findHomeLibrary",
    tags=["home libraries"],
    summary="Which library does this card come from?",
    responses=problem_responses(PROBLEM_TYPES, MalformedCardNumber),
)
async def look_up(
    card_number: Annotated[str, Query(max_length=200, examples=["1844700015"])], deps: DependenciesDep
) -> MatchJson:
    """Look up both readings of the card's prefix."""
    found = await look_up_home_library(card_number, deps)
    return MatchJson.model_validate(found, from_attributes=True)


@router.get(
    "/home-patrons/{isil}/{card_number:scanned}",
    operation_id="askHomePatron",
    tags=["home libraries"],
    summary="Ask a home library about a card",
    responses=problem_responses(
        PROBLEM_TYPES,
        MalformedCardNumber,
        MalformedIsil,
        errors.UnknownHomeLibrary,
        errors.HomePatronNotFound,
        errors.TooManyLookups,
        errors.HomeLibraryUnavailable,
    ),
)
async def ask(
    isil: Annotated[str, Path(max_length=200, examples=["NL-070288"])],
    card_number: Annotated[str, Path(max_length=200, examples=["0990139305"])],
    clerk: ClerkDep,
    deps: DependenciesDep,
) -> VerdictJson:  # R4
    """Return the reply and write nothing. An unavailable library is never reported as a block."""
    return _verdict(await ask_home_patron(isil, card_number, clerk.context(), deps))


def _verdict(reply: Valid | Refused) -> VerdictJson:
    return VerdictJson(
        verdict="valid" if isinstance(reply, Valid) else "refused",
        reasons=[] if isinstance(reply, Valid) else [str(reason) for reason in reply.reasons],
        details=DetailsJson.of(reply.details) if reply.details else None,
        ends_on=reply.ends_on if isinstance(reply.ends_on, date) else None,
        canonical_card_number=reply.canonical_card_number,
    )


class SubscriptionJson(BaseModel):
    """A subscription. `cost` is in euros."""

    code: str
    name: str
    tariff_code: str
    tariff_months: int
    cost: str
    sector: str


class SubscriptionsJson(BaseModel):
    """The subscriptions on offer. If there is one only, it applies when a registration names none."""

    subscriptions: list[SubscriptionJson]


@router.get(
    "/subscriptions",
    operation_id="listSubscriptions",
    tags=["subscriptions"],
    summary="Subscriptions on offer",
    responses=problem_responses(PROBLEM_TYPES),
)
async def on_offer() -> SubscriptionsJson:
    """Return the subscriptions from which the clerk picks one."""
    return SubscriptionsJson.model_validate({"subscriptions": ON_OFFER}, from_attributes=True)
