"""Login accounts that no guest uses and that did not log in for long are erased (I9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from identity.application.apply_retention import apply_retention, preview_retention
from identity.application.dependencies import Context
from identity.application.log_in import LogIn, log_in
from identity.application.merge_actors import MergeActors, merge_actors
from identity.application.repository import find_account
from identity.domain.login_account import LOGIN_NOTED_EVERY, LoginAccount, login_account_stream
from shared.event_log import AggregateStore, ErasureLedger
from shared.event_log.retention import Retention
from tests.support.event_log import make_unreadable
from tests.support.identity import (
    HOME_ORGANISATION,
    WISECAT,
    FixedClock,
    InMemoryIdentity,
    account_details,
    existing,
)

KEPT = 365
FIRST = datetime(2025, 9, 11, 12, tzinfo=UTC)
OVER = FIRST + LOGIN_NOTED_EVERY + timedelta(days=KEPT + 1)
"""The first day after the retention period of an account that was last used on the first day."""
JAN, KIND = login_account_stream("acc-jan"), login_account_stream("acc-kind")
NOTED = "identity.login-account-logged-in-again"


class Everyone:
    """A view that lists these accounts whatever happened to them: the use case has to look itself."""

    def __init__(self, *accounts: UUID) -> None:
        self.accounts = accounts

    async def before(self, day: date, after: Any = None) -> Sequence[tuple[date, UUID]]:
        return [] if after else [(date.min, account) for account in self.accounts]


@pytest.fixture
def in_memory_identity() -> InMemoryIdentity:
    return InMemoryIdentity(account_details("jan"), account_details("kind"))


def at(in_memory_identity: InMemoryIdentity, moment: datetime) -> None:
    """From now on it is this moment."""
    in_memory_identity.deps = replace(in_memory_identity.deps, clock=FixedClock(moment))


async def retention(in_memory_identity: InMemoryIdentity, moment: datetime = OVER) -> Retention:
    """Apply the retention period at a moment; the preview must have said the same."""
    at(in_memory_identity, moment)
    events = await in_memory_identity.topics()
    previewed = await preview_retention(KEPT, Everyone(JAN, KIND), in_memory_identity.deps)
    assert await in_memory_identity.topics() == events
    done = await apply_retention(KEPT, Everyone(JAN, KIND), in_memory_identity.deps)
    assert done == previewed
    return done


async def test_i9_an_account_that_nothing_uses_is_erased_after_the_period_and_not_before(
    in_memory_identity: InMemoryIdentity, tmp_path: Path
) -> None:
    ledger = ErasureLedger(tmp_path / "ledger.jsonl")
    in_memory_identity.deps = replace(in_memory_identity.deps, erasure_ledger=ledger)
    await in_memory_identity.logs_in("jan", HOME_ORGANISATION)
    assert (await retention(in_memory_identity, OVER - timedelta(days=1))).erased == []
    assert (await retention(in_memory_identity)).erased == [JAN]
    assert await find_account("acc-jan", in_memory_identity.deps) is None
    assert in_memory_identity.log.rows("data_keys") == in_memory_identity.log.rows("usernames") == []
    assert await ledger.subjects() == [JAN]
    assert (await retention(in_memory_identity)).erased == []


async def test_i9_a_later_login_of_an_erased_account_is_as_for_a_new_one(
    in_memory_identity: InMemoryIdentity,
) -> None:
    before = await in_memory_identity.logs_in("jan")
    assert before.new_actor
    await retention(in_memory_identity)
    again = await in_memory_identity.logs_in("jan")
    assert (again.new_actor, again.first_login) == (True, True)
    assert again.actor_id != before.actor_id
    assert again.account_stream != before.account_stream
    account = await in_memory_identity.account("jan")
    assert (account.account_id, account.erased) == ("acc-jan", False)


async def test_i9_a_login_in_between_starts_the_period_again_and_is_noted_once_in_a_while(
    in_memory_identity: InMemoryIdentity,
) -> None:
    await in_memory_identity.logs_in("jan")
    for day in (29, 30, 31, 59, 60):
        at(in_memory_identity, FIRST + timedelta(days=day))
        login = await in_memory_identity.logs_in("jan")
        assert (login.first_login, login.position) == (False, None)
    assert (await in_memory_identity.topics()).count(NOTED) == 2
    assert (await retention(in_memory_identity)).erased == []
    assert (await retention(in_memory_identity, OVER + timedelta(days=60))).erased == [JAN]


async def test_i9_an_account_with_a_guest_stays_and_its_logins_write_nothing(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    await in_memory_identity.logs_in("jan")
    at(in_memory_identity, OVER)
    await in_memory_identity.logs_in("jan")
    assert NOTED not in await in_memory_identity.topics()
    assert (await retention(in_memory_identity)).erased == []

    in_memory_identity.counter.happens(guest, "login-account-unlinked.v1", reason="vergissing")
    await in_memory_identity.deliver_all(guest)
    period = OVER - FIRST
    assert (await retention(in_memory_identity, OVER + period - timedelta(days=1))).erased == []
    assert (await retention(in_memory_identity, OVER + period)).erased == [JAN]


async def test_i6_i9_an_account_stays_while_another_one_logs_in_as_its_actor(
    in_memory_identity: InMemoryIdentity,
) -> None:
    kept = await in_memory_identity.logs_in("jan", HOME_ORGANISATION)
    other = await in_memory_identity.logs_in("kind", HOME_ORGANISATION)
    in_memory_identity.registration.birth_dates.clear()
    await merge_actors(MergeActors(other.actor_id, kept.actor_id), Context(WISECAT), in_memory_identity.deps)
    at(in_memory_identity, FIRST + timedelta(days=200))
    assert (await in_memory_identity.logs_in("kind", HOME_ORGANISATION)).actor_id == kept.actor_id
    assert (await retention(in_memory_identity)).erased == []
    assert (await retention(in_memory_identity, OVER + timedelta(days=200))).erased == [JAN, KIND]


async def test_i9_a_login_at_the_very_moment_of_the_erasure_wins(
    in_memory_identity: InMemoryIdentity,
) -> None:
    """The retention has decided; a patron logs in before it writes."""
    before = await in_memory_identity.logs_in("jan", HOME_ORGANISATION)
    at(in_memory_identity, OVER)
    deps = in_memory_identity.deps

    class LoginFirst(AggregateStore):
        interrupted = False

        async def save(self, *aggregates: Any, **more: Any) -> int:
            if not self.interrupted:
                self.interrupted = True
                command = LogIn("acc-jan", HOME_ORGANISATION)
                await log_in(command, Context(WISECAT), deps, in_memory_identity.apply_now)
            return await super().save(*aggregates, **more)

    store = LoginFirst(deps.store.log, deps.store._mapper, deps.store._unwrap)
    done = await apply_retention(KEPT, Everyone(JAN), replace(deps, store=store))
    assert store.interrupted
    assert (done.erased, done.failed) == ([], {})
    assert (await in_memory_identity.logs_in("jan", HOME_ORGANISATION)).actor_id == before.actor_id


async def test_i9_one_account_that_cannot_be_read_is_reported_and_all_others_are_erased(
    in_memory_identity: InMemoryIdentity,
) -> None:
    for name in ("jan", "kind"):
        await in_memory_identity.logs_in(name)
    await make_unreadable(in_memory_identity.log, JAN)
    done = await retention(in_memory_identity)
    assert (done.erased, done.failed) == ([KIND], {JAN: "UnreadableEvent"})


async def test_i9_what_is_no_account_or_erased_already_is_not_touched(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    at(in_memory_identity, OVER)
    done = await apply_retention(KEPT, Everyone(guest, UUID(int=1)), in_memory_identity.deps)
    assert (done.erased, done.failed) == ([], {})
    assert isinstance(await in_memory_identity.account("jan"), LoginAccount)
