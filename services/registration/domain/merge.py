"""Whether two guests are the same person, so that one can be merged into the other (R18)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registration.domain.guest import Guest
from registration.domain.term_check import Status
from registration.domain.text_matching import same_name_birth_date_address
from registration.domain.verdict import PatronDetails
from shared.kernel.errors import RuleBroken


class MergeBlocked(RuleBroken):
    """These two guests cannot be merged.

    R18. `reason` is a code for programs.
    """

    reason = "blocked"


class DifferentBirthDates(MergeBlocked):
    """These two guests have different birth dates. They are not the same person.

    R18.
    """

    reason = "different-birth-dates"


class NothingEqual(MergeBlocked):
    """These two guests share neither the home card, nor surname, birth date and address together.

    R18.
    """

    reason = "nothing-equal"


class MergedWithItself(MergeBlocked):
    """A record cannot be merged with itself.

    R18.
    """

    reason = "same-guest"


class MergedBefore(MergeBlocked):
    """This record was already merged into another record.

    R18.
    """

    reason = "merged-before"


class MergedIntoMergedRecord(MergeBlocked):
    """The other record was already merged into a third record. Merge into that one.

    R18.
    """

    reason = "into-signpost"


class MergedIntoDeregistered(MergeBlocked):
    """The other guest is deregistered. Merge that guest into this one instead.

    R18, R21.
    """

    reason = "into-deregistered"


class MergedWithErased(MergeBlocked):
    """The personal data of one of these guests was erased. They can no longer be compared.

    R18, R19.
    """

    reason = "erased"


class Sameness(StrEnum):
    """What shows that two guests are the same person."""

    HOME_CARD = "home-card"
    NAME_BIRTH_DATE_ADDRESS = "surname-birth-date-address"


@dataclass(frozen=True, slots=True)
class Particulars:
    """What is compared. `person_refs`: one for each card number, past and present, at the home library.

    A number that the home library named in its last reply counts too, although it is another guest's (R10).
    """

    person_refs: frozenset[str]
    details: PatronDetails


def may_be_merged(guest: Guest, into: Guest) -> None:
    """Check the conditions that need no personal data (R18).

    Raises MergedWithItself, MergedWithErased, MergedBefore, MergedIntoMergedRecord, MergedIntoDeregistered.
    """
    if guest.id == into.id:
        raise MergedWithItself
    if Status.ERASED in {guest.state.status, into.state.status}:
        raise MergedWithErased
    if guest.state.merged_into is not None:
        raise MergedBefore
    if into.state.merged_into is not None:
        raise MergedIntoMergedRecord
    if into.state.status is Status.DEREGISTERED:
        raise MergedIntoDeregistered


def same_person(one: Particulars, other: Particulars) -> Sameness:
    """Return what shows that both are the same person (R18). An unknown birth date proves and blocks nothing.

    Raises DifferentBirthDates (whatever else is equal), NothingEqual.
    """
    if one.details.born_otherwise(other.details):
        raise DifferentBirthDates
    if one.person_refs & other.person_refs:
        return Sameness.HOME_CARD
    if same_name_birth_date_address(one.details, other.details):
        return Sameness.NAME_BIRTH_DATE_ADDRESS
    raise NothingEqual
