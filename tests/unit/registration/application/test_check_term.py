"""The home library is asked about a guest's term, when a clerk opens the guest (R12, R13)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pytest

from registration.application.answer_identity import RegistrationsQuery, list_registrations
from registration.application.check_term import check_term
from registration.application.dependencies import LibraryState
from registration.application.merge_guests import MergeGuests, merge_guests
from registration.domain.errors import AlreadyRegistered, OtherPerson
from registration.domain.verdict import (
    UNREADABLE,
    NotFound,
    PatronDetails,
    Reason,
    Refused,
    Unavailable,
    Verdict,
)
from shared.kernel.library_card import person_ref
from tests.support.registration import (
    CANCELLED,
    CARD,
    GRONINGEN,
    JAN,
    PERSON_REF_KEY,
    SEPT_15,
    RegistrationUseCases,
    member,
)

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

    deps = replace(in_memory_registration.deps, home_libraries=Slowly(meanwhile, CANCELLED))
    await check_term(guest_id, in_memory_registration.context(), deps)
    guest = await in_memory_registration.show(guest_id)
    assert (guest.status, guest.home.verdict) == ("valid", "valid")


@dataclass
class Slowly:
    """Home libraries that say this after something else had the time to happen."""

    meanwhile: Callable[[], Awaitable[None]]
    verdict: Verdict

    async def ask(self, isil: str, card_number: str) -> Verdict:
        await self.meanwhile()
        return self.verdict

    def connections(self, isil: str) -> int:
        return 1

    def states(self) -> dict[str, LibraryState]:
        return {}


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


NEW_CARD_MEMBER = member(NEW_CARD, NEXT_YEAR)
MOVED = PatronDetails("J. Jansen-de Vries", JAN.birth_date, "Nieuwe weg 2, Groningen", "nieuw@example.org")
BORN_LATER = PatronDetails("J. Jansen", date(2001, 1, 1), JAN.address, JAN.email)


async def test_r24_a_number_that_home_gave_out_since_becomes_canonical_and_both_find_the_guest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    in_memory_registration.says(NEW_CARD_MEMBER)
    guest = await in_memory_registration.check(guest_id)
    assert (guest.card_number, guest.aliases, guest.term.end) == (NEW_CARD, (CARD,), NEXT_YEAR)

    in_memory_registration.says(NotFound())  # home withdraws the earlier number
    in_memory_registration.says(NEW_CARD_MEMBER, card=NEW_CARD)
    position = await in_memory_registration.log.position()
    assert not (await in_memory_registration.check(guest_id)).term.stale
    assert in_memory_registration.home.asked[-1] == (GRONINGEN, NEW_CARD)
    assert await in_memory_registration.log.position() == position
    for card in (CARD, NEW_CARD):
        with pytest.raises(AlreadyRegistered) as caught:
            await in_memory_registration.register(card)
        assert caught.value.guest_id == guest_id
        ref = person_ref(PERSON_REF_KEY, GRONINGEN, card)
        query = RegistrationsQuery("1001", person_ref=ref)
        [found] = await list_registrations(query, in_memory_registration.deps, in_memory_registration.feed)
        assert found.guest_id == guest_id
    assert found.messages[-2].type == "card-number-changed.v1"
    assert found.messages[-2].data == {"person_ref": ref}


@pytest.mark.parametrize("state", ["valid", "suspended", "expired"])
async def test_r24_other_details_are_taken_over_once_whatever_the_status(
    in_memory_registration: RegistrationUseCases, state: str
) -> None:
    guest_id = await in_memory_registration.register()
    verdicts: dict[str, Verdict] = {"valid": member(), "suspended": FINES, "expired": CANCELLED}
    in_memory_registration.says(verdicts[state])
    assert (await in_memory_registration.check(guest_id)).status == state
    in_memory_registration.says(replace(member() if state == "valid" else FINES, details=MOVED))
    assert (await in_memory_registration.check(guest_id)).details == MOVED
    assert (await in_memory_registration.topics())[-1] == "patron-details-changed"
    position = await in_memory_registration.log.position()
    await in_memory_registration.check(guest_id)
    assert await in_memory_registration.log.position() == position


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (replace(MOVED, name="J. \ufffdansen"), replace(MOVED, name=JAN.name)),
        (replace(MOVED, name="?? ?????"), replace(MOVED, name=JAN.name)),
        (replace(MOVED, birth_date=None), MOVED),
        (replace(MOVED, address=None, email=None), replace(MOVED, address=None, email=None)),
    ],
)
async def test_r24_what_a_valid_reply_leaves_out_is_gone_but_no_birth_date_and_no_lost_letters(
    in_memory_registration: RegistrationUseCases, said: PatronDetails, kept: PatronDetails
) -> None:
    guest_id = await in_memory_registration.register()
    in_memory_registration.says(replace(member(), details=said))
    assert (await in_memory_registration.check(guest_id)).details == kept


async def test_r24_a_refusal_that_says_less_takes_nothing_away(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    in_memory_registration.says(
        replace(FINES, details=PatronDetails("J. Jansen"), canonical_card_number=CARD)
    )
    guest = await in_memory_registration.check(guest_id)
    assert (guest.status, guest.details) == ("suspended", JAN)
    assert (await in_memory_registration.topics())[-1] == "guest-suspended"


@pytest.mark.parametrize("written", ["990139305", "000990139305"])
async def test_r24_the_same_number_with_other_zeros_is_no_new_number(
    in_memory_registration: RegistrationUseCases, written: str
) -> None:
    guest_id = await in_memory_registration.register()
    in_memory_registration.says(member(written))
    assert (await in_memory_registration.check(guest_id)).card_number == CARD


@pytest.mark.parametrize("other", ["registered", "deregistered"])
async def test_r10_nothing_is_taken_over_when_the_new_number_is_another_guests(
    in_memory_registration: RegistrationUseCases, other: str
) -> None:
    in_memory_registration.says(member(NEW_CARD), card=NEW_CARD)
    other_id = await in_memory_registration.register(NEW_CARD)
    guest_id = await in_memory_registration.register()
    if other == "deregistered":
        await in_memory_registration.deregister(other_id)
    position = await in_memory_registration.log.position()
    in_memory_registration.says(replace(NEW_CARD_MEMBER, details=MOVED))
    guest = await in_memory_registration.check(guest_id)
    assert await in_memory_registration.log.position() == position
    assert (guest.card_number, guest.details, guest.term.stale) == (CARD, JAN, True)
    assert (guest.home.verdict, guest.home.reasons) == ("refused", ("card-of-another-guest",))


async def test_r24_a_number_of_a_record_that_was_merged_into_the_guest_is_the_guests(
    in_memory_registration: RegistrationUseCases,
) -> None:
    in_memory_registration.says(member(NEW_CARD), card=NEW_CARD)
    other_id = await in_memory_registration.register(NEW_CARD)
    guest_id = await in_memory_registration.register()
    merge = MergeGuests(other_id, guest_id)
    await merge_guests(merge, in_memory_registration.context(), in_memory_registration.deps)
    in_memory_registration.says(NEW_CARD_MEMBER)
    guest = await in_memory_registration.check(guest_id)
    assert (guest.card_number, guest.aliases) == (NEW_CARD, (CARD,))


async def test_r24_news_from_before_other_news_is_no_news(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()

    async def meanwhile() -> None:
        in_memory_registration.clock.moment += timedelta(seconds=3)
        in_memory_registration.says(NEW_CARD_MEMBER)
        await check_term(guest_id, in_memory_registration.context(), in_memory_registration.deps)

    in_memory_registration.clock.moment += timedelta(days=1)
    deps = replace(in_memory_registration.deps, home_libraries=Slowly(meanwhile, member()))
    await check_term(guest_id, in_memory_registration.context(), deps)
    assert (await in_memory_registration.show(guest_id)).card_number == NEW_CARD


@pytest.mark.parametrize("state", ["valid", "expired"])
@pytest.mark.parametrize(
    "verdict",
    [
        replace(member(NEW_CARD, NEXT_YEAR), details=BORN_LATER),
        replace(FINES, details=BORN_LATER, canonical_card_number=CARD),
        replace(CANCELLED, details=BORN_LATER),
    ],
    ids=["valid", "blocked", "ended"],
)
async def test_r25_a_reply_about_someone_born_on_another_day_changes_nothing_and_is_shown(
    in_memory_registration: RegistrationUseCases, state: str, verdict: Verdict
) -> None:
    if state == "valid":
        guest_id = await in_memory_registration.register()
    else:
        guest_id = await in_memory_registration.register_and_expire()
    before = await in_memory_registration.show(guest_id)
    position = await in_memory_registration.log.position()
    in_memory_registration.says(verdict)
    guest = await in_memory_registration.check(guest_id)
    assert await in_memory_registration.log.position() == position
    assert (guest.status, guest.details, guest.card_number) == (before.status, JAN, CARD)
    assert (guest.home.verdict, guest.home.reasons) == ("refused", ("other-person",))
    assert guest.term == replace(before.term, stale=True)


@pytest.mark.parametrize("known", [True, False])
async def test_r25_a_birth_date_that_one_side_does_not_know_is_no_obstacle(
    in_memory_registration: RegistrationUseCases, known: bool
) -> None:
    unborn = replace(member(), details=replace(JAN, birth_date=None))
    in_memory_registration.says(member() if known else unborn)
    guest_id = await in_memory_registration.register()
    in_memory_registration.says(unborn if known else member())
    guest = await in_memory_registration.check(guest_id)
    assert (guest.details, guest.term.stale) == (JAN, False)


async def test_r25_a_deregistered_card_is_not_given_to_someone_born_on_another_day(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    await in_memory_registration.deregister(guest_id)
    position = await in_memory_registration.log.position()
    in_memory_registration.says(replace(member(), details=BORN_LATER))
    with pytest.raises(OtherPerson):
        await in_memory_registration.register()
    assert await in_memory_registration.log.position() == position


BLOCKED_AND_MOVED = replace(FINES, details=MOVED, canonical_card_number=CARD)


@pytest.mark.parametrize(
    ("verdict", "changed"),
    [
        (member(ends_on=NEXT_YEAR), ("term",)),
        (replace(member(ends_on=NEXT_YEAR), details=MOVED), ("term", "name", "address", "email")),
        (NEW_CARD_MEMBER, ("term", "card_number")),
        (FINES, ("status",)),
        (BLOCKED_AND_MOVED, ("status", "name", "address", "email")),
        (CANCELLED, ("status",)),
        (NotFound(), ()),
        (Unavailable("timed out"), ()),
        (replace(member(), details=BORN_LATER), ()),
    ],
)
async def test_r24_it_is_known_what_a_reply_changed(
    in_memory_registration: RegistrationUseCases, verdict: Verdict, changed: tuple[str, ...]
) -> None:
    guest_id = await in_memory_registration.register()
    assert (await in_memory_registration.show(guest_id)).home.changed is None
    in_memory_registration.says(verdict)
    in_memory_registration.says(verdict, card=NEW_CARD)
    assert (await in_memory_registration.check(guest_id)).home.changed == changed
    assert (await in_memory_registration.check(guest_id)).home.changed == ()


async def test_r5_the_details_are_of_the_last_reply_that_named_the_person(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    registered_at = in_memory_registration.clock.now()
    in_memory_registration.says(NotFound())
    assert (await in_memory_registration.check(guest_id)).home.answered_at == registered_at
    in_memory_registration.says(member())
    answered_at = (await in_memory_registration.check(guest_id)).home.answered_at
    assert answered_at > registered_at
    for nothing in (Unavailable("timed out"), NotFound(), replace(member(), details=BORN_LATER)):
        in_memory_registration.says(nothing)
        assert (await in_memory_registration.check(guest_id)).home.answered_at == answered_at
