"""The rules of registration that a caller can break.

The first paragraph of each docstring is the sentence that API callers read; the rule's number follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.kernel.errors import RuleBroken


class WrongPatronType(RuleBroken):
    """A guest can be re-registered only with patron type 04. Do not change it.

    R14.
    """


class UnknownSubscription(RuleBroken):
    """This subscription is not on offer.

    R7.
    """


class UnknownBranch(RuleBroken):
    """Your organisation has no branch with this code."""


class UnknownOrganisation(RuleBroken):
    """Your organisation is not known here. An operator can add it to the settings."""


class GuestNotFound(RuleBroken):
    """This guest does not exist.

    R20.
    """


class HomePatronNotFound(RuleBroken):
    """The home library does not know this card.

    R4.
    """


class NotFoundWithStartStop(HomePatronNotFound):
    """The home library does not know this card. Leave out the start and stop signs of the barcode.

    R4. The scanner seems to send them with the number.
    """


class NotFoundTwice(HomePatronNotFound):
    """The home library does not know this card. The number was scanned twice: enter it once.

    R4. The scanner seems to have read the card twice.
    """


class UnknownHomeLibrary(RuleBroken):
    """No home library with this ISIL code is known.

    R3.
    """


@dataclass(frozen=True, slots=True)
class Candidate:
    """A library that this card may come from."""

    isil: str
    name: str
    organisation: str


class AmbiguousHomeLibrary(RuleBroken):
    """This card may come from more than one library. Choose the home library.

    R2.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        super().__init__()
        self.candidates = tuple(candidates)


class HomeLibraryUnknownForCard(RuleBroken):
    """The card does not show which library it comes from. Enter the ISIL code of that library.

    R2.
    """


class GuestRefused(RuleBroken):
    """The guest cannot be registered: reason [ The patron is blocked ].

    R4.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__()
        self.reasons = tuple(reasons)


class HomeLibraryUnavailable(RuleBroken):
    """The home library does not reply now. Nothing was saved. Try again in a moment.

    R4.
    """


class AlreadyRegistered(RuleBroken):
    """This person is already registered here.

    R10. `by_other_number`: under another number than the scanned one, by the home library's word.
    """

    def __init__(self, guest_id: UUID, *, by_other_number: bool = False) -> None:
        super().__init__()
        self.guest_id = guest_id
        self.by_other_number = by_other_number


@dataclass(frozen=True, slots=True)
class LikelyGuest:
    """A guest who may be the person at the counter. `same_home_library`: a card of the same library (R28)."""

    guest_id: UUID
    same_home_library: bool


class LikelyDuplicate(RuleBroken):
    """A guest with this surname, birth date and address is registered here. Is it the same person?

    R28.
    """

    def __init__(self, candidates: Sequence[LikelyGuest]) -> None:
        super().__init__()
        self.candidates = tuple(candidates)


class ChainedGuest(RuleBroken):
    """The membership at the home library is itself a guest subscription.

    R11.
    """


class OwnLibrary(RuleBroken):
    """This card comes from your own library.

    R11.
    """


class OtherPerson(RuleBroken):
    """The home library now has a person with another birth date on this card. Nothing was taken over.

    R25.
    """


class CardOfAnotherGuest(RuleBroken):
    """The home library has a new number for this card; here it is another guest's. Nothing was taken over.

    R10, R24.
    """

    def __init__(self, guest_id: UUID) -> None:
        super().__init__()
        self.guest_id = guest_id


class NotExpired(RuleBroken):
    """Only an expired guest can be re-registered.

    R14.
    """


class NoLongerRegistered(RuleBroken):
    """This guest was deregistered. Scan the card and register the patron again.

    R21.
    """


class ReferencesIncomplete(RuleBroken):
    """Libraries were merged, and not all references of their guests are known yet. Try again in a moment.

    I10.
    """


class GuestErased(RuleBroken):
    """The personal data of this guest was erased. Nothing can be changed any more.

    R19.
    """


class GuestMerged(RuleBroken):
    """This record was merged into another record of the same person. Continue with that record.

    R18.
    """

    def __init__(self, into: UUID) -> None:
        super().__init__()
        self.into = into


class AlreadyLinked(RuleBroken):
    """A login account is already linked to this guest. Unlink it first.

    R17, R21.
    """


class NotTooLate(RuleBroken):
    """This guest's login account is linked to one actor only. There is nothing to merge.

    I6.
    """


class ActorMergeBlocked(RuleBroken):
    """The two actors of this login cannot be merged: they are not the same person, or were merged before.

    I6. `reason` is identity's code.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class NotLinked(RuleBroken):
    """No login account is linked to this guest.

    R21.
    """


class ReferralInvalid(RuleBroken):
    """This referral of the catalogue is not valid, or not any more. Let the patron log in there again.

    I12.
    """


class AccountHandleInvalid(RuleBroken):
    """This search result is not valid, or not any more. Search for the login account again.

    R17.
    """


class AccountOfOtherLibrary(RuleBroken):
    """This login account belongs to another home library. Search for it at the guest's home library.

    R17.
    """


class AccountOfOtherPerson(RuleBroken):
    """This login account is on another card than the guest's. Link it only if that is right, with a reason.

    R17.
    """


class UsernameTaken(RuleBroken):
    """This username is already used at this home library. Choose another one.

    R17.
    """


class TooManyLookups(RuleBroken):
    """You looked up too many people in a short time. Try again later.

    R22. `retry_after`: seconds.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class LoginAccountsUnavailable(RuleBroken):
    """Login accounts cannot be looked up now. Try again in a moment."""
