"""Errors of identity, one class per broken rule (ADR 0017).

The first paragraph of each docstring is the English sentence that a caller reads. The rule comes after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

from shared.kernel.errors import RuleBroken


class RefusalReason(StrEnum):
    """Why a link was refused (I2, I3). Registration receives this code."""

    UNKNOWN_ACCOUNT = "unknown-account"
    ACCOUNT_IN_USE = "account-in-use"
    USERNAME_TAKEN = "username-taken"
    MALFORMED_USERNAME = "malformed-username"
    OTHER_HOME_LIBRARY = "other-home-library"


class AccountInUse(RuleBroken):
    """This login account is linked to another guest of the same organisation.

    Rule I3. `guest_id` is that guest.
    """

    def __init__(self, guest_id: UUID) -> None:
        super().__init__()
        self.guest_id = guest_id


class OtherHomeLibrary(RuleBroken):
    """This login account belongs to another home library than the guest.

    Rule I2.
    """


class NotAnOrphan(RuleBroken):
    """This guest is not an orphan: registration has it, or identity does not count it as registered."""


class OtherRegistrationLog(RuleBroken):
    """The log of registration that replied is not the one that identity follows."""


class LinkRequired(RuleBroken):
    """This person is registered here without a link to this login account. Go to the counter first.

    Rule I4, step 4. `referral`: what the catalogue sends the patron to the counter with (I12).
    """

    def __init__(self, referral: Mapping[str, str | None] | None = None) -> None:
        super().__init__()
        self.referral = referral


class IdTokenInvalid(RuleBroken):
    """This ID token does not prove who logs in, or not any more. Let the patron sign in again.

    Rule I11. `reason` says to the catalogue's makers which check failed, without a value.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class IdTokenRequired(RuleBroken):
    """This catalogue must prove who logs in: send the ID token of the patron.

    Rule I11.
    """


class AccountNotFound(RuleBroken):
    """This login account does not exist."""


class UnknownOrganisation(RuleBroken):
    """This organisation is not known here. An operator can add it to the settings."""


class ActorNotFound(RuleBroken):
    """This actor does not exist."""


class MergeBlocked(RuleBroken):
    """These two actors cannot be merged.

    Rule I6. `reason` is the code for programs.
    """

    reason = "blocked"


class DifferentBirthDates(MergeBlocked):
    """The guests of these two actors have different birth dates: they are not the same person.

    Rule I6.
    """

    reason = "different-birth-dates"


class MergedWithItself(MergeBlocked):
    """Both are the same actor.

    Rule I6.
    """

    reason = "same-actor"


class MergedBefore(MergeBlocked):
    """This actor was already merged into another actor.

    Rule I6.
    """

    reason = "merged-before"


class MergedIntoMergedRecord(MergeBlocked):
    """The other actor was itself merged into another actor. Choose the actor that it points to.

    Rule I6, ADR 0015.
    """

    reason = "into-signpost"


class UsernameTaken(RuleBroken):
    """This username is already in use at this home library.

    Rule I2.
    """


class AccountIdTaken(RuleBroken):
    """A login account with this id already exists."""


class MalformedUsername(RuleBroken):
    """This is not a username. A username has 1 to 200 characters, without control characters."""
