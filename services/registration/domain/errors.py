"""The rules of registration that can be broken.

The first paragraph of each docstring is the sentence that an English reader gets; the rule's number follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.kernel.errors import RuleBroken


class WrongPatronType(RuleBroken):
    """A guest is re-registered with patron type 04 only: do not change this.

    R14.
    """


class UnknownSubscription(RuleBroken):
    """This subscription is not on offer.

    R7.
    """


class UnknownBranch(RuleBroken):
    """Your organisation has no such branch."""


class UnknownOrganisation(RuleBroken):
    """Nothing is known here of your organisation: an operator adds it to the settings."""


class GuestNotFound(RuleBroken):
    """No such guest.

    R20.
    """


class HomePatronNotFound(RuleBroken):
    """The home library does not know this card.

    R4.
    """


class UnknownHomeLibrary(RuleBroken):
    """No home library is known under this ISIL code.

    R3.
    """


@dataclass(frozen=True, slots=True)
class Candidate:
    """A library that this card may come from."""

    isil: str
    name: str
    organisation: str


class AmbiguousHomeLibrary(RuleBroken):
    """This card may come from more than one library: choose which.

    R2.
    """

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        super().__init__()
        self.candidates = tuple(candidates)


class HomeLibraryUnknownForCard(RuleBroken):
    """The card does not tell which library it comes from: type its ISIL code.

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
    """The home library does not answer now: try again. Nothing was written.

    R4.
    """


class AlreadyRegistered(RuleBroken):
    """This person is registered here already.

    R10.
    """

    def __init__(self, guest_id: UUID) -> None:
        super().__init__()
        self.guest_id = guest_id


class ChainedGuest(RuleBroken):
    """The membership at the home library is itself a guest subscription.

    R11.
    """


class OwnLibrary(RuleBroken):
    """This card comes from your own library.

    R11.
    """


class NotExpired(RuleBroken):
    """Only an expired guest can be re-registered.

    R14.
    """


class NoLongerRegistered(RuleBroken):
    """This guest was deregistered: register the card afresh.

    R21.
    """


class GuestErased(RuleBroken):
    """The personal data of this guest was destroyed: nothing can be changed any more.

    R19.
    """


class GuestMerged(RuleBroken):
    """This record was merged into another one of the same person: go on there.

    R18.
    """

    def __init__(self, into: UUID) -> None:
        super().__init__()
        self.into = into


class AlreadyLinked(RuleBroken):
    """The guest has a login account already: unlink that first.

    R17, R21.
    """


class NotLinked(RuleBroken):
    """This guest has no login account that could be unlinked.

    R21.
    """


class LoginAccountsUnavailable(RuleBroken):
    """Login accounts cannot be looked up now: try again."""
