"""What the home library replies about a card, before there is a guest (R3, R4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from registration.application.membership import ask_home_patron
from registration.domain.errors import HomeLibraryUnavailable, HomePatronNotFound, UnknownHomeLibrary
from registration.domain.verdict import Reason, Refused, Unavailable, Valid
from shared.kernel.errors import RuleBroken
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from tests.support.registration import CARD, GRONINGEN, JAN, RegistrationUseCases, member


async def test_r4_valid_and_refused_are_answers(in_memory_registration: RegistrationUseCases) -> None:
    assert (
        await ask_home_patron(GRONINGEN, CARD, in_memory_registration.context(), in_memory_registration.deps)
        == member()
    )
    refused = Refused((Reason.FINES,), because_ended=False, details=JAN)
    in_memory_registration.says(refused)
    assert (
        await ask_home_patron(GRONINGEN, CARD, in_memory_registration.context(), in_memory_registration.deps)
        == refused
    )


async def test_r4_valid_until_yesterday_is_refused_as_expired(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.says(member(ends_on=date(2025, 9, 10)))
    answer = await ask_home_patron(
        GRONINGEN, CARD, in_memory_registration.context(), in_memory_registration.deps
    )
    assert isinstance(answer, Refused)
    assert (answer.reasons, answer.ends_on, answer.details) == ((Reason.EXPIRED,), date(2025, 9, 10), JAN)
    in_memory_registration.says(member(ends_on=date(2025, 9, 11)))
    assert isinstance(
        await ask_home_patron(GRONINGEN, CARD, in_memory_registration.context(), in_memory_registration.deps),
        Valid,
    )


async def test_r4_a_guest_subscription_at_home_is_shown_as_it_is(
    in_memory_registration: RegistrationUseCases,
) -> None:
    chained = replace(member(), is_guest_subscription=True)
    in_memory_registration.says(chained)
    assert (
        await ask_home_patron(GRONINGEN, CARD, in_memory_registration.context(), in_memory_registration.deps)
        == chained
    )


@pytest.mark.parametrize(
    ("isil", "card", "error"),
    [
        (GRONINGEN, "0990139999", HomePatronNotFound),
        (GRONINGEN, "0990139370", HomeLibraryUnavailable),
        (GRONINGEN, "0990|", MalformedCardNumber),
        ("L-070288", CARD, MalformedIsil),
        ("NL-000000", CARD, UnknownHomeLibrary),
    ],
)
async def test_r4_no_answer_is_an_error_of_its_own(
    in_memory_registration: RegistrationUseCases, isil: str, card: str, error: type[RuleBroken]
) -> None:
    in_memory_registration.says(Unavailable("closed"), card="0990139370")
    with pytest.raises(error):
        await ask_home_patron(isil, card, in_memory_registration.context(), in_memory_registration.deps)


async def test_r3_a_merged_library_is_asked_under_its_new_isil(
    in_memory_registration: RegistrationUseCases,
) -> None:
    assert (
        await ask_home_patron(
            "NL-070299", CARD, in_memory_registration.context(), in_memory_registration.deps
        )
        == member()
    )
    assert in_memory_registration.home.asked == [(GRONINGEN, CARD)]
