"""The promise (I5) and one actor each (I4), for every order in which things can happen at once.

Registration commits, messages arrive doubled, reordered or not at all, people log in, services fail: at every
read, write and question the next one to go on is chosen. Meanwhile two libraries may merge (I10).
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.adapters.in_memory import SUBJECT_COLUMNS
from identity.application.dependencies import AccountDetails, NewAccount, RegisteredGuest
from identity.application.log_in import LoggedIn
from identity.domain.errors import AccountNotFound, LinkRequired
from identity.domain.guest_link import Linked
from shared.event_log import InMemoryEventLog, NewEvent, RecordedEvent, SideRow
from shared.messaging.envelope import Message
from shared.messaging.errors import CannotApply, TryAgain
from tests.support.eventually import Interleaver
from tests.support.identity import (
    HOME_ISIL,
    SIDE_TABLES,
    InMemoryIdentity,
    account_details,
    existing,
    new,
    person,
)

PEOPLE = ("jan", "kind")
OLD_ISIL = "NL-000001"
LETTING_GO = ("login-account-unlinked.v1", "guest-deregistered.v1")
ANSWERS = ("linked", "linked-too-late", "link-refused")

someone = st.sampled_from(PEOPLE)
choices = st.sampled_from(["none", "own", "other", "new"])
operations = st.one_of(
    st.tuples(st.just("register"), someone, choices),
    st.tuples(st.just("register"), someone, st.just("own")),
    st.tuples(st.just("register_at_old_library"), someone, choices),
    st.tuples(st.sampled_from(["change_aliases", "follow_aliases"])),
    st.tuples(st.just("ask_link"), someone, st.sampled_from(["own", "other", "new"])),
    st.tuples(st.just("unlink"), someone),
    st.tuples(st.just("deregister"), someone),
    st.tuples(st.just("expire"), someone),
    st.tuples(st.just("deliver"), someone, st.integers(0, 5)),
    st.tuples(st.just("log_in"), st.sampled_from(["jan", "kind", "new-jan", "new-kind"])),
    st.tuples(st.just("log_in"), someone),
    st.tuples(st.just("fail"), st.sampled_from(["registration", "directory"])),
)


def account_asked(message: Message) -> str | None:
    """For which account registration asks with this message."""
    asked: str | None = (message.data.get("login_account") or {}).get("account_id")
    return asked


class PausingLog(InMemoryEventLog):
    """A log that others may overtake before every read and write."""

    def __init__(self, interleaver: Interleaver) -> None:
        super().__init__(SIDE_TABLES, SUBJECT_COLUMNS)
        self._interleaver = interleaver

    async def append(self, events: Sequence[NewEvent], side_rows: Sequence[SideRow] = ()) -> int:
        await self._interleaver.pause()
        return await super().append(events, side_rows)

    async def stream(self, originator_id: UUID, *, after_version: int = 0) -> list[RecordedEvent]:
        await self._interleaver.pause()
        return await super().stream(originator_id, after_version=after_version)


@dataclass
class Pausing:
    """Registration and the directory, slow on the way there and on the way back."""

    identity: InMemoryIdentity
    interleaver: Interleaver

    async def registrations(self, organisation: str, **asked: Any) -> Sequence[RegisteredGuest]:
        await self.interleaver.pause()
        answer = await self.identity.registration.registrations(organisation, **asked)
        await self.interleaver.pause()
        return answer

    async def new_account(self, guest_id: UUID, account_id: str) -> NewAccount | None:
        await self.interleaver.pause()
        return await self.identity.registration.new_account(guest_id, account_id)

    async def is_home_library(self, guest_id: UUID, isil: str) -> bool:
        await self.interleaver.pause()
        return await self.identity.registration.is_home_library(guest_id, isil)

    async def is_own_library(self, organisation: str, isil: str) -> bool:
        await self.interleaver.pause()
        return await self.identity.registration.is_own_library(organisation, isil)

    async def by_id(self, account_id: str) -> AccountDetails | None:
        await self.interleaver.pause()
        return await self.identity.directory.by_id(account_id)

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:
        await self.interleaver.pause()
        return await self.identity.directory.by_username(username, home_isil)


@dataclass
class World:
    """One run: what was committed at registration, and what each login was answered."""

    identity: InMemoryIdentity
    interleaver: Interleaver
    guests: dict[str, UUID] = field(default_factory=dict)
    deregistered: set[UUID] = field(default_factory=set)
    not_found: list[str] = field(default_factory=list)
    logins: list[tuple[str, LoggedIn]] = field(default_factory=list)
    at_old_library: set[UUID] = field(default_factory=set)
    libraries_merged: bool = False

    @classmethod
    def of(cls, interleaver: Interleaver) -> Self:
        identity = InMemoryIdentity(*(account_details(name) for name in PEOPLE), log=PausingLog(interleaver))
        slow: Any = Pausing(identity, interleaver)
        identity.deps = replace(identity.deps, registration=slow, directory=slow)
        return cls(identity, interleaver)

    def choice(self, person: str, kind: str) -> dict[str, Any] | None:
        other = PEOPLE[1 - PEOPLE.index(person)]
        wanted = {"own": existing(person), "other": existing(other), "new": new(f"acc-new-{person}")}
        return wanted.get(kind)

    async def register(self, person: str, kind: str) -> None:
        guest = self.guests.get(person)
        if guest is None:
            guest = self.guests[person] = self.identity.counter.registers(person, self.choice(person, kind))
            self.identity.counter.wants_new_account(guest, f"acc-new-{person}", f"new-{person}")
        elif guest in self.deregistered:
            self.deregistered.remove(guest)
            self.identity.counter.registers_afresh(guest, self.choice(person, kind))

    async def register_at_old_library(self, person: str, kind: str) -> None:
        """A counter without the new alias table registers: its guest lacks a reference for now."""
        if person not in self.guests:
            registers, choice = self.identity.counter.registers, self.choice(person, kind)
            home = HOME_ISIL if self.libraries_merged else OLD_ISIL
            guest = self.guests[person] = registers(person, choice, home_isil=home, card_isil=OLD_ISIL)
            self.identity.counter.wants_new_account(guest, f"acc-new-{person}", f"new-{person}")
            self.at_old_library.add(guest)
            self.identity.registration.index_is_behind = self.libraries_merged

    async def change_aliases(self) -> None:
        self.libraries_merged = True
        for guest in self.at_old_library:
            self.identity.registration.home_libraries[guest] = HOME_ISIL
        self.identity.registration.index_is_behind = True

    async def follow_aliases(self) -> None:
        if self.libraries_merged:
            for name, guest in list(self.guests.items()):
                found = self.identity.registration.by_person.setdefault(("1001", person(name)), [])
                found += [] if guest in found else [guest]
                await self.interleaver.pause()
            all_known = self.identity.registration.by_person
            self.identity.registration.index_is_behind = not all(
                guest in all_known.get(("1001", person(name)), []) for name, guest in self.guests.items()
            )

    async def ask_link(self, person: str, kind: str) -> None:
        if guest := self._registered(person):
            choice = self.choice(person, kind)
            assert choice
            self.identity.counter.asks_link(guest, choice)

    async def unlink(self, person: str) -> None:
        if guest := self._registered(person):
            self.identity.counter.happens(guest, "login-account-unlinked.v1", reason="r")

    async def deregister(self, person: str) -> None:
        if guest := self._registered(person):
            self.identity.counter.happens(guest, "guest-deregistered.v1", reason="r")
            self.deregistered.add(guest)

    async def expire(self, person: str) -> None:
        if guest := self._registered(person):
            self.identity.counter.happens(guest, "subscription-expired.v1", on="2025-09-11", reason="overig")

    async def deliver(self, person: str, number: int) -> None:
        if guest := self.guests.get(person):
            committed = self.identity.registration.messages[guest]
            with suppress(CannotApply):  # waiting: tried again at the end
                await self.identity.receive(committed[number % len(committed)])

    async def fail(self, what: str) -> None:
        broken = getattr(self.identity, what)
        broken.unplugged = True
        for _ in range(3):
            await self.interleaver.pause()
        broken.unplugged = False

    async def log_in(self, name: str) -> None:
        since = self._committed(name)
        before, asked_before = self._registered(name), self._surely_asks_for_own_account(name)
        if before in self.at_old_library and not self.libraries_merged:
            before = None  # at the library of the account this is another person so far
        try:
            answer = await self.identity.logs_in(name)
        except LinkRequired:
            assert not asked_before or asked_before != self._surely_asks_for_own_account(name)
            return
        except (TryAgain, CannotApply):
            return
        except AccountNotFound:
            self.not_found.append(name)
            return
        if before and not self._taken_back(before, since):
            assert not answer.new_actor, "I5 is broken"
        self.logins.append((name, answer))

    def _surely_asks_for_own_account(self, name: str) -> int:
        """After how many messages this guest, and no other, asks for its own account; 0: it does not."""
        committed = self.identity.registration.messages
        if self.guests.get(name) in self.at_old_library:
            return 0  # the account may have been refused: it was of another library
        elsewhere = [guest for person, guest in self.guests.items() if person != name]
        if any(account_asked(each) == f"acc-{name}" for guest in elsewhere for each in committed[guest]):
            return 0
        own = committed.get(self.guests.get(name, UUID(int=0)), [])
        changes = [each for each in own if account_asked(each) or each.type in LETTING_GO]
        return len(own) if changes and account_asked(changes[-1]) == f"acc-{name}" else 0

    def _committed(self, name: str) -> int:
        guest = self.guests.get(name)
        return 0 if guest is None else len(self.identity.registration.messages[guest])

    def _taken_back(self, guest: UUID, since: int) -> bool:
        later = self.identity.registration.messages[guest][since:]
        return any(each.type == "guest-deregistered.v1" for each in later)

    def _registered(self, person: str) -> UUID | None:
        guest = self.guests.get(person)
        return None if guest in self.deregistered else guest

    async def deliver_the_rest(self) -> None:
        self.identity.registration.unplugged = self.identity.directory.unplugged = False
        self.identity.registration.index_is_behind = False
        for guest in self.guests.values():
            await self.identity.deliver_all(guest)


async def happen(happenings: Sequence[tuple[str, ...]], choose: Any) -> World:
    interleaver = Interleaver(choose)
    world = World.of(interleaver)
    await interleaver.run([partial(getattr(world, name), *arguments) for name, *arguments in happenings])
    await interleaver.run([world.deliver_the_rest])
    return world


async def check(world: World) -> None:
    assert not set(world.not_found) & set(PEOPLE)
    one_actor_each_and_one_first_login(world)
    await links_agree_on_both_sides(world)
    await every_request_was_answered_once(world)


def one_actor_each_and_one_first_login(world: World) -> None:
    for name in {name for name, _ in world.logins}:
        answers = [answer for who, answer in world.logins if who == name]
        assert len({answer.actor_id for answer in answers}) == 1
        assert sum(answer.first_login for answer in answers) == 1
        assert sum(answer.new_actor for answer in answers) <= 1


async def links_agree_on_both_sides(world: World) -> None:
    by_links = set()
    for guest in world.guests.values():
        link = await world.identity.link(guest)
        if isinstance(link.answer, Linked):
            by_links.add((link.answer.account_id, guest, link.answer.actor_id, link.guest_status))
    kept = set()
    for stored in world.identity.log.rows("usernames"):
        account = await world.identity.account(str(stored["account_id"]).removeprefix("acc-"))
        assert len(account.guests) <= 1
        for each in account.guests.values():
            kept.add((account.account_id, each.guest_id, each.actor_id, each.guest_status))
    assert by_links == kept


async def every_request_was_answered_once(world: World) -> None:
    for guest in world.guests.values():
        messages = world.identity.registration.messages[guest]
        asked = sum(account_asked(each) is not None for each in messages)
        answered = Tally(
            kind.removeprefix("login-account-")[:-3] for kind, _ in await world.identity.published(guest)
        )
        assert sum(answered[kind] for kind in ANSWERS) == asked
        assert world.identity.version_of(guest) == len(messages)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(operations, max_size=10), st.data())
def test_i5_no_interleaving_makes_a_registered_person_a_new_actor(
    happenings: list[tuple[str, ...]], data: st.DataObject
) -> None:
    async def run() -> None:
        world = await happen(happenings, lambda count: data.draw(st.integers(0, count - 1)))
        await check(world)

    asyncio.run(run())
