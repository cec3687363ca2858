"""Whether two guests are one person, so that one may become a signpost to the other: ontdubbelen (R18)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registration.domain.guest import Guest
from registration.domain.merge_obstacles import (
    DifferentBirthDates,
    MergedBefore,
    MergedIntoDeregistered,
    MergedIntoSignpost,
    MergedWithErased,
    MergedWithItself,
    NothingEqual,
)
from registration.domain.plain_words import address_of, surname_of
from registration.domain.term_check import Status
from registration.domain.verdict import PatronDetails


class Sameness(StrEnum):
    """What shows that two guests are one person."""

    HOME_CARD = "home-card"
    NAME_BIRTH_DATE_ADDRESS = "surname-birth-date-address"


@dataclass(frozen=True, slots=True)
class Particulars:
    """What is compared. `person_refs`: of all card numbers that home knows the person by, or knew."""

    person_refs: frozenset[str]
    details: PatronDetails


def may_be_merged(guest: Guest, into: Guest) -> None:
    """Check what needs no personal data.

    Raises MergedWithItself, MergedWithErased, MergedBefore, MergedIntoSignpost, MergedIntoDeregistered.
    """
    if guest.id == into.id:
        raise MergedWithItself
    if Status.ERASED in {guest.state.status, into.state.status}:
        raise MergedWithErased
    if guest.state.merged_into is not None:
        raise MergedBefore
    if into.state.merged_into is not None:
        raise MergedIntoSignpost
    if into.state.status is Status.DEREGISTERED:
        raise MergedIntoDeregistered


def same_person(one: Particulars, other: Particulars) -> Sameness:
    """Say what shows that these are one person; an unknown birth date shows nothing, and blocks nothing.

    Raises DifferentBirthDates (whatever else is equal), NothingEqual.
    """
    born, other_born = one.details.birth_date, other.details.birth_date
    if born and other_born and born != other_born:
        raise DifferentBirthDates
    if one.person_refs & other.person_refs:
        return Sameness.HOME_CARD
    if born and other_born and _same_name_and_address(one.details, other.details):
        return Sameness.NAME_BIRTH_DATE_ADDRESS
    raise NothingEqual


def _same_name_and_address(one: PatronDetails, other: PatronDetails) -> bool:
    surname, address = surname_of(one.name), address_of(one.address or "")
    return (
        bool(surname and address)
        and surname == surname_of(other.name)
        and address == address_of(other.address or "")
    )
