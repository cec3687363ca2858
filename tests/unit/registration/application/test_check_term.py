"""The home library is asked about a guest's term, when a clerk opens the guest (R12, R13)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pytest

from registration.application.check_term import check_term
from registration.domain.verdict import UNREADABLE, NotFound, Reason, Refused, Unavailable, Verdict
from shared.kernel.errors import RuleBroken
from tests.support.registration import CANCELLED, GRONINGEN, SEPT_15, RegistrationUseCases, member

NEXT_YEAR = date(2026, 12, 31)
FINES = Refused((Reason.FINES,), because_ended=False)
NEW_CARD = "0990200000"


async def test_r12_the_check_confirms_homes_end(in_memory_registration: RegistrationUseCases) -> None:
    guest_id = await in_memory_registration.register()
    in_memory_registration.says(member(ends_on=NEXT_YEAR))
    guest = await in_memory_registration.check(guest_id)
    assert (guest.term.end, guest.term.provisional, guest.term.stale) == (NEXT_YEAR, False, False)
    assert guest.header == "Normaal December 2026"
    assert guest.home.checked_at == in_memory_registration.clock.now()


async def test_r12_running_twice_writes_nothing_more(in_memory_registration: RegistrationUseCases) -> None:
    guest_id = await in_memory_registration.register()
    await in_memory_registration.check(guest_id)
    position = await in_memory_registration.log.position()
    await in_memory_registration.check(guest_id)
    assert await in_memory_registration.log.position() == position


@pytest.mark.parametrize(
    ("verdict", "shown"),
    [(Unavailable("down"), "unavailable"), (NotFound(), "not_found"), (member(), "valid")],
)
async def test_r12_without_an_answer_the_term_is_stale_until_there_is_one(
    in_memory_registration: RegistrationUseCases, verdict: Verdict, shown: str
) -> None:
    if shown == "valid":
        verdict = replace(member(), ends_on=UNREADABLE)
    guest_id = await in_memory_registration.register()
    position = await in_memory_registration.log.position()
    in_memory_registration.says(verdict)
    guest = await in_memory_registration.check(guest_id)
    assert (guest.status, guest.term.stale, guest.home.verdict) == ("valid", True, shown)
    assert guest.term.end == date(2025, 12, 11)
    assert await in_memory_registration.log.position() == position
    in_memory_registration.says(member(ends_on=NEXT_YEAR))
    assert not (await in_memory_registration.check(guest_id, SEPT_15)).term.stale


async def test_r12_a_block_suspends_and_shows_why(in_memory_registration: RegistrationUseCases) -> None:
    guest_id = await in_memory_registration.register()
    in_memory_registration.says(FINES)
    guest = await in_memory_registration.check(guest_id)
    assert (guest.status, guest.header) == ("suspended", "Geblokkeerd")
    assert (guest.home.verdict, guest.home.reasons) == ("refused", ("fines",))
    in_memory_registration.says(member(ends_on=NEXT_YEAR))
    assert (await in_memory_registration.check(guest_id)).status == "valid"


async def test_r13_opening_an_expired_guest_shows_whether_reregistration_would_succeed(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register_and_expire()
    guest = await in_memory_registration.check(guest_id)
    assert (guest.status, guest.home.verdict) == ("expired", "valid")
    in_memory_registration.says(CANCELLED)
    assert (await in_memory_registration.check(guest_id)).home.verdict == "refused"


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (member(ends_on=date(2025, 9, 14)), "expired-subscription"),
        (replace(member(), is_guest_subscription=True), "guest-subscription"),
    ],
)
async def test_r13_what_reregistration_would_refuse_is_not_shown_as_valid(
    in_memory_registration: RegistrationUseCases, verdict: Verdict, reason: str
) -> None:
    guest_id = await in_memory_registration.register_and_expire()
    in_memory_registration.says(verdict)
    home = (await in_memory_registration.check(guest_id)).home
    assert (home.verdict, home.reasons) == ("refused", (reason,))


async def test_r12_an_answer_from_before_a_reregistration_does_not_undo_it(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register_and_expire()

    async def meanwhile() -> None:
        in_memory_registration.clock.moment += timedelta(seconds=3)
        await in_memory_registration.reregister(guest_id)

    deps = replace(in_memory_registration.deps, home_libraries=SlowlyCancelled(meanwhile))
    await check_term(guest_id, in_memory_registration.context(), deps)
    guest = await in_memory_registration.show(guest_id)
    assert (guest.status, guest.home.verdict) == ("valid", "valid")


@dataclass
class SlowlyCancelled:
    """Home libraries that say "cancelled" after something else had the time to happen."""

    meanwhile: Callable[[], Awaitable[None]]

    async def ask(self, isil: str, card_number: str) -> Verdict:
        await self.meanwhile()
        return CANCELLED

    def connections(self, isil: str) -> int:
        return 1


async def test_r12_a_library_gone_from_the_settings_is_unavailable(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    in_memory_registration.deps = replace(in_memory_registration.deps, isil_aliases={GRONINGEN: "NL-000000"})
    assert (await in_memory_registration.check(guest_id)).home.verdict == "unavailable"


async def test_r21_a_deregistered_guest_is_not_asked_about(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    await in_memory_registration.deregister(guest_id, "verkeerde klant")
    asked = len(in_memory_registration.home.asked)
    await check_term(guest_id, in_memory_registration.context(), in_memory_registration.deps)
    assert len(in_memory_registration.home.asked) == asked


async def test_r10_a_number_that_home_gave_out_since_finds_the_same_guest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    in_memory_registration.says(member(NEW_CARD, NEXT_YEAR))
    await in_memory_registration.check(guest_id)
    in_memory_registration.says(member(NEW_CARD, NEXT_YEAR), card=NEW_CARD)
    with pytest.raises(RuleBroken) as caught:
        await in_memory_registration.register(NEW_CARD)
    assert getattr(caught.value, "guest_id", None) == guest_id
