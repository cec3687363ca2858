"""An operator erases a guest, through the use cases: R19."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from registration.application.answer_identity import RegistrationsQuery, list_registrations, new_account
from registration.application.check_term import check_term
from registration.application.dependencies import LibraryState
from registration.application.erase_guest import apply_erasures, erase_personal_data
from registration.application.receive_message import receive_message
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.application.show_personal_data import show_personal_data
from registration.domain.errors import GuestErased, GuestNotFound
from registration.domain.guest import Guest
from registration.domain.login_link import ExistingAccount, NewLoginAccount
from registration.domain.verdict import PatronDetails, Reason, Refused, Verdict
from shared.event_log import ErasureLedger, InMemoryEventLog, Metadata, SideRow
from shared.messaging.envelope import Message
from tests.support.event_log import make_unreadable
from tests.support.registration import CARD, JAN, RegistrationUseCases, member, on_day

OPERATOR = Metadata("beheer", uuid4())
CANCELLED = Refused((Reason.EXPIRED,), because_ended=True)
MOVED = PatronDetails("J. Jansen", date(1980, 2, 3), "Nieuwe weg 2, Groningen")


async def erase(in_memory_registration: RegistrationUseCases, guest_id: UUID) -> int:
    return (await erase_personal_data(guest_id, OPERATOR, in_memory_registration.deps)).position


def rows(in_memory_registration: RegistrationUseCases, table: str) -> int:
    assert isinstance(in_memory_registration.log, InMemoryEventLog)
    return len(in_memory_registration.log.rows(table))


async def test_r19_key_and_index_go_with_the_event(in_memory_registration: RegistrationUseCases) -> None:
    guest_id = await in_memory_registration.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    other_id = await in_memory_registration.register(organisation="2002")
    position = await erase(in_memory_registration, guest_id)
    assert position == await in_memory_registration.log.position()
    recorded = (await in_memory_registration.log.read(position - 1, 1))[0]
    assert (recorded.event_type, recorded.metadata.caused_by) == (
        "registration.personal-data-erased",
        "beheer",
    )
    assert await in_memory_registration.deps.data_keys.get(guest_id) is None
    assert isinstance(in_memory_registration.log, InMemoryEventLog)
    assert {row["guest_id"] for row in in_memory_registration.log.rows("registrations")} == {other_id}
    assert rows(in_memory_registration, "registration_accounts") == 0
    assert await new_account(guest_id, None, in_memory_registration.deps) is None
    assert (await in_memory_registration.show(other_id, "2002")).details == JAN


async def test_r19_an_erased_guest_is_shown_without_the_person(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register(account=ExistingAccount("acc-jan"))
    await erase(in_memory_registration, guest_id)
    guest = await in_memory_registration.show(guest_id)
    assert (guest.status, guest.header) == ("erased", "Persoonsgegevens gewist")
    assert (guest.card_number, guest.aliases, guest.details) == (None, (), None)
    assert (guest.login_link.state, guest.login_link.account_id) == ("none", None)


async def test_r19_erasing_again_is_answered_and_writes_nothing(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    assert await erase(in_memory_registration, guest_id) == await erase(in_memory_registration, guest_id)
    assert (await in_memory_registration.topics()).count("personal-data-erased") == 1


async def test_r19_nobody_who_is_not_there_is_erased(in_memory_registration: RegistrationUseCases) -> None:
    with pytest.raises(GuestNotFound):
        await erase(in_memory_registration, uuid4())
    assert rows(in_memory_registration, "erasures") == 0


async def test_r19_the_person_may_be_registered_again_as_a_new_guest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    await erase(in_memory_registration, guest_id)
    again = await in_memory_registration.register()
    assert again != guest_id
    assert (await in_memory_registration.show(again)).lending_strips == 125
    assert (await in_memory_registration.show(guest_id)).status == "erased"


async def test_r19_who_is_erased_while_the_index_is_read_is_registered_as_a_new_guest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    await in_memory_registration.deregister(guest_id)
    stale: Any = ErasedOnceFound(in_memory_registration, guest_id)
    in_memory_registration.deps = replace(in_memory_registration.deps, registrations=stale)
    again = await in_memory_registration.register()
    assert again != guest_id
    assert await stale.index.guests_of("1001", await person_of(in_memory_registration, again)) == [again]


async def person_of(in_memory_registration: RegistrationUseCases, guest_id: UUID) -> str:
    return (await in_memory_registration.deps.store.load(Guest, guest_id)).state.person_ref


class ErasedOnceFound:
    """The index, whose second result is out of date as soon as it is returned."""

    def __init__(self, in_memory_registration: RegistrationUseCases, guest_id: UUID) -> None:
        self.index = in_memory_registration.deps.registrations
        self._registration, self._guest_id, self._answers = in_memory_registration, guest_id, 0

    async def guests_of(self, organisation: str, person_ref: str) -> Sequence[UUID]:
        found = await self.index.guests_of(organisation, person_ref)
        self._answers += 1
        if self._answers == 3:  # the third is the first of those after home was asked: it has two numbers
            await erase(self._registration, self._guest_id)
        return found

    async def guests_asking_for(self, organisation: str, account_id: str) -> Sequence[UUID]:
        return await self.index.guests_asking_for(organisation, account_id)


async def test_r19_home_is_not_asked_about_an_erased_guest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    await erase(in_memory_registration, guest_id)
    asked, position = len(in_memory_registration.home.asked), await in_memory_registration.log.position()
    await check_term(guest_id, in_memory_registration.context(), in_memory_registration.deps)
    assert (len(in_memory_registration.home.asked), await in_memory_registration.log.position()) == (
        asked,
        position,
    )
    assert await in_memory_registration.deps.term_checks.last(guest_id) is None


async def test_r19_who_was_erased_while_home_was_asked_is_not_registered_again(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    in_memory_registration.says(CANCELLED)
    await check_term(guest_id, in_memory_registration.context(), in_memory_registration.deps)
    in_memory_registration.says(member())

    deps = replace(
        in_memory_registration.deps, home_libraries=AskedMeanwhile(in_memory_registration, guest_id)
    )
    with pytest.raises(GuestErased):
        await reregister_guest(ReregisterGuest(guest_id, "04"), in_memory_registration.context(), deps)
    assert rows(in_memory_registration, "data_keys") == 0


async def test_r19_who_was_erased_while_home_was_asked_about_the_term_leaves_no_new_number(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    deps = replace(
        in_memory_registration.deps,
        home_libraries=AskedMeanwhile(in_memory_registration, guest_id, "0990200000"),
    )
    await check_term(guest_id, in_memory_registration.context(), deps)
    assert rows(in_memory_registration, "registrations") == 0


class AskedMeanwhile:
    """Home libraries during whose answer the guest is erased."""

    def __init__(
        self, in_memory_registration: RegistrationUseCases, guest_id: UUID, card: str = CARD
    ) -> None:
        self._registration, self._guest_id, self._card = in_memory_registration, guest_id, card

    async def ask(self, isil: str, card_number: str) -> Verdict:
        await erase(self._registration, self._guest_id)
        return member(self._card)

    def connections(self, isil: str) -> int:
        return 1

    def states(self) -> dict[str, LibraryState]:
        return {}


async def test_r19_identity_finds_nobody_and_all_messages_say_erased(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register(account=ExistingAccount("acc-jan"))
    other_id = await in_memory_registration.register(organisation="2002")
    guest = await in_memory_registration.deps.store.load(Guest, guest_id)
    await erase(in_memory_registration, guest_id)
    for query in (
        RegistrationsQuery("1001", account_id="acc-jan"),
        RegistrationsQuery("1001", person_ref=guest.state.person_ref),
    ):
        assert await list_registrations(query, in_memory_registration.deps, in_memory_registration.feed) == []
    page = await in_memory_registration.feed.after(0, limit=100, wait=0)
    assert {(each.subject, each.erased) for each in page.messages} == {(guest_id, True), (other_id, False)}
    assert [
        each.type for each in await in_memory_registration.feed.of_subject(guest_id, after_version=0)
    ] == [
        "guest-registered.v1",
        "lending-strips-granted.v1",
        "personal-data-erased.v1",
    ]


@pytest.mark.parametrize("known", [True, False])
async def test_r19_what_identity_still_says_applies_without_effect(
    in_memory_registration: RegistrationUseCases, known: bool
) -> None:
    guest_id = await in_memory_registration.register(account=ExistingAccount("acc-jan")) if known else uuid4()
    if known:
        await erase(in_memory_registration, guest_id)
    message = Message(
        id=uuid4(),
        source="/identity/log",
        type="login-account-linked.v1",
        subject=guest_id,
        time=datetime(2025, 9, 11, tzinfo=UTC),
        stream_version=1,
        position=1,
        correlation_id=uuid4(),
        causation_id=None,
        data={"account_id": "acc-jan", "actor_id": str(uuid4())},
        erased=True,
    )
    before = await in_memory_registration.log.position()
    await receive_message(message, SideRow("inbox", {"guest_id": guest_id}), deps=in_memory_registration.deps)
    assert (await in_memory_registration.log.position(), rows(in_memory_registration, "inbox")) == (before, 1)


async def test_r19_all_personal_data_can_be_shown_also_what_was_replaced(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register(account=NewLoginAccount("jan.jansen", "jan@example.org"))
    in_memory_registration.clock.moment = on_day(date(2025, 9, 15))
    in_memory_registration.says(CANCELLED)
    await check_term(guest_id, in_memory_registration.context(), in_memory_registration.deps)
    in_memory_registration.says(replace(member("0990200000"), details=MOVED))
    await reregister_guest(
        ReregisterGuest(guest_id, "04"), in_memory_registration.context(), in_memory_registration.deps
    )

    shown = await show_personal_data(guest_id, in_memory_registration.deps)
    first, last = shown.history[0], shown.history[-1]
    assert (first.what, first.by) == ("guest-registered", "clerk")
    assert first.personal_data["details"]["address"] == JAN.address
    assert first.personal_data["new_account"] == {"username": "jan.jansen", "email": "jan@example.org"}
    assert last.personal_data["details"]["address"] == MOVED.address
    assert last.personal_data["card"] == {"number": "0990200000", "aliases": [CARD]}
    assert [each.reason for each in shown.history if each.what == "subscription-expired"] == ["overig"]

    await erase(in_memory_registration, guest_id)
    shown = await show_personal_data(guest_id, in_memory_registration.deps)
    assert not any(each.personal_data for each in shown.history)
    assert (shown.history[-1].what, shown.history[-1].by) == ("personal-data-erased", "beheer")
    with pytest.raises(GuestNotFound):
        await show_personal_data(uuid4(), in_memory_registration.deps)


async def test_r19_the_ledger_erases_again_the_guests_that_a_restored_backup_brought_back(
    in_memory_registration: RegistrationUseCases, tmp_path: Path
) -> None:
    ledger = ErasureLedger(tmp_path / "ledger.jsonl")
    in_memory_registration.deps = replace(in_memory_registration.deps, erasure_ledger=ledger)
    guest_id, kept_id = (
        await in_memory_registration.register(),
        await in_memory_registration.register(organisation="2002"),
    )
    registered_later = uuid4()
    await ledger.note([guest_id, registered_later])  # erased after the backup that was restored
    assert (await apply_erasures(OPERATOR, in_memory_registration.deps)).erased == 2
    assert (await apply_erasures(OPERATOR, in_memory_registration.deps)).erased == 0
    assert (await in_memory_registration.show(guest_id)).status == "erased"
    assert (await in_memory_registration.show(kept_id, "2002")).details == JAN
    assert set(await in_memory_registration.log.erasures()) == {
        guest_id,
        registered_later,
    }


async def test_r19_a_repeated_erasure_is_written_into_the_ledger_too(
    in_memory_registration: RegistrationUseCases, tmp_path: Path
) -> None:
    path = tmp_path / "folder" / "ledger.jsonl"
    in_memory_registration.deps = replace(in_memory_registration.deps, erasure_ledger=ErasureLedger(path))
    guest_id = await in_memory_registration.register()
    await erase(in_memory_registration, guest_id)
    await erase(in_memory_registration, guest_id)
    assert [orjson.loads(line)["subject_id"] for line in path.read_bytes().splitlines()] == [
        str(guest_id)
    ] * 2
    assert (await apply_erasures(OPERATOR, in_memory_registration.deps)).erased == 0


async def test_r19_a_guest_that_cannot_be_read_keeps_no_other_from_being_erased_again(
    in_memory_registration: RegistrationUseCases, tmp_path: Path
) -> None:
    ledger = ErasureLedger(tmp_path / "ledger.jsonl")
    in_memory_registration.deps = replace(in_memory_registration.deps, erasure_ledger=ledger)
    broken, good = [await in_memory_registration.register(organisation=code) for code in ("1001", "2002")]
    await make_unreadable(in_memory_registration.log, broken)
    await ledger.note([broken, good])
    done = await apply_erasures(OPERATOR, in_memory_registration.deps)
    assert (done.erased, done.failed) == (2, {})
    assert (await in_memory_registration.show(good, "2002")).status == "erased"
    assert await in_memory_registration.deps.data_keys.get(broken) is None
