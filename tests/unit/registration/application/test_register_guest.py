"""Registration at the counter: R1 to R5, R7 to R11, R17, R20, R21, through the use case."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest

from registration.application.dependencies import Organisation
from registration.application.register_guest import prepare_registration, register_guest
from registration.domain.errors import (
    AlreadyRegistered,
    AmbiguousHomeLibrary,
    Candidate,
    ChainedGuest,
    GuestRefused,
    HomeLibraryUnavailable,
    HomeLibraryUnknownForCard,
    HomePatronNotFound,
    OwnLibrary,
    UnknownBranch,
    UnknownHomeLibrary,
    UnknownOrganisation,
    UnknownSubscription,
)
from registration.domain.login_link import ExistingAccount, LinkState, NewLoginAccount
from registration.domain.verdict import Reason, Refused, Unavailable, Verdict
from shared.event_log import InMemoryEventLog, SideRow
from shared.kernel.errors import RuleBroken
from shared.kernel.library_card import MalformedCardNumber, MalformedIsil
from tests.support.registration import (
    CARD,
    GRONINGEN,
    JAN,
    RegistrationUseCases,
    member,
    on_day,
    refusal,
    registering,
)

FRYSLAN = Candidate("NL-083424", "Fryslân", "F")
ZEELAND = Candidate("NL-083390", "Zeeland", "MZ1")


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
