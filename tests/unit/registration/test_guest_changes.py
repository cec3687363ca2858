"""What happens to a guest after registration, through the use cases: R12 to R14, R17, R20, R21."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from uuid import UUID, uuid4

import pytest

from registration.application.answer_identity import NewAccount, new_account
from registration.application.check_term import check_term
from registration.application.deregister_guest import deregister_guest
from registration.application.link_login_account import request_account_link, unlink_login_account
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.application.show_guest import GuestView
from registration.domain.errors import (
    AlreadyLinked,
    ChainedGuest,
    GuestNotFound,
    GuestRefused,
    HomeLibraryUnavailable,
    HomePatronNotFound,
    NotExpired,
    NotLinked,
    WrongPatronType,
)
from registration.domain.guest import Guest
from registration.domain.login_link import ExistingAccount, LoginAccountChoice, NewLoginAccount
from registration.domain.verdict import (
    UNREADABLE,
    NotFound,
    PatronDetails,
    Reason,
    Refused,
    Unavailable,
    Verdict,
)
from shared.event_log import CommandResult, erasure_row
from shared.kernel.errors import RuleBroken
from tests.support.registration import CARD, GRONINGEN, Desk, make_desk, member, on_day

SEPT_15 = date(2025, 9, 15)
NEXT_YEAR = date(2026, 12, 31)
CANCELLED = Refused((Reason.EXPIRED,), because_ended=True)
FINES = Refused((Reason.FINES,), because_ended=False)
NEW_CARD = "0990200000"


@pytest.fixture
def desk() -> Desk:
    return make_desk()


async def check(desk: Desk, guest_id: UUID, day: date = SEPT_15) -> GuestView:
    desk.clock.moment = max(on_day(day), desk.clock.moment + timedelta(seconds=1))
    await check_term(guest_id, desk.context(), desk.deps)
    return await desk.show(guest_id)


async def expired_guest(desk: Desk) -> UUID:
    guest_id = await desk.register()
    desk.says(CANCELLED)
    assert (await check(desk, guest_id)).status == "expired"
    desk.says(member())
    return guest_id


async def reregister(
    desk: Desk, guest_id: UUID, patron_type: str = "04", account: LoginAccountChoice | None = None
) -> CommandResult:
    command = ReregisterGuest(guest_id, patron_type, account)
    return await reregister_guest(command, desk.context(), desk.deps)


async def test_r12_the_check_confirms_homes_end(desk: Desk) -> None:
    guest_id = await desk.register()
    desk.says(member(ends_on=NEXT_YEAR))
    guest = await check(desk, guest_id)
    assert (guest.term.end, guest.term.provisional, guest.term.stale) == (NEXT_YEAR, False, False)
    assert guest.header == "Normaal December 2026"
    assert guest.home.checked_at == desk.clock.now()


async def test_r12_running_twice_writes_nothing_more(desk: Desk) -> None:
    guest_id = await desk.register()
    await check(desk, guest_id)
    position = await desk.log.position()
    await check(desk, guest_id)
    assert await desk.log.position() == position


@pytest.mark.parametrize(
    ("verdict", "told"),
    [(Unavailable("down"), "unavailable"), (NotFound(), "not_found"), (member(), "valid")],
)
async def test_r12_without_an_answer_the_term_is_stale_until_there_is_one(
    desk: Desk, verdict: Verdict, told: str
) -> None:
    if told == "valid":
        verdict = replace(member(), ends_on=UNREADABLE)
    guest_id = await desk.register()
    position = await desk.log.position()
    desk.says(verdict)
    guest = await check(desk, guest_id)
    assert (guest.status, guest.term.stale, guest.home.verdict) == ("valid", True, told)
    assert guest.term.end == date(2025, 12, 11)
    assert await desk.log.position() == position
    desk.says(member(ends_on=NEXT_YEAR))
    assert not (await check(desk, guest_id, SEPT_15)).term.stale


async def test_r12_a_block_suspends_and_tells_why(desk: Desk) -> None:
    guest_id = await desk.register()
    desk.says(FINES)
    guest = await check(desk, guest_id)
    assert (guest.status, guest.header) == ("suspended", "Geblokkeerd")
    assert (guest.home.verdict, guest.home.reasons) == ("refused", ("fines",))
    desk.says(member(ends_on=NEXT_YEAR))
    assert (await check(desk, guest_id)).status == "valid"


async def test_r13_opening_an_expired_guest_tells_whether_reregistration_would_succeed(desk: Desk) -> None:
    guest_id = await expired_guest(desk)
    guest = await check(desk, guest_id)
    assert (guest.status, guest.home.verdict) == ("expired", "valid")
    desk.says(CANCELLED)
    assert (await check(desk, guest_id)).home.verdict == "refused"


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (member(ends_on=date(2025, 9, 14)), "expired-subscription"),
        (replace(member(), is_guest_subscription=True), "guest-subscription"),
    ],
)
async def test_r13_what_reregistration_would_refuse_is_not_told_as_valid(
    desk: Desk, verdict: Verdict, reason: str
) -> None:
    guest_id = await expired_guest(desk)
    desk.says(verdict)
    home = (await check(desk, guest_id)).home
    assert (home.verdict, home.reasons) == ("refused", (reason,))


async def test_r12_an_answer_from_before_a_reregistration_does_not_undo_it(desk: Desk) -> None:
    guest_id = await expired_guest(desk)

    async def meanwhile() -> None:
        desk.clock.moment += timedelta(seconds=3)
        await reregister(desk, guest_id)

    deps = replace(desk.deps, home_libraries=SlowlyCancelled(meanwhile))
    await check_term(guest_id, desk.context(), deps)
    guest = await desk.show(guest_id)
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


async def test_r12_a_library_gone_from_the_settings_is_unavailable(desk: Desk) -> None:
    guest_id = await desk.register()
    desk.deps = replace(desk.deps, isil_aliases={GRONINGEN: "NL-000000"})
    assert (await check(desk, guest_id)).home.verdict == "unavailable"


async def test_r21_a_deregistered_guest_is_not_asked_about(desk: Desk) -> None:
    guest_id = await desk.register()
    await deregister_guest(guest_id, "verkeerde klant", desk.context(), desk.deps)
    asked = len(desk.home.asked)
    await check_term(guest_id, desk.context(), desk.deps)
    assert len(desk.home.asked) == asked


async def test_r10_a_number_that_home_gave_out_since_finds_the_same_guest(desk: Desk) -> None:
    guest_id = await desk.register()
    desk.says(member(NEW_CARD, NEXT_YEAR))
    await check(desk, guest_id)
    desk.says(member(NEW_CARD, NEXT_YEAR), card=NEW_CARD)
    with pytest.raises(RuleBroken) as caught:
        await desk.register(NEW_CARD)
    assert getattr(caught.value, "guest_id", None) == guest_id


async def test_r14_reregistration_gives_a_new_term_fresh_details_and_no_strips(desk: Desk) -> None:
    guest_id = await expired_guest(desk)
    moved = PatronDetails("J. Jansen", date(1980, 2, 3), "Nieuwe weg 2, Groningen")
    desk.says(replace(member(), details=moved))
    desk.clock.moment += timedelta(minutes=1)
    await reregister(desk, guest_id)
    guest = await desk.show(guest_id)
    assert (guest.status, guest.details, guest.lending_strips) == ("valid", moved, 125)
    assert (guest.term.begin, guest.term.end) == (SEPT_15, date(2025, 12, 15))
    assert (guest.home.verdict, guest.home.checked_at) == ("valid", desk.clock.now())
    assert (await desk.topics()).count("lending-strips-granted") == 1


async def test_r14_a_card_that_was_replaced_meanwhile_becomes_the_canonical_one(desk: Desk) -> None:
    guest_id = await expired_guest(desk)
    desk.says(member(NEW_CARD))
    await reregister(desk, guest_id)
    guest = await desk.show(guest_id)
    assert (guest.card_number, guest.aliases) == (NEW_CARD, (CARD,))


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
async def test_r14_home_has_the_last_word(desk: Desk, verdict: Verdict, error: type[RuleBroken]) -> None:
    guest_id = await expired_guest(desk)
    position = await desk.log.position()
    desk.says(verdict)
    with pytest.raises(error):
        await reregister(desk, guest_id)
    assert await desk.log.position() == position


async def test_r14_type_and_state_are_checked_before_home_is_asked(desk: Desk) -> None:
    guest_id = await desk.register()
    asked = len(desk.home.asked)
    with pytest.raises(NotExpired):
        await reregister(desk, guest_id)
    with pytest.raises(WrongPatronType):
        await reregister(desk, guest_id, "05")
    assert len(desk.home.asked) == asked


async def test_r14_a_login_account_may_be_chosen_with_it(desk: Desk) -> None:
    guest_id = await expired_guest(desk)
    await reregister(desk, guest_id, account=ExistingAccount("acc-jan"))
    assert (await desk.show(guest_id)).login_link.account_id == "acc-jan"
    assert await desk.deps.registrations.guests_asking_for("1001", "acc-jan") == [guest_id]


async def test_r17_a_link_is_asked_for_and_indexed_in_the_same_append(desk: Desk) -> None:
    guest_id = await desk.register()
    await request_account_link(guest_id, ExistingAccount("acc-jan"), desk.context(), desk.deps)
    assert (await desk.show(guest_id)).login_link.state == "pending"
    assert await desk.deps.registrations.guests_asking_for("1001", "acc-jan") == [guest_id]


async def test_r17_identity_gets_the_wishes_for_a_new_account_by_its_id(desk: Desk) -> None:
    guest_id = await desk.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    account_id = (await desk.show(guest_id)).login_link.account_id
    assert account_id is not None
    again = NewLoginAccount("jan.jansen.2", "jan@example.org")
    await request_account_link(guest_id, again, desk.context(), desk.deps)
    first = await new_account(guest_id, account_id, desk.deps)
    assert first == NewAccount(account_id, GRONINGEN, "jan.jansen", "jan@example.org")
    last = await new_account(guest_id, None, desk.deps)
    assert last is not None
    assert last.username == "jan.jansen.2"


async def test_r19_the_wishes_are_gone_with_the_key(desk: Desk) -> None:
    guest_id = await desk.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    await desk.log.append([], [erasure_row(guest_id)])
    assert await new_account(guest_id, None, desk.deps) is None
    guest = await desk.show(guest_id)
    assert (guest.card_number, guest.details, guest.header) == (None, None, "Normaal December 2025")


async def test_there_are_no_wishes_when_none_were_made(desk: Desk) -> None:
    guest_id = await desk.register(account=ExistingAccount("acc-jan"))
    assert await new_account(guest_id, None, desk.deps) is None
    assert await new_account(guest_id, "acc-jan", desk.deps) is None
    with pytest.raises(GuestNotFound):
        await new_account(uuid4(), None, desk.deps)


async def test_r21_unlinking_needs_a_link(desk: Desk) -> None:
    guest_id = await desk.register(account=ExistingAccount("acc-jan"))
    await unlink_login_account(guest_id, "account van moeder", desk.context(), desk.deps)
    assert (await desk.show(guest_id)).login_link.state == "none"
    with pytest.raises(NotLinked):
        await unlink_login_account(guest_id, "nogmaals", desk.context(), desk.deps)


Command = Callable[[Desk, UUID, str], Awaitable[object]]
COMMANDS: list[Command] = [
    lambda desk, guest, of: desk.show(guest, of),
    lambda desk, guest, of: check_term(guest, desk.context(of), desk.deps),
    lambda desk, guest, of: reregister_guest(ReregisterGuest(guest, "04"), desk.context(of), desk.deps),
    lambda desk, guest, of: request_account_link(
        guest, ExistingAccount("acc-jan"), desk.context(of), desk.deps
    ),
    lambda desk, guest, of: unlink_login_account(guest, "x", desk.context(of), desk.deps),
    lambda desk, guest, of: deregister_guest(guest, "x", desk.context(of), desk.deps),
]


@pytest.mark.parametrize("command", COMMANDS)
async def test_r20_another_organisations_guest_does_not_exist(desk: Desk, command: Command) -> None:
    guest_id = await desk.register(account=ExistingAccount("acc-jan"))
    position = await desk.log.position()
    with pytest.raises(GuestNotFound):
        await command(desk, guest_id, "2002")
    with pytest.raises(GuestNotFound):
        await command(desk, uuid4(), "1001")
    assert await desk.log.position() == position


async def test_r17_a_tied_guest_gets_no_other_account(desk: Desk) -> None:
    guest_id = await desk.register(account=ExistingAccount("acc-jan"))
    guest = await desk.deps.store.load(Guest, guest_id)
    guest.confirm_link("acc-jan", too_late=False, now=desk.clock.now())
    await desk.deps.store.save(guest, metadata=desk.context().metadata)
    with pytest.raises(AlreadyLinked):
        await request_account_link(guest_id, ExistingAccount("acc-x"), desk.context(), desk.deps)
