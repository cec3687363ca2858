"""Erasures among all else that can happen at once (I9): who was erased stays erased, and I5 is still true."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.domain.guest_link import GuestLink
from identity.domain.login_account import LoginAccount
from tests.support.eventually import Interleaver
from tests.unit.identity.test_interleavings import World, links_agree_on_both_sides, operations, someone

GONE = ("guest-deregistered.v1", "personal-data-erased.v1")

with_erasures = st.one_of(
    operations,
    st.tuples(st.just("erase"), someone),
    st.tuples(st.just("deliver_erased"), st.integers(0, 5)),
)


@dataclass
class ErasingWorld(World):
    """A world in which people may be erased, and may come back as new guests."""

    erased: list[UUID] = field(default_factory=list)

    async def erase(self, person: str) -> None:
        if guest := self.guests.pop(person, None):
            self.identity.counter.erases(guest)
            self.erased.append(guest)

    async def deliver_erased(self, number: int) -> None:
        if self.erased:
            guest = self.erased[number % len(self.erased)]
            await self.identity.receive(self.identity.registration.messages[guest][-1])

    async def deliver_the_rest(self) -> None:
        self.identity.registration.unplugged = self.identity.directory.unplugged = False
        for guest in self.erased:
            await self.identity.deliver_all(guest)
        await super().deliver_the_rest()

    def _taken_back(self, guest: UUID, since: int) -> bool:
        later = self.identity.registration.messages[guest][since:]
        return any(each.type in GONE for each in later)


async def happen(happenings: Sequence[tuple[Any, ...]], choose: Any) -> ErasingWorld:
    interleaver = Interleaver(choose)
    world = ErasingWorld.of(interleaver)
    assert isinstance(world, ErasingWorld)
    await interleaver.run([partial(getattr(world, name), *arguments) for name, *arguments in happenings])
    await interleaver.run([world.deliver_the_rest])
    return world


async def nothing_is_left_of_the_erased(world: ErasingWorld) -> None:
    log, store = world.identity.log, world.identity.store
    for guest in world.erased:
        link = await store.find(GuestLink, guest)
        assert link is None or (link.erased and link.answer is None)
        assert world.identity.version_of(guest) == len(world.identity.registration.messages[guest])
    erased = {row["subject_id"] for row in log.rows("erasures")}
    assert erased >= set(world.erased)
    for table in ("data_keys", "usernames"):
        for row in log.rows(table):
            assert row["subject_id"] not in erased
            account = await store.find(LoginAccount, row["subject_id"])
            if account is None:
                assert not (await store.load(GuestLink, row["subject_id"])).erased
                continue
            assert not account.erased
            assert not set(account.guests) & set(world.erased)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(with_erasures, max_size=10), st.data())
def test_i9_no_interleaving_leaves_anything_of_an_erased_guest(
    happenings: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    async def run() -> None:
        world = await happen(happenings, lambda count: data.draw(st.integers(0, count - 1)))
        assert not set(world.not_found) & {"jan", "kind"}
        await nothing_is_left_of_the_erased(world)
        await links_agree_on_both_sides(world)

    asyncio.run(run())
