"""Registration at the counter: R1 to R5, R7 to R11, R17, R20, R21, through the use case."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from uuid import UUID, uuid4

import pytest

from registration.adapters.in_memory import InMemoryLookups
from registration.application.dependencies import Organisation
from registration.application.register_guest import RegisterGuest, prepare_registration, register_guest
from registration.domain.errors import (
    AlreadyRegistered,
    AmbiguousHomeLibrary,
    Candidate,
    CardOfAnotherGuest,
    ChainedGuest,
    GuestRefused,
    HomeLibraryUnavailable,
    HomeLibraryUnknownForCard,
    HomePatronNotFound,
    LikelyDuplicate,
    LikelyGuest,
    OtherPerson,
    OwnLibrary,
    UnknownBranch,
    UnknownHomeLibrary,
    UnknownOrganisation,
    UnknownSubscription,
)
from registration.domain.login_link import ExistingAccount, LinkState, NewLoginAccount
from registration.domain.merge import NothingEqual
from registration.domain.verdict import PatronDetails, Reason, Refused, Unavailable, Valid, Verdict
from shared.event_log import InMemoryEventLog, SideRow
from shared.kernel.errors import RuleBroken
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from tests.support.registration import (
    CARD,
    GRONINGEN,
    JAN,
    MERGED,
    RegistrationUseCases,
    member,
    on_day,
    registering,
)

FRYSLAN = Candidate("NL-083424", "Fryslân", "F")
ZEELAND = Candidate("NL-083390", "Zeeland", "MZ1")
OLD_CARD = "0990139362"


def refused_with(number: str) -> Refused:
    """A block, from a library that names the present number of the card."""
    return Refused((Reason.FINES,), because_ended=False, details=JAN, canonical_card_number=number)


async def refusal(
    in_memory_registration: RegistrationUseCases, command: RegisterGuest, organisation: str = "1001"
) -> RuleBroken:
    """The rule that was broken, having checked that nothing was written."""
    position = await in_memory_registration.log.position()
    rows = _rows(in_memory_registration)
    with pytest.raises(RuleBroken) as caught:
        await register_guest(
            command, in_memory_registration.context(organisation), in_memory_registration.deps
        )
    assert await in_memory_registration.log.position() == position
    assert _rows(in_memory_registration) == rows
    return caught.value


def _rows(in_memory_registration: RegistrationUseCases) -> list[int]:
    assert isinstance(in_memory_registration.log, InMemoryEventLog)
    return [
        len(in_memory_registration.log.rows(table))
        for table in ("registrations", "registration_accounts", "data_keys")
    ]


async def test_a_registration_is_shown_as_the_contract_has_it(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest = await in_memory_registration.show(await in_memory_registration.register())
    assert guest.status == "valid"
    assert (guest.organisation, guest.branch, guest.home_isil) == ("1001", "9453", GRONINGEN)
    assert (guest.card_number, guest.aliases, guest.details) == (CARD, (), JAN)
    assert (guest.home.verdict, guest.home.checked_at) == ("valid", in_memory_registration.clock.now())
    assert (guest.header, guest.expires_on) == ("Normaal December 2025", date(2025, 12, 31))
    assert (guest.term.end, guest.term.provisional, guest.term.stale) == (date(2025, 12, 11), True, False)
    assert (guest.lending_strips, guest.version) == (125, 2)


async def test_r6_the_day_of_registration_is_the_day_in_amsterdam(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.clock.moment = on_day(date(2025, 9, 11)).replace(hour=22, minute=30)
    assert (await in_memory_registration.show(await in_memory_registration.register())).term.begin == date(
        2025, 9, 12
    )


@pytest.mark.parametrize("card", ["", " ", "0990|39305", "099\r39305", "0" * 21, "kaart 1"])
async def test_r1_a_malformed_card_number_is_refused(
    in_memory_registration: RegistrationUseCases, card: str
) -> None:
    assert isinstance(await refusal(in_memory_registration, registering(card)), MalformedCardNumber)
    assert in_memory_registration.home.asked == []


async def test_r1_a_card_number_is_trimmed_and_keeps_its_leading_zero(
    in_memory_registration: RegistrationUseCases,
) -> None:
    assert (
        await in_memory_registration.show(await in_memory_registration.register(f" {CARD} "))
    ).card_number == CARD


async def test_r2_one_library_for_the_card_is_filled_in(in_memory_registration: RegistrationUseCases) -> None:
    in_memory_registration.prefixes.by_prefix["9901"] = [replace(FRYSLAN, isil=GRONINGEN)]
    written = await register_guest(
        registering(home_isil=None), in_memory_registration.context(), in_memory_registration.deps
    )
    assert (await in_memory_registration.show(written.resource_id)).home_isil == GRONINGEN


async def test_r2_two_libraries_for_the_card_leave_the_choice_to_the_clerk(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.prefixes.by_prefix = {"9901": [FRYSLAN], "0990": [ZEELAND, FRYSLAN]}
    error = await refusal(in_memory_registration, registering(home_isil=None))
    assert isinstance(error, AmbiguousHomeLibrary)
    assert error.candidates == (FRYSLAN, ZEELAND)


async def test_r2_no_library_for_the_card_asks_for_its_isil(
    in_memory_registration: RegistrationUseCases,
) -> None:
    assert isinstance(
        await refusal(in_memory_registration, registering(home_isil=None)), HomeLibraryUnknownForCard
    )


async def test_r3_a_malformed_isil_is_refused(in_memory_registration: RegistrationUseCases) -> None:
    assert isinstance(await refusal(in_memory_registration, registering(home_isil="L-070288")), MalformedIsil)


async def test_r3_an_unknown_isil_is_refused(in_memory_registration: RegistrationUseCases) -> None:
    assert isinstance(
        await refusal(in_memory_registration, registering(home_isil="NL-000000")), UnknownHomeLibrary
    )


async def test_r3_a_library_that_merged_is_reached_under_its_new_isil(
    in_memory_registration: RegistrationUseCases,
) -> None:
    written = await register_guest(
        registering(home_isil="nl-070299"), in_memory_registration.context(), in_memory_registration.deps
    )
    assert (await in_memory_registration.show(written.resource_id)).home_isil == GRONINGEN


@pytest.mark.parametrize("reason", [Reason.EXPIRED, Reason.FINES, Reason.CARD_LOST])
async def test_r4_refused_at_home_is_refused_here_with_the_reasons(
    in_memory_registration: RegistrationUseCases, reason: Reason
) -> None:
    in_memory_registration.says(Refused((reason,), because_ended=reason is Reason.EXPIRED))
    error = await refusal(in_memory_registration, registering())
    assert isinstance(error, GuestRefused)
    assert error.reasons == (reason,)


async def test_r4_valid_with_an_end_already_past_is_refused_as_expired(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.says(member(ends_on=date(2025, 9, 10)))
    error = await refusal(in_memory_registration, registering())
    assert isinstance(error, GuestRefused)
    assert error.reasons == (Reason.EXPIRED,)


async def test_r4_unavailable_says_try_again_and_never_blocked(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.says(Unavailable("timed out"))
    assert isinstance(await refusal(in_memory_registration, registering()), HomeLibraryUnavailable)


async def test_r4_a_card_that_home_does_not_know_is_not_found(
    in_memory_registration: RegistrationUseCases,
) -> None:
    assert isinstance(await refusal(in_memory_registration, registering("0990139999")), HomePatronNotFound)


async def test_r5_the_details_are_the_home_librarys(in_memory_registration: RegistrationUseCases) -> None:
    assert (await in_memory_registration.show(await in_memory_registration.register())).details == JAN


async def test_r7_an_unknown_subscription_is_refused(in_memory_registration: RegistrationUseCases) -> None:
    command = replace(registering(), subscription_code="347")
    assert isinstance(await refusal(in_memory_registration, command), UnknownSubscription)


async def test_a_branch_of_another_organisation_is_refused(
    in_memory_registration: RegistrationUseCases,
) -> None:
    assert isinstance(await refusal(in_memory_registration, registering(branch="1")), UnknownBranch)
    assert isinstance(await refusal(in_memory_registration, registering(), "9999"), UnknownOrganisation)


async def test_r8_strips_are_an_event_of_their_own_in_the_same_save(
    in_memory_registration: RegistrationUseCases,
) -> None:
    await in_memory_registration.register()
    assert await in_memory_registration.topics() == ["guest-registered", "lending-strips-granted"]


async def test_r8_a_library_can_switch_the_strips_off(in_memory_registration: RegistrationUseCases) -> None:
    guest = await in_memory_registration.show(
        await in_memory_registration.register(organisation="2002"), "2002"
    )
    assert guest.lending_strips == 0
    assert await in_memory_registration.topics() == ["guest-registered"]


@pytest.mark.parametrize("chip", [True, False])
async def test_r9_self_service_goes_with_the_chip(
    in_memory_registration: RegistrationUseCases, chip: bool
) -> None:
    written = await register_guest(
        registering(chip=chip), in_memory_registration.context(), in_memory_registration.deps
    )
    assert (await in_memory_registration.show(written.resource_id)).self_service is chip


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


@pytest.mark.parametrize("own", ["NL-070288", "NL-0702880001", "NL-070299"])
async def test_r11_a_card_of_the_organisation_itself_is_refused(
    in_memory_registration: RegistrationUseCases, own: str
) -> None:
    for isil in (GRONINGEN, "NL-0702880009", "NL-070299"):
        organisation = Organisation("1001", "Groningen", frozenset({isil}), {"9453": "Roden"})
        in_memory_registration.deps = replace(
            in_memory_registration.deps, organisations={"1001": organisation}
        )
        assert isinstance(await refusal(in_memory_registration, registering(home_isil=own)), OwnLibrary)


async def test_r11_a_guest_subscription_at_home_is_refused(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.says(replace(member(), is_guest_subscription=True))
    assert isinstance(await refusal(in_memory_registration, registering()), ChainedGuest)


async def test_r17_an_existing_account_is_pending_and_in_the_index(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register(account=ExistingAccount("acc-jan"))
    link = (await in_memory_registration.show(guest_id)).login_link
    assert (link.state, link.account_id) == (LinkState.PENDING, "acc-jan")
    assert await in_memory_registration.deps.registrations.guests_asking_for("1001", "acc-jan") == [guest_id]


async def test_r17_a_new_account_gets_its_id_here(in_memory_registration: RegistrationUseCases) -> None:
    guest_id = await in_memory_registration.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    account_id = (await in_memory_registration.show(guest_id)).login_link.account_id
    assert account_id is not None
    assert account_id.startswith("acc-")
    assert await in_memory_registration.deps.registrations.guests_asking_for("1001", account_id) == [guest_id]


async def test_r19_nothing_personal_is_readable_in_the_log(
    in_memory_registration: RegistrationUseCases,
) -> None:
    await in_memory_registration.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    written = b"".join([event.state for event in await in_memory_registration.log.read(0, 10)])
    for personal in (CARD, JAN.name, JAN.address, JAN.email, "jan.jansen", "1980"):
        assert str(personal).encode() not in written


async def test_r20_every_event_says_who_caused_it(in_memory_registration: RegistrationUseCases) -> None:
    await in_memory_registration.register()
    assert {event.metadata.caused_by for event in await in_memory_registration.log.read(0, 10)} == {"clerk"}


async def test_r21_a_deregistered_card_is_registered_afresh_as_the_same_guest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    await in_memory_registration.deregister(guest_id, "verkeerde klant")
    assert (await in_memory_registration.show(guest_id)).status == "deregistered"
    assert await in_memory_registration.register(account=ExistingAccount("acc-jan")) == guest_id
    guest = await in_memory_registration.show(guest_id)
    assert (guest.status, guest.lending_strips, guest.login_link.account_id) == ("valid", 125, "acc-jan")
    assert await in_memory_registration.topics() == [
        "guest-registered",
        "lending-strips-granted",
        "guest-deregistered",
        "guest-registered",
    ]


async def test_r21_two_counters_registering_afresh_at_once_give_one_event(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    await in_memory_registration.deregister(guest_id, "verkeerde klant")
    outcomes = await asyncio.gather(
        *(in_memory_registration.register() for _ in range(4)), return_exceptions=True
    )
    assert outcomes.count(guest_id) == 1
    assert sum(isinstance(outcome, AlreadyRegistered) for outcome in outcomes) == 3


@pytest.mark.parametrize("verdict", [Unavailable("timed out"), Refused((Reason.FINES,), because_ended=False)])
async def test_r21_registering_afresh_asks_home_again(
    in_memory_registration: RegistrationUseCases, verdict: Verdict
) -> None:
    guest_id = await in_memory_registration.register()
    await in_memory_registration.deregister(guest_id, "verkeerde klant")
    in_memory_registration.says(verdict)
    await refusal(in_memory_registration, registering())


async def test_the_commands_own_rows_come_first_and_know_the_guest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    seen: list[UUID] = []

    def rows(guest_id: UUID) -> Sequence[SideRow]:
        seen.append(guest_id)
        return [SideRow("idempotency_keys", {"key": "1", "resource_id": guest_id})]

    context = replace(in_memory_registration.context(), side_rows=rows)
    written = await register_guest(registering(), context, in_memory_registration.deps)
    assert isinstance(in_memory_registration.log, InMemoryEventLog)
    assert in_memory_registration.log.rows("idempotency_keys") == [
        {"key": "1", "resource_id": written.resource_id}
    ]
    assert seen == [written.resource_id]
    assert written.position == 2


@pytest.mark.parametrize(
    ("verdict", "error"),
    [
        (Refused((Reason.FINES,), because_ended=False), GuestRefused),
        (replace(member(), is_guest_subscription=True), ChainedGuest),
    ],
)
async def test_r4_r11_what_registering_would_refuse_is_refused_before(
    in_memory_registration: RegistrationUseCases, verdict: Verdict, error: type[RuleBroken]
) -> None:
    in_memory_registration.says(verdict)
    with pytest.raises(error):
        await prepare_registration(
            CARD, GRONINGEN, in_memory_registration.context(), in_memory_registration.deps
        )
    assert await in_memory_registration.topics() == []


async def test_r11_an_own_card_is_refused_before_home_is_asked(
    in_memory_registration: RegistrationUseCases,
) -> None:
    own = next(iter(in_memory_registration.deps.organisations["1001"].isils))
    with pytest.raises(OwnLibrary):
        await prepare_registration(CARD, own, in_memory_registration.context(), in_memory_registration.deps)
    assert in_memory_registration.home.asked == []
