"""The link between a guest and a login account, as registration knows it (R17, R21)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from registration.domain.events import (
    Encrypted,
    GuestDeregistered,
    GuestEvent,
    GuestImported,
    GuestRegistered,
    GuestReregistered,
    GuestsMerged,
    LoginAccountLinkConfirmed,
    LoginAccountLinkRefused,
    LoginAccountLinkRequested,
    LoginAccountUnlinked,
    PersonalDataErased,
)


@dataclass(frozen=True, slots=True)
class ExistingAccount:
    """The choice `Bestaand inlogaccount gebruiken`, by the id that the caller names.

    `reason`: why the account is linked although it is on another card.
    """

    account_id: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SearchedAccount:
    """The same choice, by the handle that a search returned."""

    handle: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class VerifiedAccount:
    """An existing account that may be linked to the guest. `reason`: it is on another card."""

    account_id: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class NewLoginAccount:
    """The choice `Nieuw inlogaccount genereren`. Username and e-mail are personal data."""

    username: str
    email: str


@dataclass(frozen=True, slots=True)
class NoAccount:
    """The choice `Gebruik inlogaccount: Nee`."""


LoginAccountChoice = ExistingAccount | SearchedAccount | NewLoginAccount | NoAccount
"""What a clerk chose. An account that exists is not verified yet."""

VerifiedChoice = VerifiedAccount | NewLoginAccount | NoAccount
"""What may be written."""


class LinkRequest(NamedTuple):
    """A choice of login account as events keep it.

    `choice`: "existing", "new", "none", or None when the clerk made no choice. `sealed_new_account`: username
    and e-mail of a new account, encrypted. `reason`: why an account on another card is linked.
    """

    choice: str | None
    account_id: str | None = None
    sealed_new_account: Encrypted | None = None
    reason: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of an event that carries a link request."""
        return {
            "login_account_choice": self.choice,
            "login_account_id": self.account_id,
            "sealed_new_account": self.sealed_new_account,
            "login_account_reason": self.reason,
        }


NO_ACCOUNT = LinkRequest("none")


class LinkState(StrEnum):
    """The state of the link to a login account."""

    NONE = "none"
    PENDING = "pending"
    LINKED = "linked"
    REFUSED = "refused"
    TOO_LATE = "too_late"


class LoginLink(NamedTuple):
    """The link now. `reason`: why identity refused it."""

    state: LinkState = LinkState.NONE
    account_id: str | None = None
    reason: str | None = None

    @property
    def is_tied(self) -> bool:
        """Whether an account is tied to the guest, in time or too late."""
        return self.state in {LinkState.LINKED, LinkState.TOO_LATE}

    @property
    def is_wanted(self) -> bool:
        """Whether an account is tied to the guest, or will be when identity replies."""
        return self.is_tied or self.state is LinkState.PENDING


def evolve_link(before: LoginLink, event: GuestEvent) -> LoginLink:
    """Return the link after one event."""
    match event:
        case GuestRegistered() | GuestImported() | LoginAccountLinkRequested():
            return _pending(event.login_account_id)
        case GuestReregistered() if event.login_account_id:
            return _pending(event.login_account_id)
        case LoginAccountLinkConfirmed():
            return LoginLink(LinkState.TOO_LATE if event.too_late else LinkState.LINKED, event.account_id)
        case LoginAccountLinkRefused():
            return before._replace(state=LinkState.REFUSED, reason=event.reason)
        case LoginAccountUnlinked() | GuestDeregistered() | GuestsMerged() | PersonalDataErased():
            return LoginLink()
        case _:
            return before


def _pending(account_id: str | None) -> LoginLink:
    return LoginLink() if account_id is None else LoginLink(LinkState.PENDING, account_id)
