"""JSON bodies of requests and responses. A request with an unknown or mistyped field is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypeAliasType

from registration.application.register_guest import RegisterGuest
from registration.application.show_guest import GuestView
from registration.domain.contributions import Row
from registration.domain.guest_state import Preferences
from registration.domain.login_link import ExistingAccount, NewLoginAccount, NoAccount, SearchedAccount
from registration.domain.term import subscription
from registration.domain.verdict import PatronDetails
from shared.kernel.login_account import AccountId, Email, new_username
from shared.kernel.text import require_identifier, require_text, tidy

# One line of text: control characters belong in no name, code or reason.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"
_Short = Annotated[str, Field(min_length=1, max_length=200, pattern=ONE_LINE)]
# An id or a code: it is compared exactly, so it is never changed.
Line = Annotated[_Short, AfterValidator(require_identifier)]
# A name as a person typed it.
Name = Annotated[_Short, AfterValidator(tidy)]
# Why a clerk takes something back (R21): a text that cannot be seen is no reason.
Reason = Annotated[_Short, AfterValidator(require_text)]
LONGEST_HANDLE = 4000
# Any text: R1 and R3 decide what is malformed. Only the length is limited here.
Typed = Annotated[str, Field(max_length=200)]


# Each set of words has one name here, so that a generated client has one class for it.
BirthDates = TypeAliasType("BirthDates", Literal["same", "different", "unknown"])
GuestStatus = TypeAliasType("GuestStatus", Literal["valid", "expired", "suspended", "deregistered", "erased"])
HomeReply = TypeAliasType("HomeReply", Literal["valid", "refused", "not_found", "unavailable"])
HomeVerdict = TypeAliasType(
    "HomeVerdict", Literal["valid", "refused", "not_found", "unavailable", "not_asked"]
)
Language = TypeAliasType("Language", Literal["nl", "en"])
LinkState = TypeAliasType("LinkState", Literal["none", "pending", "linked", "refused", "too_late"])
HomeChange = TypeAliasType(
    "HomeChange", Literal["status", "term", "name", "birth_date", "address", "email", "card_number"]
)

# JSON has no type for ids, so these fields accept text.
GuestId = Annotated[UUID, Field(strict=False)]


class Body(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Existing(Body):
    """Use an existing login account (*Bestaand inlogaccount gebruiken*).

    It is named by the `account_handle` of a search, or by its `account_id`, which is then looked up. An
    account on another card than the guest's needs a `reason`.
    """

    choice: Literal["existing"]
    account_handle: (
        Annotated[str, Field(min_length=1, max_length=LONGEST_HANDLE, pattern=ONE_LINE)] | None
    ) = None
    account_id: AccountId | None = None
    reason: Reason | None = None

    @model_validator(mode="after")
    def _is_named_once(self) -> Self:
        if (self.account_handle is None) is (self.account_id is None):
            raise ValueError("either account_handle or account_id is needed")
        return self

    def chosen(self) -> SearchedAccount | ExistingAccount:
        """Return the choice as a domain object."""
        if self.account_handle is not None:
            return SearchedAccount(self.account_handle, self.reason)
        return ExistingAccount(str(self.account_id), self.reason)


class New(Body):
    """Make a new login account (*Nieuw inlogaccount genereren*). Registration creates the account's id."""

    choice: Literal["new"]
    username: Annotated[_Short, AfterValidator(new_username)]
    email: Email

    def chosen(self) -> NewLoginAccount:
        """Return the choice as a domain object."""
        return NewLoginAccount(self.username, self.email)


class NoneChosen(Body):
    """Use no login account (*Gebruik inlogaccount: Nee*)."""

    choice: Literal["none"]

    def chosen(self) -> NoAccount:
        """Return the choice as a domain object."""
        return NoAccount()


Choice = Annotated[Existing | New | NoneChosen, Field(discriminator="choice")]
LinkChoice = Annotated[Existing | New, Field(discriminator="choice")]


class WantedPreferences(Body):  # R27
    """What the guest wants. What is left out is off: a consent that nobody gave does not exist.

    `newsletter`: to get the newsletter. `lending_history`: that the library keeps what was borrowed.
    """

    language: Language = "nl"
    newsletter: bool = False
    lending_history: bool = False

    def chosen(self) -> Preferences:
        """Return the preferences as a domain object."""
        return Preferences(self.language, self.newsletter, self.lending_history)


class NewGuest(Body):  # R2, R28
    """A member of another library at the counter. `home_isil` null: it is found from the card.

    `same_as`, `not_same_as`: the answer to a `likely-duplicate`.
    """

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
                    "preferences": {"language": "nl", "newsletter": False, "lending_history": True},
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
    same_as: GuestId | None = None
    not_same_as: Annotated[list[GuestId], Field(max_length=20)] = []
    preferences: WantedPreferences | None = None

    def command(self) -> RegisterGuest:
        """Return the command for the use case."""
        return RegisterGuest(
            card_number=self.card_number,
            home_isil=self.home_isil,
            branch=self.branch,
            card_has_chip=self.card_has_chip,
            identity_document_checked=self.identity_document_checked,
            login_account=self.login_account.chosen(),
            subscription_code=self.subscription_code,
            same_as=self.same_as,
            not_same_as=frozenset(self.not_same_as),
            preferences=self.preferences.chosen() if self.preferences else None,
        )


class Reregistration(Body):  # R14
    """Only patron type 04 is accepted. What is left out stays: the login link, the preferences."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"patron_type": "04"}]})

    patron_type: Typed
    login_account: Choice | None = None
    preferences: WantedPreferences | None = None


class Merging(Body):  # R18
    """`into`: the guest that stays. Without `confirm` the response only shows what a merge would do."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"into": "6f2a4f0e-8f5c-4d0e-9a55-3a1c1f0f7a52", "confirm": False}]}
    )

    into: GuestId
    confirm: bool


class BecauseOf(Body):  # R21
    """Why a clerk takes something back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "account van een ouder"}]})

    reason: Reason


class CardChip(Body):  # R9, R21
    """Whether the guest's card has a chip, and why that is corrected."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"card_has_chip": False, "reason": "verkeerd aangevinkt"}]}
    )

    card_has_chip: bool
    reason: Reason


class DetailsJson(BaseModel):  # R5
    """The patron's details from the home library. They are shown, never edited here."""

    name: str
    birth_date: date | None
    address: str | None
    email: str | None

    @classmethod
    def of(cls, details: PatronDetails) -> DetailsJson:
        """Return domain details as JSON."""
        return cls(
            name=details.name,
            birth_date=details.birth_date,
            address=details.address,
            email=details.email,
        )


class PreferencesJson(BaseModel):  # R27
    """What the guest wants, and the consents that were given."""

    language: Language
    newsletter: bool
    lending_history: bool

    @classmethod
    def of(cls, preferences: Preferences) -> PreferencesJson:
        """Return preferences as JSON."""
        return cls.model_validate(preferences, from_attributes=True)


class HomeJson(BaseModel):  # R13
    """The home library's last reply. `valid` for an expired guest: re-registration would succeed.

    `answered_at`: the last moment at which the library named this person, so the moment of the details.
    `changed`: what the last reply changed of the guest; null for the reply with which it was registered.
    `not_asked`: the guest was imported at that moment, and the library was not asked since; `answered_at` is
    the day of the registration in the other system then.
    """

    verdict: HomeVerdict
    reasons: list[str]
    checked_at: datetime
    answered_at: datetime
    changed: list[HomeChange] | None


class TermJson(BaseModel):  # R12
    """`end` is inclusive; null: open-ended. `stale`: kept because the home library had no usable reply."""

    begin: date
    end: date | None
    provisional: bool
    stale: bool


class ContributionJson(BaseModel):  # R15
    """A row of the tab *contributie*. It is empty when `begin` is after `end`."""

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
        """Return a contribution row of the domain as JSON."""
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
    """The state of the login link. `reason` is set when identity refused it."""

    state: LinkState
    account_id: str | None
    reason: str | None


class MergedRecordJson(BaseModel):  # R18
    """A record of the same person that was merged into this guest. It keeps its contribution rows."""

    guest_id: UUID
    contributions: list[ContributionJson]


class GuestJson(BaseModel):  # R18, R19
    """A guest. `card_number`, `details` and `preferences` are null after the personal data was erased.

    `reason`: why it is expired, or the home library's reasons why it is suspended, with `, ` between them.
    `ended_on`: the day on which the registration ended. `active_at`: the last moment at which something was
    done for the guest at the counter. `card_since`, `chip_since`: since when the number, and whether the card
    has a chip, are known. `merged_into`: this is a merged record that points to that guest; its status is
    `deregistered`.
    """

    guest_id: UUID
    version: int
    status: GuestStatus
    organisation: str
    branch: str
    card_number: str | None
    aliases: Sequence[str]
    home_isil: str
    home: HomeJson
    details: DetailsJson | None
    preferences: PreferencesJson | None
    header: str
    reason: str | None
    ended_on: date | None
    expires_on: date | None
    expiry_line: str | None
    card_notice: str | None
    reregistration_preview: str | None
    term: TermJson
    contributions: list[ContributionJson]
    lending_strips: int
    self_service: bool
    active_at: datetime
    card_since: datetime
    chip_since: datetime
    login_link: LoginLinkJson
    merged_into: UUID | None
    merged_from: list[MergedRecordJson]


def guest_json(guest: GuestView) -> GuestJson:
    """Return a shown guest as JSON."""
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
        preferences=PreferencesJson.of(guest.preferences) if guest.preferences else None,
        header=guest.header,
        reason=guest.reason,
        ended_on=guest.ended_on,
        expires_on=guest.expires_on,
        expiry_line=guest.expiry_line,
        card_notice=guest.card_notice,
        reregistration_preview=guest.reregistration_preview,
        term=TermJson.model_validate(guest.term, from_attributes=True),
        contributions=[ContributionJson.of(row) for row in guest.contributions],
        lending_strips=guest.lending_strips,
        self_service=guest.self_service,
        active_at=guest.active_at,
        card_since=guest.card_since,
        chip_since=guest.chip_since,
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
