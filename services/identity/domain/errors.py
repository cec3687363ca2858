"""What identity refuses. Each docstring is the English sentence that a caller reads (A10)."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from shared.kernel.errors import RuleBroken


class RefusalReason(StrEnum):
    """Why a link was refused, as registration is told."""

    UNKNOWN_ACCOUNT = "unknown-account"
    ACCOUNT_IN_USE = "account-in-use"
    USERNAME_TAKEN = "username-taken"
    MALFORMED_USERNAME = "malformed-username"


class AccountInUse(RuleBroken):
    """This login account is tied to another guest of the same organisation (I3)."""

    def __init__(self, guest_id: UUID) -> None:
        super().__init__()
        self.guest_id = guest_id


class LinkRequired(RuleBroken):
    """This person is registered here without a link to this login account: go to the counter first."""


class AccountNotFound(RuleBroken):
    """There is no such login account."""


class ActorNotFound(RuleBroken):
    """There is no such actor."""


class MergeBlocked(RuleBroken):
    """These two actors cannot be merged (I6).

    `reason`: for programs.
    """

    reason = "blocked"


class DifferentBirthDates(MergeBlocked):
    """Guests of these two were not born on the same day: they are not one person (I6)."""

    reason = "different-birth-dates"


class MergedWithItself(MergeBlocked):
    """These are one and the same actor (I6)."""

    reason = "same-actor"


class MergedBefore(MergeBlocked):
    """This actor was merged into another one before (I6)."""

    reason = "merged-before"


class MergedIntoMergedRecord(MergeBlocked):
    """The other actor was itself merged into another one: merge into that one (I6)."""

    reason = "into-signpost"


class UsernameTaken(RuleBroken):
    """This username is taken at this home library."""


class AccountIdTaken(RuleBroken):
    """There is a login account with this id already."""


class MalformedUsername(RuleBroken):
    """This is not a username: 1 to 200 characters, none of them a control character."""
