"""Who is a guest already: by any number (R10, R25), or by likeness (R28)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from uuid import UUID, uuid4

import pytest

from registration.adapters.in_memory import InMemoryLookups
from registration.application.register_guest import prepare_registration, register_guest
from registration.domain.errors import (
    AlreadyRegistered,
    CardOfAnotherGuest,
    LikelyDuplicate,
    LikelyGuest,
    OtherPerson,
)
from registration.domain.merge import NothingEqual
from registration.domain.verdict import PatronDetails, Reason, Refused, Unavailable, Valid, Verdict
from tests.support.registration import (
    CARD,
    GRONINGEN,
    JAN,
    MERGED,
    RegistrationUseCases,
    member,
    refusal,
    registering,
)

OLD_CARD = "0990139362"


def refused_with(number: str) -> Refused:
    """A block, from a library that names the present number of the card."""
    return Refused((Reason.FINES,), because_ended=False, details=JAN, canonical_card_number=number)


async def test_r10_a_second_registration_names_the_guest_even_when_home_is_silent(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    in_memory_registration.says(Unavailable("timed out"))
    error = await refusal(in_memory_registration, registering())
    assert isinstance(error, AlreadyRegistered)
    assert error.guest_id == guest_id


async def test_r10_two_counters_at_once_give_one_event(in_memory_registration: RegistrationUseCases) -> None:
    outcomes = await asyncio.gather(
        *(in_memory_registration.register() for _ in range(8)), return_exceptions=True
    )
    winners = {outcome for outcome in outcomes if isinstance(outcome, UUID)}
    losers = {outcome.guest_id for outcome in outcomes if isinstance(outcome, AlreadyRegistered)}
    assert len(winners) == 1
    assert losers == winners
    assert (await in_memory_registration.topics()).count("guest-registered") == 1


async def test_r10_each_library_has_its_own_guest_for_a_person(
    in_memory_registration: RegistrationUseCases,
) -> None:
    assert await in_memory_registration.register() != await in_memory_registration.register(
        organisation="2002"
    )


async def test_r10_homes_number_is_canonical_and_the_scanned_one_an_alias(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.says(member(CARD), card=OLD_CARD)
    guest = await in_memory_registration.show(await in_memory_registration.register(OLD_CARD))
    assert (guest.card_number, guest.aliases) == (CARD, (OLD_CARD,))


@pytest.mark.parametrize("again", [CARD, OLD_CARD])
@pytest.mark.parametrize("first", [CARD, OLD_CARD])
async def test_r10_either_number_finds_the_guest(
    in_memory_registration: RegistrationUseCases, first: str, again: str
) -> None:
    in_memory_registration.says(member(CARD), card=OLD_CARD)
    guest_id = await in_memory_registration.register(first)
    with pytest.raises(AlreadyRegistered) as already:
        await in_memory_registration.register(again)
    assert already.value.guest_id == guest_id
    assert already.value.by_other_number is (first == CARD and again == OLD_CARD)


@pytest.mark.parametrize("verdict", [member(CARD), refused_with(CARD)], ids=["valid", "refused"])
async def test_r10_a_replaced_card_leads_to_the_guest_at_once_and_is_kept(
    in_memory_registration: RegistrationUseCases, verdict: Verdict
) -> None:
    guest_id = await in_memory_registration.register(CARD)
    in_memory_registration.says(verdict, card=OLD_CARD)
    in_memory_registration.home.asked.clear()
    for asked in ([(GRONINGEN, OLD_CARD)], []):  # the second time the index has the number
        with pytest.raises(AlreadyRegistered) as already:
            await prepare_registration(
                OLD_CARD, GRONINGEN, in_memory_registration.context(), in_memory_registration.deps
            )
        assert already.value.guest_id == guest_id
        assert in_memory_registration.home.asked == asked
        in_memory_registration.home.asked.clear()
    guest = await in_memory_registration.show(guest_id)
    assert (guest.card_number, guest.aliases) == (CARD, (OLD_CARD,))
    assert (await in_memory_registration.topics()).count("card-number-changed") == 1


async def test_r25_a_replaced_card_of_somebody_else_changes_nothing(
    in_memory_registration: RegistrationUseCases,
) -> None:
    await in_memory_registration.register(CARD)
    other = Valid(replace(JAN, birth_date=date(2001, 1, 1)), None, CARD)
    in_memory_registration.says(other, card=OLD_CARD)
    assert isinstance(await refusal(in_memory_registration, registering(OLD_CARD)), OtherPerson)


async def test_r10_the_number_of_a_guest_who_was_here_before_stays_with_that_guest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.says(member(OLD_CARD), card=OLD_CARD)
    former = await in_memory_registration.register(OLD_CARD)
    await in_memory_registration.deregister(former)
    guest_id = await in_memory_registration.register(CARD)
    in_memory_registration.says(member(CARD), card=OLD_CARD)
    error = await refusal(in_memory_registration, registering(OLD_CARD))
    assert isinstance(error, AlreadyRegistered)
    assert error.guest_id == guest_id


NEW_CARD = "0990139399"
ELSEWHERE = "NL-083424"


async def arrives(
    in_memory_registration: RegistrationUseCases, details: PatronDetails = JAN, isil: str = GRONINGEN
) -> UUID:
    """A guest, who looks like everybody; and a patron with a card that is new here."""
    guest_id = await in_memory_registration.register()
    in_memory_registration.people.guest_ids = [guest_id]
    at = GRONINGEN if isil == MERGED else isil
    in_memory_registration.home.answers(at, NEW_CARD, Valid(details, date(2026, 5, 5), NEW_CARD))
    return guest_id


@pytest.mark.parametrize("isil", [GRONINGEN, MERGED, ELSEWHERE])
async def test_r28_a_likely_duplicate_is_told_at_once_and_before_it_is_saved(
    in_memory_registration: RegistrationUseCases, isil: str
) -> None:
    guest_id = await arrives(in_memory_registration, replace(JAN, name="Jansen, J."), isil)
    expected = (LikelyGuest(guest_id, same_home_library=isil != ELSEWHERE),)
    prepared = await prepare_registration(
        NEW_CARD, isil, in_memory_registration.context(), in_memory_registration.deps
    )
    assert tuple(prepared.likely) == expected
    error = await refusal(in_memory_registration, registering(NEW_CARD, home_isil=isil))
    assert isinstance(error, LikelyDuplicate)
    assert error.candidates == expected
    recorded = in_memory_registration.deps.lookups
    assert isinstance(recorded, InMemoryLookups)
    assert [(lookup.outcome, lookup.guest_ids) for _, lookup in recorded.recorded] == [
        ("valid", [guest_id]),
        ("likely-duplicate", [guest_id]),
    ]


@pytest.mark.parametrize(
    "details",
    [
        replace(JAN, name="P. de Vries"),
        replace(JAN, birth_date=date(1980, 2, 4)),
        replace(JAN, birth_date=None),
        replace(JAN, address="Brink 2, Groningen"),
        replace(JAN, address=None),
    ],
)
async def test_r28_who_differs_in_one_of_the_three_is_registered(
    in_memory_registration: RegistrationUseCases, details: PatronDetails
) -> None:
    guest_id = await arrives(in_memory_registration, details)
    assert await in_memory_registration.register(NEW_CARD) != guest_id


async def test_r28_a_guest_who_is_no_longer_registered_is_no_duplicate(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await arrives(in_memory_registration)
    await in_memory_registration.deregister(guest_id)
    assert await in_memory_registration.register(NEW_CARD) != guest_id


async def test_r28_somebody_else_is_registered_when_each_candidate_was_named(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await arrives(in_memory_registration)
    deps, context = in_memory_registration.deps, in_memory_registration.context()
    wrong = replace(registering(NEW_CARD), not_same_as=frozenset({uuid4()}))
    assert isinstance(await refusal(in_memory_registration, wrong), LikelyDuplicate)
    right = replace(registering(NEW_CARD), not_same_as=frozenset({guest_id}))
    assert (await register_guest(right, context, deps)).resource_id != guest_id


async def test_r28_the_same_person_gets_the_new_number_and_keeps_the_rest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await arrives(in_memory_registration, replace(JAN, email="new@example.org"))
    in_memory_registration.says(Refused((Reason.CARD_LOST,), because_ended=False))
    assert (await in_memory_registration.check(guest_id)).status == "suspended"
    command = replace(registering(NEW_CARD), same_as=guest_id)
    result = await register_guest(command, in_memory_registration.context(), in_memory_registration.deps)
    assert result.resource_id == guest_id
    guest = await in_memory_registration.show(guest_id)
    assert (guest.card_number, guest.aliases, guest.status) == (NEW_CARD, (CARD,), "valid")
    assert (guest.details, guest.lending_strips) == (replace(JAN, email="new@example.org"), 125)
    assert (guest.home.verdict, guest.term.end) == ("valid", date(2026, 5, 5))
    for card in (CARD, NEW_CARD):
        error = await refusal(in_memory_registration, registering(card))
        assert isinstance(error, AlreadyRegistered)
        assert error.guest_id == guest_id
    assert (await in_memory_registration.topics()).count("guest-registered") == 1


async def test_r28_only_a_candidate_of_the_same_library_gets_the_number(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await arrives(in_memory_registration, isil=ELSEWHERE)
    for isil, same_as in ((ELSEWHERE, guest_id), (ELSEWHERE, uuid4())):
        command = replace(registering(NEW_CARD, home_isil=isil), same_as=same_as)
        assert isinstance(await refusal(in_memory_registration, command), NothingEqual)


async def test_r28_a_number_that_was_another_guests_stays_with_that_guest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await arrives(in_memory_registration)
    in_memory_registration.people.guest_ids = []
    former = await in_memory_registration.register(NEW_CARD)
    await in_memory_registration.deregister(former)
    in_memory_registration.people.guest_ids = [guest_id]
    error = await refusal(in_memory_registration, replace(registering(NEW_CARD), same_as=guest_id))
    assert isinstance(error, CardOfAnotherGuest)
    assert error.guest_id == former


async def test_r10_two_counters_with_either_number_give_one_event(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.says(member(CARD), card=OLD_CARD)
    outcomes = await asyncio.gather(
        *(in_memory_registration.register(card) for card in (CARD, OLD_CARD, CARD, OLD_CARD)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, UUID) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, AlreadyRegistered) for outcome in outcomes) == 3


async def test_r10_who_registered_before_a_merger_of_libraries_is_found_after_it(
    in_memory_registration: RegistrationUseCases,
) -> None:
    merged = in_memory_registration.deps
    in_memory_registration.deps = replace(merged, isil_aliases={})
    in_memory_registration.home.answers("NL-083424", CARD, member())
    command = registering(home_isil="NL-083424")
    guest_id = (
        await register_guest(command, in_memory_registration.context(), in_memory_registration.deps)
    ).resource_id
    in_memory_registration.deps = replace(merged, isil_aliases={"NL-083424": GRONINGEN})
    error = await refusal(in_memory_registration, registering())
    assert isinstance(error, AlreadyRegistered)
    assert error.guest_id == guest_id
