"""JSON bodies of requests and responses. A request with an unknown or mistyped field is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from registration.application.register_guest import RegisterGuest
from registration.application.show_guest import GuestView
from registration.domain.contributions import Row
from registration.domain.login_link import ExistingAccount, NewLoginAccount, NoAccount
from registration.domain.subscriptions import subscription
from registration.domain.verdict import PatronDetails

# One line of text: control characters belong in no name, code or reason.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=ONE_LINE)]
# Why a clerk takes something back (R21): spaces alone are no reason.
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=ONE_LINE)
]
# Anything at all, since rules R1 and R3 say themselves what is malformed; only its size is bounded.
Typed = Annotated[str, Field(max_length=200)]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Existing(Body):
    """`Bestaand inlogaccount gebruiken`."""

    choice: Literal["existing"]
    account_id: Line

    def chosen(self) -> ExistingAccount:
        """As the domain knows it."""
        return ExistingAccount(self.account_id)


class New(Body):
    """`Nieuw inlogaccount genereren`: registration mints the account's id."""

    choice: Literal["new"]
    username: Line
    email: Annotated[str, Field(max_length=254, pattern=r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+$")]

    def chosen(self) -> NewLoginAccount:
        """As the domain knows it."""
        return NewLoginAccount(self.username, self.email)


class NoneChosen(Body):
    """`Gebruik inlogaccount: Nee`."""

    choice: Literal["none"]

    def chosen(self) -> NoAccount:
        """As the domain knows it."""
        return NoAccount()


Choice = Annotated[Existing | New | NoneChosen, Field(discriminator="choice")]
LinkChoice = Annotated[Existing | New, Field(discriminator="choice")]


class NewGuest(Body):
    """A member of another library at the counter. `home_isil` null: find it from the card (R2)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "card_number": "0990139305",
                    "home_isil": "NL-070288",
                    "branch": "9453",
                    "subscription_code": "346",
                    "card_has_chip": True,
                    "identity_document_checked": True,
                    "login_account": {"choice": "existing", "account_id": "acc-jan"},
                }
            ]
        }
    )

    card_number: Typed
    home_isil: Typed | None = None
    branch: Line
    subscription_code: Typed | None = None
    card_has_chip: bool
    identity_document_checked: bool
    login_account: Choice

    def command(self) -> RegisterGuest:
        """As the use case knows it."""
        return RegisterGuest(
            card_number=self.card_number,
            home_isil=self.home_isil,
            branch=self.branch,
            card_has_chip=self.card_has_chip,
            identity_document_checked=self.identity_document_checked,
            login_account=self.login_account.chosen(),
            subscription_code=self.subscription_code,
        )


class Reregistration(Body):
    """Patron type 04 and nothing else (R14); without a choice the login link stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"patron_type": "04"}]})

    patron_type: Typed
    login_account: Choice | None = None


class Merging(Body):
    """The guest that is to stay; without `confirm` it is only shown what would happen (R18)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"into": "6f2a4f0e-8f5c-4d0e-9a55-3a1c1f0f7a52", "confirm": False}]}
    )

    # JSON knows no ids: from text also where all else is strict.
    into: Annotated[UUID, Field(strict=False)]
    confirm: bool


class BecauseOf(Body):
    """Why a clerk takes something back (R21)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "account van een ouder"}]})

    reason: Reason


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
