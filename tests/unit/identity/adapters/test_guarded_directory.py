"""A directory that is slow or keeps failing is left alone a while; nobody becomes unknown by that (I4)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

import pytest

from identity.adapters.account_directory import GuardedDirectory, UnusableAccount
from identity.application.dependencies import (
    MOST_QUESTIONS_AT_ONCE,
    AccountDetails,
    AccountDirectory,
    AccountReference,
    ById,
    DirectoryUnavailable,
)
from shared.platform import limits
from shared.platform.admission import Door
from shared.platform.circuit_breaker import CircuitBreaker
from tests.support.account_directories import JAN


class Scripted(AccountDirectory):
    """Answers by a function, and counts how often and how many at the same time."""

    def __init__(self, answer: Callable[[str], Awaitable[AccountDetails | None]]) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.now = self.most_at_once = 0

    async def by_id(self, account_id: str) -> AccountDetails | None:
        self.asked.append(account_id)
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            return await self.answer(account_id)
        finally:
            self.now -= 1

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:
        return await self.by_id(username)


async def fails(_account_id: str) -> AccountDetails | None:
    raise DirectoryUnavailable("ConnectError")


async def is_silent(_account_id: str) -> AccountDetails | None:
    await asyncio.Event().wait()
    return JAN


async def knows_jan(account_id: str) -> AccountDetails | None:
    await asyncio.sleep(0)
    return JAN if account_id == JAN.account_id else None


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_one_that_keeps_failing_is_left_alone_and_tried_again() -> None:
    clock, scripted = Clock(), Scripted(fails)
    directory = GuardedDirectory(scripted, CircuitBreaker(clock))
    for _ in range(20):
        with pytest.raises(DirectoryUnavailable):
            await directory.by_id("acc-jan")
    assert len(scripted.asked) == 5
    clock.seconds, scripted.answer = 1.5, knows_jan
    assert await directory.by_id("acc-jan") == JAN
    assert await directory.by_id("acc-nobody") is None


async def test_a_silent_one_is_given_up_and_counts_as_failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIRECTORY", 0.01)
    monkeypatch.setattr(limits, "DIRECTORY_BATCH", 0.02)
    scripted = Scripted(is_silent)
    directory = GuardedDirectory(scripted, CircuitBreaker(Clock()))
    for _ in range(4):
        with pytest.raises(DirectoryUnavailable, match="time limit"):
            await directory.by_username("jan", "NL-070288")
    with pytest.raises(DirectoryUnavailable, match="time limit"):
        await directory.find_many([ById("acc-jan"), ById("acc-piet")])
    assert scripted.now == 0, "what is given up is asked for no longer"
    asked = len(scripted.asked)
    with pytest.raises(DirectoryUnavailable, match="repeated failures"):
        await directory.find_many([ById("acc-jan")])
    assert len(scripted.asked) == asked


async def test_one_account_that_cannot_be_used_says_nothing_about_the_next() -> None:
    async def unusable(account_id: str) -> AccountDetails | None:
        if account_id == "acc-broken":
            raise UnusableAccount("the account is malformed: MalformedIsil")
        return JAN

    directory = GuardedDirectory(Scripted(unusable))
    for _ in range(10):
        with pytest.raises(DirectoryUnavailable):
            await directory.by_id("acc-broken")
    assert await directory.by_id("acc-jan") == JAN


async def test_many_are_asked_a_few_at_a_time_and_each_once() -> None:
    scripted = Scripted(knows_jan)
    wanted: list[AccountReference] = [ById(f"acc-{number}") for number in range(50)]
    found = await scripted.find_many([*wanted, ById("acc-jan"), ById("acc-jan")])
    assert found == dict.fromkeys(wanted) | {ById("acc-jan"): JAN}
    assert len(scripted.asked) == 51
    assert scripted.most_at_once == MOST_QUESTIONS_AT_ONCE


class Listing(Scripted):
    """It finds several accounts by one question; one that cannot be used spoils the list."""

    lists_many = True

    def __init__(self, answer: Callable[[str], Awaitable[AccountDetails | None]]) -> None:
        super().__init__(answer)
        self.lists: list[int] = []

    async def find_many(
        self, references: Collection[AccountReference]
    ) -> Mapping[AccountReference, AccountDetails | None]:
        self.lists.append(len(references))
        await asyncio.sleep(0)
        return {each: await self.answer(each.account_id) for each in references if isinstance(each, ById)}


async def test_accounts_that_are_asked_for_at_the_same_time_are_one_question() -> None:
    listing = Listing(knows_jan)
    directory = GuardedDirectory(listing)
    found = await asyncio.gather(*(directory.by_id(name) for name in ("acc-jan", "acc-piet", "acc-mien")))
    assert found == [JAN, None, None]
    assert (listing.lists, listing.asked) == ([3], [])
    assert await directory.by_id("acc-jan") == JAN
    assert (listing.lists, listing.asked) == ([3], ["acc-jan"])


async def test_of_several_the_one_that_cannot_be_used_spoils_no_other() -> None:
    async def unusable(account_id: str) -> AccountDetails | None:
        if account_id == "acc-broken":
            raise UnusableAccount("the account is malformed: MalformedIsil")
        return JAN

    directory = GuardedDirectory(Listing(unusable))
    found = await asyncio.gather(
        *(directory.by_id(name) for name in ("acc-jan", "acc-broken")), return_exceptions=True
    )
    assert found[0] == JAN
    assert isinstance(found[1], DirectoryUnavailable)


async def test_one_that_lists_nobody_now_makes_all_of_them_unavailable() -> None:
    listing = Listing(fails)
    directory = GuardedDirectory(listing)
    asked = (directory.by_id(name) for name in ("acc-jan", "acc-piet"))
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in found] == [DirectoryUnavailable] * 2
    assert (listing.lists, listing.asked) == ([2], [])


async def test_when_one_of_many_is_not_answered_nothing_is_known() -> None:
    async def fails_once(account_id: str) -> AccountDetails | None:
        return await (fails if account_id == "acc-7" else knows_jan)(account_id)

    scripted = Scripted(fails_once)
    with pytest.raises(DirectoryUnavailable, match="ConnectError"):
        await scripted.find_many([ById(f"acc-{number}") for number in range(500)])
    assert len(scripted.asked) < 100
    assert scripted.now == 0


async def test_a_request_that_waits_for_it_leaves_its_place_to_others() -> None:
    door = Door(most_at_work=1, most_waiting=1)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def waits(_account_id: str) -> AccountDetails | None:
        asked.set()
        await go_on.wait()
        return JAN

    async def request() -> AccountDetails | None:
        place = await door.enter("one")
        try:
            return await GuardedDirectory(Scripted(waits)).by_id("acc-jan")
        finally:
            door.leave(place)

    first = asyncio.create_task(request())
    await asked.wait()
    door.leave(await asyncio.wait_for(door.enter("another"), 1))
    go_on.set()
    assert await first == JAN
