"""An expired guest is registered again (R14, R17), through the use case."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from registration.domain.errors import (
    CardOfAnotherGuest,
    ChainedGuest,
    GuestRefused,
    HomeLibraryUnavailable,
    HomePatronNotFound,
    NotExpired,
    OtherPerson,
    WrongPatronType,
)
from registration.domain.login_link import ExistingAccount
from registration.domain.verdict import NotFound, PatronDetails, Reason, Refused, Unavailable, Verdict
from shared.kernel.errors import RuleBroken
from tests.support.registration import CANCELLED, CARD, JAN, SEPT_15, RegistrationUseCases, member

FINES = Refused((Reason.FINES,), because_ended=False)
NEW_CARD = "0990200000"


async def test_r14_reregistration_gives_a_new_term_fresh_details_and_no_strips(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register_and_expire()
    moved = PatronDetails("J. Jansen", date(1980, 2, 3), "Nieuwe weg 2, Groningen")
    in_memory_registration.says(replace(member(), details=moved))
    in_memory_registration.clock.moment += timedelta(minutes=1)
    await in_memory_registration.reregister(guest_id)
    guest = await in_memory_registration.show(guest_id)
    assert (guest.status, guest.details, guest.lending_strips) == ("valid", moved, 125)
    assert (guest.term.begin, guest.term.end) == (SEPT_15, date(2025, 12, 15))
    assert (guest.home.verdict, guest.home.checked_at) == ("valid", in_memory_registration.clock.now())
    assert (await in_memory_registration.topics()).count("lending-strips-granted") == 1


async def test_r14_a_card_that_was_replaced_meanwhile_becomes_the_canonical_one(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register_and_expire()
    in_memory_registration.says(member(NEW_CARD))
    await in_memory_registration.reregister(guest_id)
    guest = await in_memory_registration.show(guest_id)
    assert (guest.card_number, guest.aliases) == (NEW_CARD, (CARD,))
    assert (await in_memory_registration.topics())[-2:] == ["card-number-changed", "guest-reregistered"]


async def test_r10_a_card_that_was_replaced_by_another_guests_is_refused(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.says(member(NEW_CARD), card=NEW_CARD)
    other_id = await in_memory_registration.register(NEW_CARD)
    guest_id = await in_memory_registration.register_and_expire()
    in_memory_registration.says(member(NEW_CARD))
    position = await in_memory_registration.log.position()
    with pytest.raises(CardOfAnotherGuest) as caught:
        await in_memory_registration.reregister(guest_id)
    assert caught.value.guest_id == other_id
    assert await in_memory_registration.log.position() == position


BORN_LATER = PatronDetails("P. Pieters", date(2001, 1, 1), "Brink 1, Groningen")


@pytest.mark.parametrize(
    "verdict", [replace(member(), details=BORN_LATER), replace(FINES, details=BORN_LATER)]
)
async def test_r25_a_card_that_someone_born_on_another_day_has_now_is_refused(
    in_memory_registration: RegistrationUseCases, verdict: Verdict
) -> None:
    guest_id = await in_memory_registration.register_and_expire()
    position = await in_memory_registration.log.position()
    in_memory_registration.says(verdict)
    with pytest.raises(OtherPerson):
        await in_memory_registration.reregister(guest_id)
    assert await in_memory_registration.log.position() == position


async def test_r25_another_name_alone_is_news(in_memory_registration: RegistrationUseCases) -> None:
    guest_id = await in_memory_registration.register_and_expire()
    married = replace(JAN, name="J. de Vries")
    in_memory_registration.says(replace(member(), details=married))
    await in_memory_registration.reregister(guest_id)
    assert (await in_memory_registration.show(guest_id)).details == married


@pytest.mark.parametrize(
    ("verdict", "error"),
    [
        (CANCELLED, GuestRefused),
        (FINES, GuestRefused),
        (member(ends_on=date(2025, 9, 14)), GuestRefused),
        (replace(member(), is_guest_subscription=True), ChainedGuest),
        (NotFound(), HomePatronNotFound),
        (Unavailable("down"), HomeLibraryUnavailable),
    ],
)
async def test_r14_home_has_the_last_word(
    in_memory_registration: RegistrationUseCases, verdict: Verdict, error: type[RuleBroken]
) -> None:
    guest_id = await in_memory_registration.register_and_expire()
    position = await in_memory_registration.log.position()
    in_memory_registration.says(verdict)
    with pytest.raises(error):
        await in_memory_registration.reregister(guest_id)
    assert await in_memory_registration.log.position() == position


async def test_r14_type_and_state_are_checked_before_home_is_asked(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    asked = len(in_memory_registration.home.asked)
    with pytest.raises(NotExpired):
        await in_memory_registration.reregister(guest_id)
    with pytest.raises(WrongPatronType):
        await in_memory_registration.reregister(guest_id, "05")
    assert len(in_memory_registration.home.asked) == asked


async def test_r14_a_login_account_may_be_chosen_with_it(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register_and_expire()
    await in_memory_registration.reregister(guest_id, account=ExistingAccount("acc-jan"))
    assert (await in_memory_registration.show(guest_id)).login_link.account_id == "acc-jan"
    assert await in_memory_registration.deps.registrations.guests_asking_for("1001", "acc-jan") == [guest_id]
