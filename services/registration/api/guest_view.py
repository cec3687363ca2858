"""A guest as JSON, to the letter of contract.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from registration.application.show_guest import GuestView
from registration.domain.contributions import Row
from registration.domain.subscriptions import subscription
from registration.domain.verdict import PatronDetails


class DetailsJson(BaseModel):
    """The home library's own particulars of the patron: shown, never edited here (R5)."""

    name: str
    birth_date: date | None
    address: str | None
    email: str | None

    @classmethod
    def of(cls, details: PatronDetails) -> DetailsJson:
        """From the domain's own."""
        return cls(
            name=details.name,
            birth_date=details.birth_date,
            address=details.address,
            email=details.email,
        )


class HomeJson(BaseModel):
    """What home said last. `valid` with an expired guest: re-registration would succeed (R13)."""

    verdict: Literal["valid", "refused", "not_found", "unavailable"]
    reasons: list[str]
    checked_at: datetime


class TermJson(BaseModel):
    """End dates are inclusive; no end: open. `stale`: kept for want of an answer from home (R12)."""

    begin: date
    end: date | None
    provisional: bool
    stale: bool


class ContributionJson(BaseModel):
    """A row of the tab *contributie*; empty when `begin` is after `end` (R15)."""

    organisation: str
    branch: str
    begin: date
    end: date | None
    subscription: str
    status: Literal["Normaal", "Ongeldig"]
    cost: str
    sector: str

    @classmethod
    def of(cls, row: Row) -> ContributionJson:
        """From the domain's own."""
        sold = subscription(row.subscription_code)
        return cls(
            organisation=row.organisation,
            branch=row.branch,
            begin=row.begin,
            end=row.end,
            subscription=sold.label,
            status=row.status.value,
            cost=sold.cost,
            sector=sold.sector,
        )


class LoginLinkJson(BaseModel):
    """What became of the login account; `reason` when identity refused it."""

    state: Literal["none", "pending", "linked", "refused", "too_late"]
    account_id: str | None
    reason: str | None


class MergedRecordJson(BaseModel):
    """A record of the same person that was merged into this one; its rows stay with it (R18)."""

    guest_id: UUID
    contributions: list[ContributionJson]


class GuestJson(BaseModel):
    """A guest; `details` and `card_number` are null once personal data is erased.

    `merged_into`: this record is a signpost to that guest, its status is `deregistered` (R18).
    """

    guest_id: UUID
    version: int
    status: Literal["valid", "expired", "suspended", "deregistered", "erased"]
    organisation: str
    branch: str
    card_number: str | None
    aliases: Sequence[str]
    home_isil: str
    home: HomeJson
    details: DetailsJson | None
    header: str
    expires_on: date | None
    expiry_line: str | None
    card_notice: str | None
    reregistration_preview: str | None
    term: TermJson
    contributions: list[ContributionJson]
    lending_strips: int
    self_service: bool
    login_link: LoginLinkJson
    merged_into: UUID | None
    merged_from: list[MergedRecordJson]


def guest_json(guest: GuestView) -> GuestJson:
    """The guest, for the outside world."""
    return GuestJson(
        guest_id=guest.guest_id,
        version=guest.version,
        status=guest.status,
        organisation=guest.organisation,
        branch=guest.branch,
        card_number=guest.card_number,
        aliases=guest.aliases,
        home_isil=guest.home_isil,
        home=HomeJson.model_validate(guest.home, from_attributes=True),
        details=DetailsJson.of(guest.details) if guest.details else None,
        header=guest.header,
        expires_on=guest.expires_on,
        expiry_line=guest.expiry_line,
        card_notice=guest.card_notice,
        reregistration_preview=guest.reregistration_preview,
        term=TermJson.model_validate(guest.term, from_attributes=True),
        contributions=[ContributionJson.of(row) for row in guest.contributions],
        lending_strips=guest.lending_strips,
        self_service=guest.self_service,
        login_link=LoginLinkJson.model_validate(guest.login_link, from_attributes=True),
        merged_into=guest.merged_into,
        merged_from=[
            MergedRecordJson(
                guest_id=merged.guest_id,
                contributions=[ContributionJson.of(row) for row in merged.contributions],
            )
            for merged in guest.merged_from
        ],
    )
