"""Subscriptions on offer to guests (R7)."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from registration.api.dependencies import COUNTER
from registration.api.problems import KINDS
from registration.domain.subscriptions import ON_OFFER
from shared.web.openapi import documented

router = APIRouter(tags=["subscriptions"], dependencies=[Depends(COUNTER)])


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


@router.get("/v1/subscriptions", summary="Subscriptions on offer", responses=documented(KINDS))
async def on_offer() -> SubscriptionsJson:
    """The clerk picks one of these."""
    return SubscriptionsJson.model_validate({"subscriptions": ON_OFFER}, from_attributes=True)
