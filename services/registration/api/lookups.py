"""What a clerk looks up before registering: home libraries, home patrons, subscriptions (R2, R4, R7)."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel
from starlette.convertors import StringConvertor, register_url_convertor

from registration.api.dependencies import COUNTER, DependenciesDep
from registration.api.problems import PROBLEM_TYPES
from registration.api.schemas import DetailsJson
from registration.application.find_home_library import look_up_home_library
from registration.application.membership import ask_home_patron
from registration.domain import errors
from registration.domain.subscriptions import ON_OFFER
from registration.domain.verdict import Refused, Valid
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from shared.web.problem_handlers import problem_responses


class _Scanned(StringConvertor):
    """Whatever a scanner read: a slash or a line end is a malformed card number, not an unknown page."""

    regex = r"[\s\S]*"


register_url_convertor("scanned", _Scanned())
router = APIRouter(prefix="/v1", dependencies=[Depends(COUNTER)])


class CandidateJson(BaseModel):
    """A library that the card may come from."""

    isil: str
    name: str
    organisation: str


class MatchJson(BaseModel):
    """*one* is filled in; with *ambiguous* the clerk chooses; with *none* the clerk types the ISIL (R2)."""

    match: Literal["one", "ambiguous", "none"]
    candidates: list[CandidateJson]


class VerdictJson(BaseModel):
    """What home says of the card; `details` null when it gave none; `ends_on` null when it knows none."""

    verdict: Literal["valid", "refused"]
    reasons: list[str]
    details: DetailsJson | None
    ends_on: date | None
    canonical_card_number: str | None


@router.get(
    "/home-libraries",
    tags=["home libraries"],
    summary="Which library does this card come from?",
    responses=problem_responses(PROBLEM_TYPES, MalformedCardNumber),
)
async def look_up(
    card_number: Annotated[str, Query(max_length=200, examples=["1844700015"])], deps: DependenciesDep
) -> MatchJson:
    """Both readings of the card's prefix are looked up."""
    found = await look_up_home_library(card_number, deps)
    return MatchJson.model_validate(found, from_attributes=True)


@router.get(
    "/home-patrons/{isil}/{card_number:scanned}",
    tags=["home libraries"],
    summary="Ask a home library about a card",
    responses=problem_responses(
        PROBLEM_TYPES,
        MalformedCardNumber,
        MalformedIsil,
        errors.UnknownHomeLibrary,
        errors.HomePatronNotFound,
        errors.HomeLibraryUnavailable,
    ),
)
async def ask(
    isil: Annotated[str, Path(max_length=200, examples=["NL-070288"])],
    card_number: Annotated[str, Path(max_length=200, examples=["0990139305"])],
    deps: DependenciesDep,
) -> VerdictJson:
    """Nothing is written; a library that does not answer is never reported as a block (R4)."""
    return _verdict(await ask_home_patron(isil, card_number, deps))


def _verdict(answer: Valid | Refused) -> VerdictJson:
    return VerdictJson(
        verdict="valid" if isinstance(answer, Valid) else "refused",
        reasons=[] if isinstance(answer, Valid) else [str(reason) for reason in answer.reasons],
        details=DetailsJson.of(answer.details) if answer.details else None,
        ends_on=answer.ends_on if isinstance(answer.ends_on, date) else None,
        canonical_card_number=answer.canonical_card_number,
    )


class SubscriptionJson(BaseModel):
    """A subscription; `cost` in euros."""

    code: str
    name: str
    tariff_code: str
    tariff_months: int
    cost: str
    sector: str


class SubscriptionsJson(BaseModel):
    """Those on offer; a single one is picked already."""

    subscriptions: list[SubscriptionJson]


@router.get(
    "/subscriptions",
    tags=["subscriptions"],
    summary="Subscriptions on offer",
    responses=problem_responses(PROBLEM_TYPES),
)
async def on_offer() -> SubscriptionsJson:
    """The clerk picks one of these."""
    return SubscriptionsJson.model_validate({"subscriptions": ON_OFFER}, from_attributes=True)
